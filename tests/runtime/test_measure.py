"""The measuring process, run for real on a tiny model; and its loops, on a clock of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import BadInput
from edgekit.runtime.bench.measure import MOST_SAMPLES, Eager, fixed_length, main, measure, sample, spread_order, warm_up
from edgekit.runtime.tokenise import Window
from tests.tiny_onnx import specification, write_items, write_variant


class Machine:
    """Runs that take what `times` says, on a clock that only they move."""

    def __init__(self, *times: float) -> None:
        self.times, self.now, self.runs = list(times), 0.0, 0

    def once(self) -> float:
        took = self.times[min(self.runs, len(self.times) - 1)]
        self.runs += 1
        self.now += took / 1000
        return took

    def clock(self) -> float:
        return self.now


def test_warm_up_ends_when_three_windows_agree() -> None:
    machine = Machine(1.0)
    assert warm_up(machine.once, 10.0, machine.clock) == 60
    settling = Machine(*[9.0] * 11, *[5.0] * 20, *[1.0] * 500)
    runs = warm_up(settling.once, 10.0, settling.clock)
    assert 80 <= runs <= 120


def test_warm_up_is_capped() -> None:
    machine = Machine(*[1.0 if number // 20 % 2 else 9.0 for number in range(10_000)])
    warm_up(machine.once, 1.0, machine.clock)
    assert 1.0 <= machine.now < 1.3


def test_slow_runs_make_short_windows() -> None:
    machine = Machine(50.0)
    assert warm_up(machine.once, 60.0, machine.clock) == 15


def test_sampling_takes_both_seconds_and_runs() -> None:
    slow, fast = Machine(100.0), Machine(1.0)
    assert len(sample(slow.once, 0.5, 20, slow.clock)) == 20
    assert len(sample(fast.once, 0.5, 20, fast.clock)) == pytest.approx(500, abs=2)
    frozen = Machine(0.0)
    assert len(sample(frozen.once, 1.0, 1, frozen.clock)) == MOST_SAMPLES
    assert sample(Machine(1 / 3).once, 0, 1, frozen.clock) == [0.3333]


def test_any_stretch_of_rows_has_the_lengths_of_all() -> None:
    generator = np.random.default_rng(0)
    lengths = [int(value) for value in generator.geometric(0.1, size=1000)]
    order = spread_order(lengths, np.random.default_rng(1))
    assert sorted(order) == list(range(1000))
    for start in range(0, 900, 100):
        part = [lengths[row] for row in order[start : start + 50]]
        assert np.median(part) == pytest.approx(np.median(lengths), abs=1)
    assert order == spread_order(lengths, np.random.default_rng(1)) != spread_order(lengths, np.random.default_rng(2))


def test_fixed_lengths_keep_the_ends() -> None:
    def one(*ids: int) -> list[Window]:
        return [Window(np.array(ids), None, np.zeros((len(ids), 2)), np.zeros(len(ids)), "")]

    found = fixed_length([one(2, 7, 8, 9, 3), one(2, 5, 3)], 16).ids
    assert found.shape == (16,) and found.dtype == np.int64
    assert found[0] == 2 and found[-1] == 3 and found[1:5].tolist() == [7, 8, 9, 5]
    assert fixed_length([one(2, 3)], 4).ids.shape == (4,)


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("variant")
    return write_variant(folder), write_items(folder / "rows.jsonl")


def test_a_process_measures_and_prints_one_document(variant: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(
        json.dumps(specification(*variant, traffic={"seconds": 0.02, "clients": [1, 2], "hertz": [100], "load": 0.5}))
    )
    command = [sys.executable, "-W", "error", "-m", "edgekit.runtime.bench.measure", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    document = json.loads(done.stdout.splitlines()[-1])
    assert set(document["samples"]) == {"text", "real", "16"}
    assert len(document["samples"]["text"]) >= 12 and min(document["samples"]["text"]) > 0
    assert len(document["samples"]["real"]) >= 12 and min(document["samples"]["real"]) > 0
    phases = document["phases"]
    assert min(phases.values()) >= 0
    assert phases["first_answer_ms"] > phases["import_ms"] + phases["session_ms"]
    memory = document["memory"]
    assert 0 < memory["baseline_mb"] <= memory["after_session_mb"] <= memory["after_first_run_mb"] <= memory["peak_mb"]
    assert [item["clients"] for item in document["traffic"]["clients"]] == [1, 2]
    assert document["traffic"]["paced"][0]["hertz"] == 100


def test_nothing_but_the_runtime_is_imported(variant: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(specification(*variant)))
    code = (
        "import sys; from edgekit.runtime.bench.measure import main; main(sys.argv[1:]); "
        "print([name for name in ('torch', 'transformers', 'onnx', 'pydantic', 'scipy', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_graph_without_a_mask_is_fed_what_it_asks_for(tmp_path: Path) -> None:
    folder = write_variant(tmp_path / "bare", mask=False)
    assert measure(specification(folder, write_items(tmp_path / "rows.jsonl"), scenarios=["real"]))["samples"]["real"]


def test_a_checkpoint_is_run_by_the_program_that_can(variant: tuple[Path, Path]) -> None:
    spec = specification(*variant, kind="eager", scenarios=["real"])
    seen: list[tuple[int, ...]] = []

    def load(task: str, folder: Path, threads: int) -> tuple[list[str], Callable[[dict[str, np.ndarray]], np.ndarray]]:
        def predict(feed: dict[str, np.ndarray]) -> np.ndarray:
            seen.append(feed["input_ids"].shape)
            return np.zeros((1, 3), dtype=np.float32)

        return ["input_ids"], predict

    document = measure(spec, Eager(load, lambda folder, threads: pytest.fail("it reads no prompts")))
    assert len(document["samples"]["real"]) >= 12 and {shape[0] for shape in seen} == {1}
    with pytest.raises(BadInput, match="ONNX models alone"):
        measure(spec)


def test_a_fault_ends_with_its_exit_code(
    variant: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(specification(*variant, provider="NoSuchExecutionProvider")))
    assert main([str(path)]) == 3
    assert "NoSuchExecutionProvider" in capsys.readouterr().err
    (tmp_path / "bad").mkdir()
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / "bad" / name).write_bytes((variant[0] / name).read_bytes())
    (tmp_path / "bad" / "model.onnx").write_bytes(b"not a model")
    path.write_text(json.dumps(specification(tmp_path / "bad", variant[1])))
    assert main([str(path)]) == 2
