"""Which proven steps a budget chooses: their figures are those of the committed measurements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.draft.proven import FULL, FURTHEST, MEASURED, PROVEN, Budget, Proven, Workload, choose, full_steps
from edgekit.errors import BadInput
from edgekit.tasks import find_task

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "methods" / "results"
SHIPPED = RESULTS.parents[1] / "results"
WORK = Workload(rows=10_000, tokens=12, parameters=10_600_000, megabytes=91.8)


@pytest.mark.parametrize("proven", PROVEN, ids=lambda proven: proven.cell)
def test_figures_are_those_that_were_measured(proven: Proven) -> None:
    for data, figures in proven.figures.items():
        cells = json.loads((RESULTS / f"{data}.json").read_text())["cells"]
        original = next(cell for cell in cells if cell["name"] == "ONNX Runtime fp32 of the original")
        mine = [cell for cell in cells if cell["name"] == proven.cell]
        timed = next(cell for cell in mine if cell["p50_ms"])
        assert figures.times == pytest.approx(original["p50_ms"] / timed["p50_ms"], abs=0.006)
        assert figures.lost == pytest.approx(max(-100 * cell["quality"]["difference"] for cell in mine), abs=0.006)
        assert figures.size == pytest.approx(max(cell["total_mb"] for cell in mine) / original["total_mb"], abs=0.003)
        for step, measured in zip(proven.steps(6, "bf16"), timed["compress"], strict=True):
            assert step["method"] == measured["method"]
            assert all(step[name] == value for name, value in measured.items() if name in step)


@pytest.mark.parametrize("task", FULL)
def test_full_chains_are_those_that_were_measured(task: str) -> None:
    measured = json.loads((SHIPPED / f"{MEASURED[task]}-x86-vnni.json").read_text())["recipe"]["compress"]
    steps = full_steps(task, 6, 30522, "bf16", texts=True)
    assert [step["method"] for step in steps] == [step["method"] for step in measured]
    assert all({name: there[name] for name in step} == step for step, there in zip(steps, measured, strict=True))


def test_what_the_shipped_recipe_did_is_what_was_measured_and_is_told() -> None:
    cells = json.loads((RESULTS / "clinc150.json").read_text())["cells"]
    original = next(cell for cell in cells if cell["name"] == "ONNX Runtime fp32 of the original")
    mine = [cell for cell in cells if cell["name"] == "all steps of the recipe"]
    figures = FURTHEST["text-classification"]
    assert figures.times == pytest.approx(original["p50_ms"] / mine[0]["p50_ms"], abs=0.006)
    assert figures.lost == pytest.approx(max(-100 * cell["quality"]["difference"] for cell in mine), abs=0.006)
    assert figures.size == pytest.approx(max(cell["total_mb"] for cell in mine) / original["total_mb"], abs=0.003)
    with pytest.raises(BadInput) as fault:
        choose(Budget(smaller=6), find_task("text-classification"), WORK)
    assert (
        "the nearest is" in fault.value.text() and "recipe clinc150 came to 6.8 MB and 23x for 1.1 points" in fault.value.text()
    )


@pytest.mark.parametrize(
    ("task", "budget", "cell"),
    [
        ("text-classification", Budget(faster=4, lose=0.01), "int8 dynamic"),
        ("text-classification", Budget(faster=7, lose=0.01), "heads and neurons, ZipLM, 1.5x"),
        ("text-classification", Budget(faster=8, lose=0.01), "heads and neurons, ZipLM, 2x, distilled"),
        ("text-classification", Budget(smaller=18), "heads and neurons, ZipLM, 2x, distilled"),
        ("text-regression", Budget(faster=2, lose=0.02), "int8 dynamic"),
    ],
)
def test_the_least_work_that_keeps_the_budget(task: str, budget: Budget, cell: str) -> None:
    chosen, why = choose(budget, find_task(task), WORK)
    assert chosen.cell == cell and chosen.name == why.value
    assert ("not measured" in why.reason) is (task == "text-regression")


@pytest.mark.parametrize(
    ("task", "budget", "rows", "says"),
    [
        ("text-classification", Budget(faster=30), 10_000, "10.4x"),
        ("question-answering", Budget(faster=3, lose=0.01), 10_000, "over 1"),
        ("text-classification", Budget(faster=9), 100, "100 training rows, 500 are the fewest"),
        ("text-generation", Budget(faster=2), 10_000, "for encoders"),
    ],
)
def test_a_budget_that_nothing_keeps_says_what_comes_near(task: str, budget: Budget, rows: int, says: str) -> None:
    work = Workload(rows=rows, tokens=12, parameters=10_600_000, megabytes=91.8)
    with pytest.raises(BadInput) as fault:
        choose(budget, find_task(task), work)
    assert says in fault.value.text()


def test_steps_are_of_the_model_and_more_work_takes_longer() -> None:
    halved = PROVEN[-1]
    assert [step["layers"] for step in halved.steps(12, "fp32")] == [6]
    times = [WORK.seconds(proven, 2.3e11) for proven in PROVEN]
    assert times[0] == 0 and 60 < times[1] < 120 and all(100 < time < 400 for time in times[2:3])


@pytest.mark.parametrize(
    ("budget", "near"),
    [
        (Budget(faster=30), "half of the layers, taught by the original: --faster 10.4x;"),
        (Budget(faster=9, lose=0.001), "taught by the original: --faster 10.1x --lose 0.76%;"),
        (Budget(smaller=5), "--smaller 17.91MB;"),
    ],
)
def test_the_nearest_is_said_as_what_can_be_asked_for(budget: Budget, near: str) -> None:
    with pytest.raises(BadInput) as fault:
        choose(budget, find_task("text-classification"), WORK)
    assert "the nearest is " in fault.value.text() and near in fault.value.text()
