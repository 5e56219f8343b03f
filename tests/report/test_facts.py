"""PromptTimes a result folder: what is there, what is missing, what is malformed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import BadInput
from edgekit.report.facts import read_facts
from edgekit.report.markdown import render_markdown
from edgekit.report.verdicts import budgets, cautions, speedup
from tests.report.made_up import write_result


def change(path: Path, edit: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_result(tmp_path / "made-up-x86-vnni")


def test_reads_every_variant_in_reading_order(folder: Path) -> None:
    facts = read_facts(folder)
    assert [variant.name for variant in facts.variants] == [
        "eager-fp32", "ort-fp32", "ort-int8-stock", "after-0-none", "after-1-prune-structured", "after-2-distill", "bundle",
    ]  # fmt: skip
    assert all(variant.lead and variant.graph and variant.quality and variant.total_mb for variant in facts.variants)
    assert facts.bundle_mb == pytest.approx(6.1)
    assert [name for _, name in facts.chain] == ["after-0-none", "after-1-prune-structured", "after-2-distill", "bundle"]
    assert read_facts(folder / "bundle") == facts


def test_the_bundles_speed_up_is_the_benchmarks_own(folder: Path) -> None:
    facts = read_facts(folder)
    stated, shown = facts.ratio("eager-fp32"), speedup(facts, "bundle", "eager-fp32")
    assert stated and shown and (shown.value, shown.low, shown.high) == (stated.speedup, stated.low, stated.high)
    other = speedup(facts, "after-0-none", "eager-fp32")
    assert other and other.low and other.high and other.low < other.value < other.high
    assert other.value == pytest.approx(8.42 / 0.98, rel=0.05)
    assert speedup(facts, "bundle", "bundle") is None


def test_budgets_are_judged_by_the_found_figure(folder: Path) -> None:
    assert [budget.met for budget in budgets(read_facts(folder))] == [True, True, True]
    change(folder / "lineage.json", lambda document: document["recipe"]["accept"].update(max_size_mb=6.0, max_latency_ms=0.1))
    facts = read_facts(folder)
    assert {budget.name: budget.met for budget in budgets(facts)} == {
        "max_quality_drop": True, "min_speedup": True, "max_size_mb": False, "max_latency_ms": False,
    }  # fmt: skip
    assert any(item.grave and "Budget not met: model and tokenizer, median latency" in item.text for item in cautions(facts))


def test_rows_that_stand_in_two_splits_stand_above_the_figures(folder: Path) -> None:
    doubt = "warning: 36 of 40 rows of train were taken out because they stand in test too"
    change(folder / "lineage.json", lambda document: document["stages"][0]["metrics"].update(doubts=[doubt]))
    shown = render_markdown(read_facts(folder)).split("## ")[0]
    assert "> Warning: 36 of 40 rows of train were taken out because they stand in test too" in shown


def test_without_a_measurement_the_reason_is_given(tmp_path: Path) -> None:
    facts = read_facts(write_result(tmp_path / "away", measured=False))
    assert facts.measurement is None
    assert facts.not_measured == "this host is not the target x86-vnni: it lacks architecture x86_64 (this machine is aarch64)"
    assert [budget.met for budget in budgets(facts)] == [True, None, True]


def test_a_host_that_fits_but_has_not_measured_is_told_what_to_run(folder: Path) -> None:
    (folder / "bench.json").unlink()
    assert "edgekit bench" in read_facts(folder).not_measured


@pytest.mark.parametrize("other", [{"artifact_sha256": "2" * 64}, {"files_sha256": {"model.onnx": "f" * 64}}])
def test_times_of_another_bundle_are_not_shown(folder: Path, other: dict[str, Any]) -> None:
    change(folder / "bench.json", lambda document: document.update(other))
    facts = read_facts(folder)
    assert facts.measurement is None and "earlier bundle" in facts.not_measured
    assert all(not variant.timings for variant in facts.variants)


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [
        ("bench.json", lambda d: d["target"].update(requested="arm64-dotprod"), "times target arm64-dotprod"),
        (
            "bench.json",
            lambda d: d["variants"].append({**d["variants"][0], "name": "stranger"}),
            "'stranger' is not in lineage.json",
        ),
        ("bench.json", lambda d: d["variants"][0]["scenarios"][0].update(p50_ms=-1), "p50_ms: -1 is not above 0"),
        ("bench.json", lambda d: d["variants"][0]["scenarios"][0].update(ci95_ms=[2, 1]), "an interval"),
        ("bench.json", lambda d: d["validity"].update(stable="yes"), "validity.stable: true or false"),
        ("bench.json", lambda d: d.pop("variants"), "variants: a list is needed"),
        ("lineage.json", lambda d: d["stages"][0].update(seconds=None), "stages[0].seconds: a finite number"),
        ("lineage.json", lambda d: d["variants"].pop("bundle"), "the bundle is missing"),
        ("lineage.json", lambda d: d.update(schema_version=2), "schema_version 2 is unknown"),
        ("bundle/manifest.json", lambda d: d["assets"]["model.onnx"].update(size="big"), "whole number"),
        ("bundle/audit.json", lambda d: d.update(fallbacks=["node"]), "fallbacks[0]: an object is needed"),
        ("bundle/audit.json", lambda d: d.update(target="cuda"), "audits target cuda"),
    ],
)
def test_malformed_documents_are_refused(folder: Path, name: str, edit: Callable[[Any], object], words: str) -> None:
    change(folder / name, edit)
    with pytest.raises(BadInput) as caught:
        read_facts(folder)
    assert words in str(caught.value) and Path(name).name in str(caught.value)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(folder: Path, word: str) -> None:
    path = folder / "bench.json"
    path.write_text(path.read_text().replace('"peak_mb": 688.0', f'"peak_mb": {word}'))
    with pytest.raises(BadInput, match=r"no JSON number|beyond the largest"):
        read_facts(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
@pytest.mark.parametrize("name", ["lineage.json", "bench.json", "bundle/manifest.json", "bundle/audit.json"])
def test_files_that_are_no_document_are_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(BadInput):
        read_facts(folder)


def test_all_faults_come_at_once(folder: Path) -> None:
    change(folder / "bundle/audit.json", lambda d: d.update(casts=-1, stray_qdq="none", ok=None))
    with pytest.raises(BadInput) as caught:
        read_facts(folder)
    assert len(caught.value.faults) == 3


def test_a_missing_folder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="edgekit export"):
        read_facts(tmp_path / "nothing")
