"""Results of two recipes never overwrite each other without a word, and places that cannot be written are told before anything runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgekit.errors import BadInput
from edgekit.pipeline.explain import explain
from edgekit.pipeline.run import run_recipe
from edgekit.progress import Show

RECIPE = """schema = 1
task = "text-classification"
[model.new]
layers = 1
width = 32
heads = 4
neurons = 64
vocabulary = 200
epochs = 1
[data]
train = "rows/train.jsonl"
validation = "rows/validation.jsonl"
test = "rows/test.jsonl"
"""
TARGET = "x86-vnni"


@pytest.fixture
def recipes(tiny_data: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two recipes of one file name in two folders."""
    for name in ("one", "two"):
        shutil.copytree(tiny_data, tmp_path / name / "rows")
        (tmp_path / name / "r.toml").write_text(RECIPE)
    return tmp_path / "one" / "r.toml", tmp_path / "two" / "r.toml"


def result(build: Path, recipe_file: str | None, recipe: str = "r", target: str = TARGET) -> None:
    """What an export leaves that says whose result it is."""
    folder = build / f"r-{TARGET}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lineage.json").write_text(json.dumps({"recipe": {"name": recipe}, "target": {"name": target}}))
    if recipe_file is not None:
        (folder / ".recipe").write_text(recipe_file)


def test_two_recipes_of_one_name(recipes: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = recipes
    build = tmp_path / "build"
    result(build, "../../one/r.toml")
    explain(str(one), [TARGET], build)
    for ask in (
        lambda: explain(str(two), [TARGET], build),
        lambda: run_recipe(str(two), [TARGET], build, measure=False, show=Show(silent=True)),
    ):
        with pytest.raises(
            BadInput, match=r"holds the result of another recipe, \.\./\.\./one/r\.toml, which \.\./\.\./two/r\.toml would"
        ):
            ask()
    assert not (build / "store").exists(), "nothing was run"
    explain(str(two), [TARGET], tmp_path / "elsewhere")
    shutil.move(one.parent, tmp_path / "moved")
    explain(str(tmp_path / "moved" / "r.toml"), [TARGET], build)


@pytest.mark.parametrize(("recipe", "target"), [("r-x86", "vnni"), ("r", "other"), ("s", TARGET)])
def test_names_that_run_into_one_another(recipes: tuple[Path, Path], tmp_path: Path, recipe: str, target: str) -> None:
    result(tmp_path / "build", None, recipe, target)
    with pytest.raises(BadInput, match=f"another recipe, {recipe} for {target}"):
        explain(str(recipes[0]), [TARGET], tmp_path / "build")


def test_results_of_before_and_unreadable_ones_are_taken_over(recipes: tuple[Path, Path], tmp_path: Path) -> None:
    result(tmp_path / "build", None)
    explain(str(recipes[0]), [TARGET], tmp_path / "build")
    (tmp_path / "build" / f"r-{TARGET}" / "lineage.json").write_text("[" * 10_000)
    explain(str(recipes[0]), [TARGET], tmp_path / "build")


def test_a_target_twice(recipes: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="two targets"):
        explain(str(recipes[0]), [TARGET, TARGET], tmp_path / "build")


@pytest.mark.parametrize("name", ["build", "build/store", f"build/r-{TARGET}"])
def test_a_file_where_a_folder_is_wanted(recipes: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("a file")
    for ask in (
        lambda: explain(str(recipes[0]), [TARGET], tmp_path / "build"),
        lambda: run_recipe(str(recipes[0]), [TARGET], tmp_path / "build", measure=False, show=Show(silent=True)),
    ):
        with pytest.raises(BadInput, match="no folder"):
            ask()


def test_a_home_folder_that_no_shell_replaced(
    recipes: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="home folder in a shell alone"):
        explain(str(recipes[0]), [TARGET], Path("~/build"))
    recipes[0].write_text(RECIPE.split("[model.new]")[0] + '[model]\nid = "~/model"\n[data]' + RECIPE.split("[data]")[1])
    with pytest.raises(BadInput, match="no such model folder"):
        explain(str(recipes[0]), [TARGET], tmp_path / "build")


def test_a_recipe_whose_path_is_not_utf_8(recipes: tuple[Path, Path], tmp_path: Path) -> None:
    """The lineage names it, and was found out not to be able to after the training."""
    recipes[0].parent.rename(tmp_path / "on\udcff")
    with pytest.raises(BadInput, match="not UTF-8"):
        run_recipe(str(tmp_path / "on\udcff" / "r.toml"), [TARGET], tmp_path / "build", measure=False, show=Show(silent=True))
    assert not list((tmp_path / "build").glob("store/*"))
