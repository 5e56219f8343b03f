"""The grid of methods: its page is written from the committed results, and its cells are recipes that can be planned."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from benchmarks.methods import grid, measuring
from benchmarks.methods.across import across
from benchmarks.methods.cells import CELLS, TASKS, Cell
from benchmarks.methods.join import joined
from benchmarks.methods.page import disturbed, made_on, table, together, write_page
from edgekit.pipeline.execute import Finished
from edgekit.plan.recipes import recipe_model
from edgekit.progress import Show
from edgekit.runtime.bench.supervise import Runs
from edgekit.store import Artifact, Stage

METHODS = Path(__file__).resolve().parents[2] / "benchmarks" / "methods"


def test_the_page_is_written_from_the_committed_results(tmp_path: Path) -> None:
    shutil.copytree(METHODS / "results", tmp_path / "results")
    write_page(tmp_path)
    page = (METHODS / "README.md").read_text()
    assert (tmp_path / "README.md").read_text() == page, "run python -m benchmarks.methods.page"
    assert "/home/" not in page and "/tmp/" not in page
    assert not any("/work/" in path.read_text() or "/tmp/" in path.read_text() for path in (METHODS / "results").glob("*.json"))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_cell_is_a_sound_recipe(cell: Cell, task: str) -> None:
    base = grid.base_of(METHODS.parents[1] / "recipes" / f"{TASKS[task]}.toml")
    recipe = recipe_model().model_validate(tomllib.loads(grid.recipe_text(base, cell, 7)))
    assert recipe.seed == 7 and (recipe.quantize is not None) == bool(cell.quantize)


def test_a_further_seed_adds_its_quality_and_the_first_gives_the_times() -> None:
    quality = {"difference": -0.01, "value": 0.8}
    first = {
        "name": "a", "group": "pruning", "quality": quality, "p50_ms": 2.0, "total_mb": 9.0, "seconds": 60.0,
        "against_stock": {"speedup": 3.0},
    }  # fmt: skip
    further = {
        "name": "a",
        "group": "pruning",
        "quality": {"difference": -0.03, "value": 0.78},
        "total_mb": 9.0,
        "seconds": 5.0,
    }
    (cell,) = together([first, further])
    assert cell["seeds"] == 2 and cell["lost"] == pytest.approx(0.02) and cell["lost_range"] == (0.01, 0.03)
    assert cell["value"] == pytest.approx(0.79) and (cell["p50_ms"], cell["speedup"], cell["seconds"]) == (2.0, 3.0, 60.0)


def test_seeds_cut_to_different_sizes_beside_other_jobs_are_named() -> None:
    cut = {"name": "a", "compress": [{"method": "prune-oneshot"}], "sizes": [17.19, 18.08, 18.68]}
    alike = {**cut, "name": "b", "sizes": [17.19, 17.2]}
    taught = {**cut, "name": "c", "compress": [{"method": "distill"}]}
    (line,) = disturbed([cut, alike, taught], 36)
    assert "a: its seeds" in line and "17.2 to 18.7 MB" in line and "while 36 cells" in line
    assert disturbed([cut], 1) == []


def test_what_another_machine_made_is_joined_without_its_times() -> None:
    def cell(name: str, seed: int, lost: float, **times: object) -> dict[str, object]:
        quality = {"difference": -lost, "value": 0.8 - lost, "ci95": [-0.02, 0.01], "metric": "F1", "n": 100}
        return {
            "name": name, "group": "pruning", "seed": seed, "quality": quality, "total_mb": 9.0, "seconds": 1.0, "trains": True,
            "archive_mb": 7.0, **times,
        }  # fmt: skip

    times = {"p50_ms": 2.0, "ci95_ms": [1.9, 2.1], "peak_mb": 100.0, "against_stock": {"speedup": 3.0, "ci95": [2.9, 3.1]}}
    original = {"name": "ONNX Runtime fp32 of the original", "group": "baseline", "seconds": 0.0, "total_mb": 20.0}
    original |= {"quality": {"difference": 0.0, "value": 0.8, "ci95": [0.0, 0.0], "metric": "F1", "n": 100}, **times}
    host = {"cpu": "A", "isa": [], "cores_usable": 2}
    common = {"task": "squad", "target": "x86-vnni", "host": host, "failed": [], "making": {"gpu": None, "jobs": 1}}
    first = {
        **common, "cells": [original, cell("a", 7, 0.01, **times)], "left_out": ["b", "c"],
        "protocol": {"threads": 1, "processes": 5}, "validity": {"stable": True, "reasons": []},
    }  # fmt: skip
    other = {
        **common,
        "host": {**host, "cpu": "B"},
        "making": {"gpu": "G", "jobs": 8},
        "cells": [original, cell("a", 7, 0.5, **times), cell("a", 8, 0.03, **times), cell("b", 7, 0.02, **times)],
    }
    found = joined(first, other)
    assert [(one["name"], one.get("seed")) for one in found["cells"][1:]] == [("a", 7), ("a", 8), ("b", 7)]
    assert found["left_out"] == ["c"] and not any("p50_ms" in one for one in found["cells"][2:])
    assert joined(found, other) == found, "what is there already is not added again"
    cells = together(found["cells"])
    assert {one["name"]: (one["seeds"], one["pareto"]) for one in cells if one["group"] == "pruning"} == {
        "a": (2, True),
        "b": (1, False),  # as good and as small as the first, but its times are not known
    }
    assert next(line for line in table(cells, found) if "| b |" in line).split("|")[4:6] == ["  ", "  "]
    assert "on B, training on one G: further seeds of 1 cell and 1 cell whose times are blank." in made_on(found)
    for wrong in ({"task": "stsb"}, {"cells": [{**original, "quality": {**original["quality"], "value": 0.9}}]}):
        with pytest.raises(SystemExit, match=r"joined|differ"):
            joined(first, {**other, **wrong})


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("heads and neurons, gradual, keep 0.5", "at most {lost} points on each of four tasks, and answers come {speeds}"),
        ("heads and neurons, ZipLM, 2x, distilled", "then distilled, at most {lost} points, {speeds}"),
    ],
)
def test_what_the_documentation_says_of_the_grid_is_in_the_results(name: str, sentence: str) -> None:
    documents = [json.loads((METHODS / "results" / f"{task}.json").read_text()) for task in TASKS]
    cells = [cell for document in documents for cell in together(document["cells"]) if cell["name"] == name]
    speeds = [cell["speedup"] for cell in cells if "speedup" in cell]
    pages = [" ".join((METHODS.parents[1] / page).read_text().split()) for page in ("README.md", "docs/methods.md")]
    assert len(cells) == len(speeds) == 4
    lost = f"{100 * max(cell['lost'] for cell in cells):.1f}"
    for page in pages:
        assert sentence.format(lost=lost, speeds=f"{min(speeds):.1f} to {max(speeds):.1f} times as fast") in page


def test_across_tasks_says_what_holds_on_all_of_them() -> None:
    def cell(name: str, lost: float, speedup: float | None = None) -> dict[str, object]:
        return {"name": name, "group": "pruning", "lost": lost, **({} if speedup is None else {"speedup": speedup})}

    grid = {
        "one": [cell("good", 0.01, 2.0), cell("bad", 0.02, 3.0), cell("wild", -0.0001, 1.0), cell("new", 0.0, 9.0)],
        "other": [cell("good", 0.0, 8.0), cell("bad", 0.03), cell("wild", 0.06, 1.0)],
    }
    page = across(grid)
    assert "| good | **+1.0**, 2.0x | **+0.0**, 8.0x |" in page
    assert "| bad | +2.0, 3.0x | +3.0 |" in page and "| new | **+0.0**, 9.0x |  |" in page
    assert "| wild | **+0.0**, 1.0x | +6.0, 1.0x |" in page
    assert page.index("| good | **+1.0**, 2.0x | **+0.0**, 8.0x |") < page.index("| bad | +2.0, 3.0x | +3.0 |")
    assert [line.split(":")[-1] for line in page if line.startswith("- ")] == [" good (4.0x).", " bad.", " wild."]


def test_an_original_that_the_recipe_trains_is_given_to_its_cells_as_a_folder(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "BUILD", tmp_path)
    asked: list[list[str]] = []

    def produced(stages: list[Stage], build: Path, show: Show) -> Finished:
        asked.append([stage.name for stage in stages])
        return Finished({stages[-1].key: Artifact("finetune", stages[-1].key, tmp_path / "trained", {}, 1.0)}, frozenset())

    monkeypatch.setattr(grid, "run_stages", produced)
    monkeypatch.setattr(grid, "fetch", lambda needs, show: None)
    base = grid.base_of(METHODS.parents[1] / "recipes" / "squad.toml")
    base["model"]["id"] = str(shared / "models" / "minilm-l6")
    given = {**base, "model": {name: value for name, value in base["model"].items() if name != "finetune"}}
    assert grid.with_original(given, "squad", "x86-vnni") is given and not asked
    found = grid.with_original(base, "squad", "x86-vnni")
    assert asked == [["rows", "finetune"]]
    assert found == {**given, "model": {**given["model"], "id": str(tmp_path / "trained")}}


def test_a_second_teacher_has_a_head_and_a_seed_of_its_own(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "BUILD", tmp_path)
    trained: list[Stage] = []

    def produced(stages: list[Stage], build: Path, show: Show) -> Finished:
        trained.append(stages[-1])
        return Finished({stages[-1].key: Artifact("finetune", stages[-1].key, tmp_path / "second", {}, 1.0)}, frozenset())

    monkeypatch.setattr(grid, "run_stages", produced)
    monkeypatch.setattr(grid, "fetch", lambda needs, show: None)
    base = grid.base_of(METHODS.parents[1] / "recipes" / "wnut17.toml")
    assert grid.second_teacher(base, "wnut17", "x86-vnni") == str(tmp_path / "second")
    assert trained[0].name == "finetune"
    asked = tomllib.loads(next(tmp_path.rglob("*.toml")).read_text())
    assert asked["seed"] not in grid.SEEDS and asked["model"]["max_length"] == base["model"]["max_length"]

    cell = next(cell for cell in CELLS if cell.second)
    *before, last = tomllib.loads(grid.recipe_text(base, cell, 7, "a/second"))["compress"]
    assert last == {**cell.compress[-1], "teachers": ["a/second"]} and before == list(cell.compress[:-1])
    assert "teachers" not in grid.recipe_text(base, CELLS[-1], 7, "a/second")
    assert "second" not in str(cell.compress), "a result names no folder of the machine that made it"


def test_cells_that_learn_from_labels_are_not_of_a_task_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(grid, "second_teacher", lambda *_: pytest.fail("no cell of this task asks for one"))
    some = [next(cell for cell in CELLS if cell.name == "int8 dynamic"), *(cell for cell in CELLS if cell.labelled)]
    names: list[str] = []
    monkeypatch.setattr(grid.Console, "print", lambda self, text: names.append(text))
    with pytest.raises(SystemExit, match="stsb: no cell was made"):
        grid.make("stsb", "stsb", some, 0.0, 1, 1)
    assert len(some) > 2 and [name for name in names if "int8 dynamic" in name] == names


def test_rounds_side_by_side_have_every_variant_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def children(specs: dict[str, object], *, processes: int, seed: int, progress: object) -> Runs:
        assert processes == 1 and len(os.sched_getaffinity(0)) == 1
        seeds.append(seed)
        return Runs({name: [{"of": name, "seed": seed}] for name in specs})

    monkeypatch.setattr(measuring, "run_children", children)
    before = os.sched_getaffinity(0)
    runs = measuring.run_rounds({"a": {}, "b": {}}, 2, lambda *_: None)
    assert os.sched_getaffinity(0) == before
    assert sorted(seeds) == list(range(7, 7 + measuring.PROTOCOL["processes"]))
    assert {name: [child["seed"] for child in found] for name, found in runs.children.items()} == {
        "a": list(range(7, 12)),
        "b": list(range(7, 12)),
    }


def test_processes_that_make_cells_share_the_cores() -> None:
    context = get_context("spawn")
    with ProcessPoolExecutor(2, context, grid._settle, (context.Value("i", 0), 2)) as pool:
        mine = [pool.submit(os.sched_getaffinity, 0) for _ in range(8)]
        found = {frozenset(one.result()) for one in mine}
    cores = os.sched_getaffinity(0)
    assert all(one and one <= cores for one in found)
    if len(cores) > 1:
        assert all(len(one) <= (len(cores) + 1) // 2 for one in found)


def test_a_cell_that_is_not_there_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.methods.grid", "clinc150", "--only", "no such"],
        capture_output=True,
        text=True,
        check=False,
        cwd=METHODS.parents[1],
    )
    assert done.returncode == 2 and "no cell is named like no such" in done.stderr


def test_a_grid_of_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(grid, "with_original", lambda base, task, target: base)
    with pytest.raises(SystemExit, match="clinc150: no cell was made"):
        grid.make("clinc150", "clinc150", CELLS[:1], 0.0, 1, 1)
