"""The benchmark of a result folder, run for real on variants made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.bench import run as bench
from edgekit.bench.traffic import RIVALS
from edgekit.bench.variants import EAGER, specifications
from edgekit.config.target import best_target
from edgekit.errors import BadInput, CheckFailed, Interrupted, NotPossibleHere
from edgekit.host import detect
from tests.tiny_onnx import write_rows, write_variant


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result folder with a lineage of three variants, one of which is gone."""
    folder = tmp_path / "result"
    folder.mkdir()
    quality = {"metric": "accuracy", "value": 0.5, "n": 30, "difference": 0.0, "ci95": [-0.1, 0.1]}
    variants = {
        "ort-fp32": {
            "kind": "onnx",
            "title": "fp32",
            "folder": str(write_variant(tmp_path / "fp32", width=4096)),
            "quality": quality,
        },
        "after-1-distill": {"kind": "onnx", "title": "gone", "folder": str(tmp_path / "gone"), "quality": None},
        "bundle": {"kind": "onnx", "title": "bundle", "folder": str(write_variant(tmp_path / "bundle")), "file": "model.onnx"},
    }
    lineage = {
        "recipe": {"name": "tiny", "task": "text-classification"},
        "target": best_target(detect()).model_dump(mode="json", by_alias=True),
        "rows": str(write_rows(tmp_path / "rows.jsonl")),
        "max_length": 32,
        "stages": [],
        "variants": variants,
    }
    (folder / "lineage.json").write_text(json.dumps(lineage))
    return folder


def measured(folder: Path, **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"quick": True, "processes": 2, "seconds": 0.01, "seed": 3, **options}
    return bench.run_bench(folder, out=folder / "bench.json", progress=lambda *_: None, command="edgekit bench", **settings)


def change(folder: Path, **changes: Any) -> None:
    lineage = json.loads((folder / "lineage.json").read_text())
    (folder / "lineage.json").write_text(json.dumps(lineage | changes))


def test_a_quick_run_end_to_end(result: Path) -> None:
    document = measured(result)
    assert json.loads((result / "bench.json").read_text()) == document
    assert sorted(path.name for path in result.iterdir()) == ["bench.json", "lineage.json"], "no temporary file stays"
    assert [item["name"] for item in document["variants"]] == ["ort-fp32", "bundle"]
    assert "gone" in document["left_out"]["after-1-distill"]
    bundle = document["variants"][1]
    assert [item["name"] for item in bundle["scenarios"]] == ["text", "real"]
    assert len(bundle["scenarios"][0]["children_p50_ms"]) == 2
    low, high = bundle["scenarios"][0]["ci95_ms"]
    assert 0 < low <= bundle["scenarios"][0]["p50_ms"] <= high
    assert {"interpreter_ms", "import_ms", "session_ms", "first_run_ms", "tokenise_ms", "postprocess_ms"} <= set(
        bundle["phases"]
    )
    assert bundle["total_mb"] > bundle["file_mb"] > 0 and len(bundle["sha256"]) == 64
    assert document["artifact_sha256"] == bundle["sha256"] == document["files_sha256"]["model.onnx"]
    assert set(document["files_sha256"]) == {"model.onnx", "tokenizer.json"}
    baselines = {item["memory"]["baseline_mb"] for item in document["variants"]}
    assert len(baselines) == 1
    ratio, of_graph = document["ratios"]
    assert (ratio["of"], ratio["against"], ratio["scenario"]) == ("bundle", "ort-fp32", "text")
    assert of_graph["scenario"] == "real"
    assert ratio["ci95"][0] <= ratio["speedup"] <= ratio["ci95"][1] and ratio["paired"]
    assert document["target"]["detected"]["isa"] and document["protocol"]["quick"] is True
    assert document["complete"] is True
    assert (document["energy"] is None) is bool(document["energy_reason"]), "read, or the reason why not"
    assert set(document["validity"]) == {"valid", "stable", "throttled", "reasons"}
    assert document["traffic"] == []
    assert document["runtime"]["providers"] == ["CPUExecutionProvider"]


def test_recorded_threads_are_those_in_effect(result: Path) -> None:
    document = measured(result, threads=100_000)
    assert document["protocol"]["threads"] == document["runtime"]["session"]["threads"] == detect().cores_usable


