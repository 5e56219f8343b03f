"""The benchmark of a bundle for browsers: in fresh processes of Node, of every variant that it can run, and refused by name elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.bench import engines
from edgekit.bench import run as bench
from edgekit.bench.variants import EAGER
from edgekit.config.target import load_target
from edgekit.errors import BadInput, NotPossibleHere
from edgekit.host import CHROMIUM, NODE, detect
from edgekit.pipeline.measure import measure
from edgekit.progress import Show
from edgekit.report.facts import _also_elsewhere
from edgekit.runtime.bench.words import in_engine, variant_words
from edgekit.web.measure import main
from tests.tiny_manifest import rewrite_manifest
from tests.tiny_onnx import write_rows
from tests.web.node import node, released


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result folder for web-wasm, whose two variants in ONNX are one bundle of an earlier release."""
    released("classifier", tmp_path)
    same = {"kind": "onnx", "folder": "bundle", "file": "model.onnx", "quality": None}
    lineage = {
        "recipe": {"name": "tiny", "task": "text-classification"},
        "target": load_target("web-wasm").model_dump(mode="json", by_alias=True),
        "rows": write_rows(tmp_path / "rows.jsonl").name,
        "max_length": 32,
        "stages": [],
        "variants": {
            "eager-fp32": {"kind": EAGER, "folder": "bundle", "file": "model.onnx"},
            "ort-fp32": {**same, "title": "fp32"},
            "bundle": {**same, "title": "bundle"},
        },
    }
    (tmp_path / "lineage.json").write_text(json.dumps(lineage))
    return tmp_path


def measured(folder: Path, **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"quick": True, "processes": 2, "seconds": 0.01, "seed": 3, **options}
    return bench.run_bench(folder, out=folder / "bench.json", progress=lambda *_: None, command="edgekit bench", **settings)


def test_variants_are_timed_in_fresh_processes_of_node(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node()
    monkeypatch.setattr(engines, "engine_releases", lambda: {NODE: "20.1"})
    document = measured(result)
    assert [item["name"] for item in document["variants"]] == ["ort-fp32", "bundle"]
    assert document["left_out"] == {"eager-fp32": f"PyTorch does not run in {NODE}"}
    for item in document["variants"]:
        assert [scenario["name"] for scenario in item["scenarios"]] == ["text", "real"]
        for scenario in item["scenarios"]:
            assert len(scenario["children_p50_ms"]) == 2
            assert 0 < scenario["ci95_ms"][0] <= scenario["p50_ms"] <= scenario["ci95_ms"][1]
        phases = item["phases"]
        assert sum(phases[name] for name in ("interpreter_ms", "import_ms", "session_ms", "first_run_ms")) == pytest.approx(
            phases["first_answer_ms"], rel=0.5
        )
        assert item["memory"]["peak_mb"] > item["memory"]["baseline_mb"] > 0
    assert {ratio["scenario"] for ratio in document["ratios"]} == {"text", "real"}
    assert document["runtime"]["onnxruntime"].endswith(f"in {NODE} 20.1") and document["traffic"] == []
    assert document["complete"] is True


def test_a_lone_bundle_is_timed_where_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node()
    bundle = released("classifier", tmp_path)
    rewrite_manifest(bundle, lambda document: document["edgekit"]["target"].update(arch="wasm32", isa=["simd128"]))
    monkeypatch.setattr(engines, "engine_releases", lambda: {NODE: "20.1"})
    asked: dict[str, Any] = {"quick": True, "processes": 1, "seconds": 0.01, "seed": 3, "show": Show(silent=True)}
    found = measure(bundle, threads=None, **asked)
    assert found.folder is None and found.complete
    (variant,) = found.document["variants"]  # type: ignore[misc]
    assert [item["name"] for item in variant["scenarios"]][:2] == ["text", "real"]  # type: ignore[index, call-overload]
    assert "in Node 20.1" in str(found.document["runtime"])
    with pytest.raises(BadInput, match="threads"):
        measure(bundle, threads="auto", **asked)
    monkeypatch.setattr("edgekit.pipeline.measure.detect", lambda: replace(detect(), engines=()))
    with pytest.raises(NotPossibleHere, match="Chromium, or Node 20"):
        measure(bundle, threads=None, **asked)


def test_with_two_engines_the_bundle_is_timed_in_both(result: Path) -> None:
    variants = json.loads((result / "lineage.json").read_text())["variants"]
    specs = {name: {"kind": variant["kind"], "folder": str(result / "bundle")} for name, variant in variants.items()}
    timed, known, left_out = engines.specifications_in({CHROMIUM: "156", NODE: "20.1"}, specs, variants, result)
    assert {name: spec["engine"] for name, spec in timed.items()} == {
        "ort-fp32": CHROMIUM,
        "bundle": CHROMIUM,
        "bundle-in-node": NODE,
    }
    assert known["bundle-in-node"]["title"] == "bundle, in Node" and set(left_out) == {"eager-fp32"}
    assert variant_words(in_engine("bundle", NODE)) == "the bundle in Node"
    assert "onnxruntime-web 1." in engines.runtime_in({CHROMIUM: "156", NODE: "20.1"})
    (result / "bundle" / "manifest.json").write_text("{}")
    with pytest.raises(BadInput, match="not the manifest"):
        engines.specifications_in({NODE: "20.1"}, specs, variants, result)


def test_without_an_engine_it_is_refused_by_name(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "detect", lambda: replace(detect(), engines=()))
    with pytest.raises(NotPossibleHere, match="target web-wasm") as caught:
        measured(result)
    assert "Chromium, or Node 20" in caught.value.text() and caught.value.exit_code == 3
    monkeypatch.setattr(bench, "detect", lambda: replace(detect(), engines=(NODE,)))
    monkeypatch.setattr(engines, "engine_releases", dict)
    with pytest.raises(NotPossibleHere, match="from 20 on"):
        measured(result)
    monkeypatch.setattr(bench, "usable_engines", lambda: {NODE: "20.1"})
    with pytest.raises(BadInput, match="threads"):
        measured(result, threads="auto")


def test_a_variant_that_cannot_be_loaded_is_told_in_words(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node()
    (result / "bundle" / "model.onnx").write_bytes(b"not a model")
    (tmp_path / "items.jsonl").write_text('"turn on the light"\n')
    facts = json.loads((result / "bundle" / "manifest.json").read_text())["edgekit"]
    numbers = {"seconds": 0.01, "min_runs": 1, "max_warmup_seconds": 0.01, "seed": 1, "threads": 1}
    spec = {
        **numbers,
        "items": str(tmp_path / "items.jsonl"),
        "folder": str(result / "bundle"),
        "model": "model.onnx",
        "facts": facts,
    }
    (tmp_path / "spec.json").write_text(json.dumps({**spec, "engine": NODE, "max_length": 32, "scenarios": ["text"]}))
    assert main([str(tmp_path / "spec.json")]) == 1
    assert "ONNX Runtime cannot run it" in capsys.readouterr().err


def test_reports_show_the_second_engine_beside_the_bundle() -> None:
    from edgekit.report.facts import Variant

    bundle, other = (Variant(name, name, None, 1.0, 1.0) for name in ("bundle", "ort-fp32"))
    found = _also_elsewhere((other, bundle), ("bundle", "bundle-in-node"))
    assert [variant.name for variant in found] == ["ort-fp32", "bundle-in-node", "bundle"]
