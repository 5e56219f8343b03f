"""The grid of methods: its page is written from the committed results, and its cells are recipes that can be planned."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgekit.recipe import recipe_model

METHODS = Path(__file__).resolve().parents[1] / "benchmarks" / "methods"
sys.path.insert(0, str(METHODS))
from cells import CELLS, TASKS, Cell  # noqa: E402


def test_the_page_is_written_from_the_committed_results(tmp_path: Path) -> None:
    shutil.copytree(METHODS, tmp_path / "methods")
    subprocess.run([sys.executable, str(tmp_path / "methods" / "page.py")], check=True)
    page = (METHODS / "README.md").read_text()
    assert (tmp_path / "methods" / "README.md").read_text() == page, "run benchmarks/methods/page.py"
    assert "/home/" not in page and "/tmp/" not in page
    assert not any("/work/" in path.read_text() or "/tmp/" in path.read_text() for path in (METHODS / "results").glob("*.json"))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_cell_is_a_sound_recipe(cell: Cell, task: str) -> None:
    from run import recipe_text

    base = METHODS.parents[1] / "recipes" / f"{TASKS[task]}.toml"
    recipe = recipe_model().model_validate(tomllib.loads(recipe_text(base, cell, 7)))
    assert recipe.seed == 7 and (recipe.quantize is not None) == bool(cell.quantize)
