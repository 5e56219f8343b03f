"""Fresh processes: their order, their deaths, Ctrl-C, and what a result may claim."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgekit.runtime.bench import child, lone, supervise
from edgekit.runtime.bench.supervise import Runs, run_children, scenario_facts, validity
from edgekit.runtime.errors import BadInput, CheckFailed, NotPossibleHere
from tests.interrupts import interruptible
from tests.tiny_onnx import specification, write_items, write_variant
from tests.waiting import PATIENCE_SECONDS, wait_for

CALM = {
    "frequency_mhz": None, "frequency_limit_mhz": None, "throttle_counts": None, "pi_throttled": None, "load": [0.0],
    "steal_ticks": None, "total_ticks": None, "swap_used_mb": 0, "quota_waits": None,
}  # fmt: skip


def silent(done: float, total: float, text: str) -> None:
    pass


def result(*times: float) -> dict[str, Any]:
    return {
        "samples": {"real": list(times)},
        "phases": {"session_ms": 1.0},
        "memory": {"baseline_mb": 40.0, "peak_mb": 90.0},
        "cpu_ms": {"real": 1.0},
    }


@pytest.fixture
def variant(tmp_path: Path) -> tuple[Path, Path]:
    return write_variant(tmp_path / "variant"), write_items(tmp_path / "rows.jsonl")


def test_real_processes_of_two_variants(variant: tuple[Path, Path]) -> None:
    said: list[float] = []
    specs = {"one": specification(*variant), "two": specification(*variant)}
    runs = run_children(specs, processes=2, seed=3, progress=lambda done, total, text: said.append(done / total))
    assert {name: len(children) for name, children in runs.children.items()} == {"one": 2, "two": 2}
    assert said == [0, 0.25, 0.5, 0.75, 1.0]
    facts = scenario_facts(runs, "one", 3)
    assert [item["name"] for item in facts["scenarios"]] == ["text", "real", "16"]
    assert facts["scenarios"][0]["n"] >= 24 and len(facts["scenarios"][0]["children_p50_ms"]) == 2
    assert facts["memory"]["above_baseline_mb"] > 0


def test_rounds_are_shuffled_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def order(seed: int) -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []

        def run(path: Path, name: str, threads: int, timeout: float) -> dict[str, Any]:
            seen.append((name, json.loads(path.read_text())["seed"]))
            return result(1.0)

        monkeypatch.setattr(supervise, "run_child", run)
        run_children({name: {"threads": 1} for name in "abcd"}, processes=5, seed=seed, progress=silent)
        return seen

    first = order(1)
    assert first == order(1) != order(2)
    rounds = [first[start : start + 4] for start in range(0, 20, 4)]
    assert all({name for name, _ in part} == set("abcd") for part in rounds)
    assert all(len({seed for _, seed in part}) == 1 for part in rounds), "a round's processes take the same rows"
    assert len({tuple(name for name, _ in part) for part in rounds}) > 1


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGILL)", NotPossibleHere, "newer instruction set"),
        ("sys.exit(132)", NotPossibleHere, "newer instruction set"),
        ("os.kill(os.getpid(), signal.SIGKILL)", NotPossibleHere, "out of memory"),
        ("sys.exit(137)", NotPossibleHere, "out of memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", CheckFailed, "SIGSEGV"),
        ("raise RuntimeError('the tail of it')", CheckFailed, "the tail of it"),
        ("sys.exit(2)", BadInput, "exit code 2"),
        ("sys.exit(3)", NotPossibleHere, "exit code 3"),
        ("print('no document')", CheckFailed, "no result"),
        ("pass", CheckFailed, "no result"),
        ("time.sleep(60)", CheckFailed, "more than 1 s"),
    ],
)
def test_deaths_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, kind: type[Exception], words: str
) -> None:
    program = tmp_path / "child.py"
    program.write_text(f"import os, signal, sys, time\n{body}\n")
    real = subprocess.Popen
    monkeypatch.setattr(child.subprocess, "Popen", lambda command, **options: real([sys.executable, str(program)], **options))
    with pytest.raises(kind, match=words):
        child.run_child(tmp_path / "spec.json", "bundle", {"threads": 1}, 1.0 if "more than" in words else PATIENCE_SECONDS)


def test_threads_are_explicit_in_the_child() -> None:
    found = child._environment(3)
    assert {found[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"3"}


def test_a_module_in_the_working_folder_is_not_imported(
    variant: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    assert run_children({"one": specification(*variant)}, processes=1, seed=1, progress=silent).measured() == ["one"]


def test_ctrl_c_keeps_what_was_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [result(1.0, 1.1)] * 5

    def run(*arguments: Any) -> dict[str, Any]:
        if not answers:
            raise KeyboardInterrupt
        return dict(answers.pop())

    monkeypatch.setattr(supervise, "run_child", run)
    runs = run_children({"a": {"threads": 1}, "b": {"threads": 1}}, processes=9, seed=1, progress=silent)
    assert runs.interrupted and sum(map(len, runs.children.values())) == 5
    found = validity(runs, CALM, CALM)
    assert not found["stable"] and "interrupted" in found["reasons"][0]


def test_a_real_ctrl_c_leaves_no_process_behind(tmp_path: Path, variant: tuple[Path, Path]) -> None:
    spec = tmp_path / "long.json"
    spec.write_text(json.dumps(specification(*variant, seconds=60.0)))
    code = (
        "import json, sys\nfrom edgekit.runtime.bench.supervise import run_children\n"
        "runs = run_children({'x': json.load(open(sys.argv[1]))}, processes=2, seed=1, progress=lambda *a: print('go', flush=True))\n"
        "print(runs.interrupted, runs.measured(), flush=True)\n"
    )
    with interruptible([sys.executable, "-c", code, str(spec)]) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "go\n"
        measuring: list[int] = []

        def under_way() -> bool:
            """A child measures, and the parent sleeps until it ends: a signal within the start of a process would be another test."""
            measuring.clear()
            for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split():
                with suppress(OSError):  # it may have ended since
                    if b"bench.measure" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        measuring.append(int(pid))
            return bool(measuring) and Path(f"/proc/{parent.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"

        wait_for(under_way)
        parent.send_signal(signal.SIGINT)
        output, _ = parent.communicate(timeout=PATIENCE_SECONDS)
        assert output.splitlines()[-1] == "True []"
    with pytest.raises(ProcessLookupError):
        os.kill(measuring[0], 0)


def test_validity() -> None:
    agree = Runs(children={"a": [result(1.0), result(1.05)]})
    assert validity(agree, CALM, CALM) == {"valid": True, "stable": True, "throttled": False, "reasons": []}
    differ = validity(Runs(children={"a": [result(1.0), result(1.5)]}), CALM, CALM)
    assert not differ["stable"] and "differ by 40%" in differ["reasons"][0]
    alone = validity(Runs(children={"a": [result(1.0)]}), CALM, CALM)
    assert not alone["stable"] and "one process" in alone["reasons"][0]
    hot = validity(agree, {**CALM, "throttle_counts": 1}, {**CALM, "throttle_counts": 2})
    assert hot["throttled"] and not hot["stable"] and not hot["valid"] and "for heat" in hot["reasons"][0]


def test_an_emulated_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone, "emulation", lambda: "the kernel runs qemu")
    with pytest.raises(NotPossibleHere, match="the kernel runs qemu"):
        lone.refuse_emulation()
    monkeypatch.setattr(lone, "emulation", lambda: None)
    lone.refuse_emulation()


@pytest.mark.parametrize("changes", [{"processes": 0}, {"seconds": 0}, {"seconds": float("nan")}, {"threads": 0}])
def test_senseless_numbers_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        lone.bench_bundle(tmp_path, **{"threads": None, "processes": 1, "seconds": 1.0, "out": None, **changes})


def test_a_variant_that_is_only_compared_with_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(path: Path, name: str, spec: object, timeout: float) -> dict[str, Any]:
        ran.append(name)
        if name == "eager" and ran.count("eager") == 2:
            raise CheckFailed("measuring eager ended with code 1")
        return result(1.0)

    monkeypatch.setattr(supervise, "run_child", run)
    specs: dict[str, dict[str, Any]] = {"bundle": {}, "eager": {}}
    runs = run_children(specs, processes=4, seed=0, progress=silent, compared={"eager"})
    assert runs.measured() == ["bundle"] and len(runs.children["bundle"]) == 4
    assert runs.failed == {"eager": "its process failed: measuring eager ended with code 1"} and ran.count("eager") == 2
    ran.clear()
    with pytest.raises(CheckFailed):
        run_children(specs, processes=4, seed=0, progress=silent)