def test_a_full_run_adds_lengths_and_traffic(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.bench.traffic.WANTED", {"seconds": 0.02, "hertz": [200], "load": 0.5})
    document = measured(result, quick=False)
    assert [item["name"] for item in document["variants"][0]["scenarios"]] == ["text", "real", "16", "32"]
    assert {item["scenario"] for item in document["ratios"]} == {"text", "real", "16", "32"}
    assert [item["name"] for item in document["traffic"]] == [name for name in RIVALS if name in ("ort-fp32", "bundle")]
    bundle = document["traffic"][-1]
    assert bundle["paced"][0]["cpu_ms"] > 0 and bundle["poisson"]["n"] > 0
    assert bundle["clients"][0]["clients"] == 1 and bundle["clients"][-1]["clients"] >= 2


def test_without_torch_the_eager_variant_is_left_out(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lineage = json.loads((result / "lineage.json").read_text())
    lineage["variants"]["eager-fp32"] = {"kind": EAGER, "title": "eager", "folder": str(result), "file": "model.safetensors"}
    common = {"seconds": 1.0, "scenarios": ["real"], "threads": 1, "min_runs": 1, "max_warmup_seconds": 1.0}
    monkeypatch.setattr("edgekit.bench.variants.importlib.util.find_spec", lambda name: None)
    specs, left_out = specifications(lineage, result / "items.jsonl", common)
    assert left_out["eager-fp32"] == "torch is not installed"
    assert list(specs) == ["ort-fp32", "bundle"]
    monkeypatch.setattr("edgekit.bench.variants.importlib.util.find_spec", lambda name: object())
    for name in ("model.safetensors", "tokenizer.json"):
        (result / name).touch()
    assert specifications(lineage, result / "items.jsonl", common)[0]["eager-fp32"]["kind"] == EAGER


def test_a_lineage_does_not_choose_what_is_imported(result: Path) -> None:
    lineage = json.loads((result / "lineage.json").read_text())
    lineage["variants"]["ort-fp32"]["kind"] = "os:system"
    specs, left_out = specifications(lineage, result / "items.jsonl", {})
    assert "ort-fp32" not in specs and "os:system" in left_out["ort-fp32"]


def test_an_interrupted_run_is_written_and_says_so(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.runtime.bench import supervise

    real, count = supervise.run_child, 0

    def interrupted(*arguments: Any) -> dict[str, Any]:
        nonlocal count
        count += 1
        if count > 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(supervise, "run_child", interrupted)
    document = measured(result, quick=False, processes=5)
    assert "interrupted" in document["validity"]["reasons"][0] and not document["validity"]["stable"]
    assert sum(len(item["scenarios"][0]["children_p50_ms"]) for item in document["variants"]) == 3
    assert document["complete"] is False and json.loads((result / "bench.json").read_text()) == document
    count = 3
    (result / "bench.json").unlink()
    with pytest.raises(Interrupted):
        measured(result)
    assert not (result / "bench.json").exists()


def test_ctrl_c_under_traffic_leaves_whole_latencies_and_a_partial_result(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.runtime.bench import supervise

    real = supervise.run_child

    def interrupted(spec: Path, *arguments: Any) -> dict[str, Any]:
        if "traffic" in json.loads(spec.read_text()):
            raise KeyboardInterrupt
        return real(spec, *arguments)

    monkeypatch.setattr(supervise, "run_child", interrupted)
    document = measured(result, quick=False, processes=1)
    assert document["complete"] is False and document["traffic"] == []
    assert "interrupted" in document["validity"]["reasons"][0] and not document["validity"]["stable"]
    assert {len(item["scenarios"][0]["children_p50_ms"]) for item in document["variants"]} == {1}


def test_the_command_leaves_130_after_a_partial_result(
    result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit.cli.app import main
    from edgekit.runtime.bench import supervise

    real, count = supervise.run_child, 0

    def interrupted(*arguments: Any) -> dict[str, Any]:
        nonlocal count
        count += 1
        if count > 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(supervise, "run_child", interrupted)
    monkeypatch.setattr("edgekit.pipeline.measure.write_reports", lambda folder: [])  # this result has no bundle to report on
    monkeypatch.setattr("edgekit.pipeline.measure._timed_files", lambda bundle: None)
    monkeypatch.setattr("sys.argv", ["edgekit", "bench", str(result), "--quick", "--seconds", "0.05", "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    assert left.value.code == 130 and "partial" in said.err
    assert json.loads(said.out)["complete"] is False


def test_the_command_leaves_130_without_any_result(
    result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit.cli.app import main
    from edgekit.runtime.bench import supervise

    def interrupted(*arguments: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(supervise, "run_child", interrupted)
    monkeypatch.setattr("edgekit.pipeline.measure._timed_files", lambda bundle: None)  # this result has no bundle
    monkeypatch.setattr("sys.argv", ["edgekit", "bench", str(result), "--quick", "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    assert left.value.code == 130 and said.out == "" and said.err.splitlines()[-1] == "edgekit: interrupted"


def test_another_machines_target_is_refused(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "aarch64" if detect().arch == "x86_64" else "x86_64"
    change(
        result,
        target={"schema": 1, "name": "other", "title": "other", "arch": other, "rank": 1, "quantize": {"format": "float32"}},
    )
    with pytest.raises(NotPossibleHere, match="target other") as caught:
        measured(result)
    assert caught.value.exit_code == 3 and other in caught.value.text()


def test_an_emulated_machine_is_refused(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "detect", lambda: replace(detect(), emulated=True, evidence="the kernel runs qemu"))
    with pytest.raises(NotPossibleHere, match="the kernel runs qemu"):
        measured(result)
    assert not (result / "bench.json").exists()


def test_a_broken_model_fails_the_run_by_name(result: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle/model.onnx").write_bytes(b"not a model")
    with pytest.raises(BadInput, match="process of bundle"):
        measured(result)


@pytest.mark.parametrize("options", [{"processes": 0}, {"seconds": 0.0}, {"seconds": float("inf")}, {"threads": 0}])
def test_senseless_numbers_are_refused(result: Path, options: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="numbers that no benchmark can have"):
        measured(result, **options)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"variants": 1}', "\x00"])
def test_what_is_no_lineage_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lineage.json").write_text(text)
    with pytest.raises(BadInput):
        measured(tmp_path)
    with pytest.raises(BadInput, match="run `edgekit export` first"):
        measured(tmp_path / "nowhere")


def test_nothing_left_to_measure(result: Path) -> None:
    lineage = json.loads((result / "lineage.json").read_text())
    change(result, variants={"after-1-distill": lineage["variants"]["after-1-distill"]})
    with pytest.raises((BadInput, CheckFailed), match="none of the variants"):
        measured(result)
