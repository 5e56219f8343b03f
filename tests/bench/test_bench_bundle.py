"""A lone bundle measured by the runtime alone, in the tree and from inside the one-file runner."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import CheckFailed, Interrupted, NotPossibleHere
from edgekit.host import detect
from edgekit.pack.bundle import write_bundle
from edgekit.pack.manifest import NOT_SCORED
from edgekit.pack.runner import write_runner
from edgekit.runtime.bench import lone, supervise
from edgekit.runtime.main import main as runner
from tests.interrupts import interruptible
from tests.tiny_manifest import signature, tiny_manifest
from tests.tiny_onnx import LABELS, WORDS, write_variant
from tests.waiting import PATIENCE_SECONDS, wait_for


def bundle(root: Path, *, arch: str, isa: list[str]) -> Path:
    source = write_variant(root / "source")
    golden = [{**NOT_SCORED, "input": f"turn it {word}"} for word in ("on", "off", "red")]
    folder = root / "bundle"
    folder.mkdir()
    manifest = tiny_manifest(
        labels=LABELS, vocabulary=len(WORDS), golden=len(golden), arch=arch, isa=isa, **signature(source / "model.onnx")
    )
    files = {name: source / name for name in ("model.onnx", "tokenizer.json")}
    write_bundle(folder, manifest, files=files, texts={"golden.json": json.dumps({"rows": golden})})
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return bundle(tmp_path, arch=detect().arch, isa=[])


def test_a_bundle_is_measured_and_the_document_written(here: Path, tmp_path: Path) -> None:
    said: list[float] = []
    document = lone.bench_bundle(
        here,
        threads=None,
        processes=2,
        seconds=0.01,
        out=tmp_path / "bench.json",
        progress=lambda done, total, _: said.append(done),
    )
    assert json.loads((tmp_path / "bench.json").read_text()) == document
    assert said == [0, 1, 2]
    assert [item["name"] for item in document["variants"][0]["scenarios"]] == ["text", "real", "16", "32"]
    assert document["target"]["requested"] == "here" and document["target"]["detected"]["isa"] == sorted(detect().isa)
    assert document["protocol"]["processes"] == 2 and document["complete"] is True
    assert (document["energy"] is None) is bool(document["energy_reason"])
    assert not list(tmp_path.glob(".*.tmp"))
    assert (document["runtime"]["threads"], document["protocol"]["threads_by"]) == (1, "target")


def test_threads_may_be_found_out_before(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.runtime.model.best_threads", lambda bundle, begin: (begin(2)(), 1)[1])
    document = lone.bench_bundle(here, threads="auto", processes=1, seconds=0.01, out=None)
    assert (document["runtime"]["threads"], document["protocol"]["threads_by"]) == (1, "measured")
    document = lone.bench_bundle(here, threads=1, processes=1, seconds=0.01, out=None)
    assert (document["runtime"]["threads"], document["protocol"]["threads_by"]) == (1, "asked")


def test_the_runner_measures_from_inside_its_zip(here: Path, tmp_path: Path) -> None:
    write_runner(tmp_path / "runner.pyz")
    command = [
        sys.executable,
        "-I",
        str(tmp_path / "runner.pyz"),
        "bench",
        str(here),
        "--json",
        "--processes",
        "2",
        "--seconds",
        "0.05",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["variants"][0]["scenarios"][0]["p50_ms"] > 0
    assert done.stderr == "", "no dots where nobody looks"


@pytest.mark.parametrize("changes", [{"arch": "riscv64", "isa": []}, {"arch": detect().arch, "isa": ["avx9000"]}])
def test_another_chips_bundle_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = bundle(tmp_path, **changes)
    with pytest.raises(NotPossibleHere):
        lone.bench_bundle(folder, threads=None, processes=1, seconds=0.01, out=tmp_path / "bench.json")
    assert not (tmp_path / "bench.json").exists()


def test_a_changed_bundle_is_not_measured(here: Path) -> None:
    data = bytearray((here / "model.onnx").read_bytes())
    data[-1] ^= 1
    (here / "model.onnx").write_bytes(bytes(data))
    with pytest.raises(CheckFailed):
        lone.bench_bundle(here, threads=None, processes=1, seconds=0.01, out=None)


def test_ctrl_c_before_anything_is_complete_is_ctrl_c(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(supervise, "run_child", interrupted)
    with pytest.raises(Interrupted):
        lone.bench_bundle(here, threads=None, processes=1, seconds=0.01, out=tmp_path / "bench.json")
    assert not (tmp_path / "bench.json").exists()


def test_ctrl_c_leaves_a_partial_result_that_says_so(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, left = supervise.run_child, [1]

    def interrupted(*arguments: Any) -> dict[str, Any]:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return real(*arguments)

    monkeypatch.setattr(supervise, "run_child", interrupted)
    command = ["bench", str(here), "--json", "--processes", "3", "--seconds", "0.01", "--out", str(tmp_path / "bench.json")]
    assert runner(command) == 130
    said = capsys.readouterr()
    assert "the result is partial, 1 of 3 processes" in said.err
    assert json.loads(said.out) == json.loads((tmp_path / "bench.json").read_text())
    assert json.loads(said.out)["complete"] is False


def test_a_real_ctrl_c_at_the_real_runner(here: Path, tmp_path: Path) -> None:
    write_runner(tmp_path / "runner.pyz")
    out = tmp_path / "bench.json"
    command = [sys.executable, str(tmp_path / "runner.pyz"), "bench", str(here), "--processes", "9999"]
    command += ["--seconds", "0.01", "--out", str(out)]
    with interruptible(command, stderr=subprocess.PIPE, cwd=tmp_path) as parent:
        children, seen = Path(f"/proc/{parent.pid}/task/{parent.pid}/children"), set[str]()

        def a_third_process() -> bool:  # the first two are whole
            seen.update(pid for pid in children.read_text().split())
            return len(seen) >= 3

        wait_for(a_third_process)
        parent.send_signal(signal.SIGINT)
        _, errors = parent.communicate(timeout=PATIENCE_SECONDS)
    assert parent.returncode == 130, errors
    assert "the result is partial" in errors and "of 9999 processes" in errors
    document = json.loads(out.read_text())
    assert document["complete"] is False and not document["validity"]["stable"]
