"""The examples of CONTRIBUTING.md, as they stand there: each is one file, and together they carry a whole recipe."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PYTHONPATH

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^```(?:python|toml) (\S+)\n(.*?)^```$", GUIDE, flags=re.M | re.S))
RECIPE = """schema = 1
task = "answer-selection"
[model]
max_length = 48
[model.new]
layers = 1
width = 32
heads = 4
neurons = 64
vocabulary = 300
epochs = 2
batch = 8
[data]
train = "train.feather"
validation = "validation.feather"
test = "test.feather"
[calibration]
rows = 8
[[compress]]
method = "clip-weights"
deviations = {deviations}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the examples in it, and rows in the new format beside it."""
    import pyarrow
    from pyarrow import feather

    folder = tmp_path_factory.mktemp("project")
    for name in ("edgekit", "targets", "recipes"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in EXAMPLES.items():
        assert not (folder / name).exists(), f"{name} is new"
        (folder / name).write_text(text, encoding="utf-8")
    things = ["lamp", "door", "ring", "coat", "cup", "book", "chair", "stone"]
    rows = [
        {"question": f"where is the {thing} ?", "context": f"the {other} is in the {room} .", "label": "yes" if thing == other else "no"}
        for thing in things
        for room in ("hall", "garden", "attic")
        for other in (thing, things[things.index(thing) - 1])
    ]  # fmt: skip
    for number, split in enumerate(("train", "validation", "test")):
        feather.write_feather(pyarrow.Table.from_pylist(rows[number::3]), folder / f"{split}.feather")
    return folder


def edgekit(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments], capture_output=True, text=True, check=False, cwd=project, timeout=400,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(project), PYTHONPATH])},
    )  # fmt: skip


def test_every_kind_has_its_example() -> None:
    rooms = {str(Path(name).parent) for name in EXAMPLES}
    assert rooms == {
        "targets", "edgekit/compress/methods", "edgekit/tasks/encoders", "edgekit/runtime/processors", "edgekit/data/formats",
    }  # fmt: skip


def test_the_rooms_of_the_guide_are_there() -> None:
    named = {name for row in re.findall(r"^\| (`.*?) \|", GUIDE, flags=re.M) for name in re.findall(r"`([a-z_/]+)/`", row)}
    rooms = {path.name for path in (ROOT / "edgekit").iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert rooms - {"serve"} <= {Path(name).name for name in named}
    for name in re.findall(r"`((?:edgekit|tests|runtime|models|config|pruning)/[\w/]+\.py)`", GUIDE):
        there = [ROOT / name, ROOT / "edgekit" / name, ROOT / "edgekit" / "compress" / name]
        assert any(path.is_file() for path in there) or name in EXAMPLES, name


@pytest.mark.parametrize(
    ("what", "name"), [("targets", "my-board"), ("methods", "clip-weights"), ("tasks", "answer-selection")]
)
def test_it_is_listed(project: Path, what: str, name: str) -> None:
    assert name in edgekit(project, "ls", what).stdout


def test_its_check_speaks_when_the_plan_is_made(project: Path) -> None:
    (project / "wrong.toml").write_text(RECIPE.format(deviations=0.5))
    done = edgekit(project, "plan", "wrong.toml", "--target", "my-board")
    assert done.returncode == 2
    assert "compress 1, clip-weights: deviations = 0.5 cuts off most weights; use 1 or more" in done.stderr


def test_together_they_carry_a_recipe(project: Path) -> None:
    (project / "mine.toml").write_text(RECIPE.format(deviations=3.0))
    done = edgekit(project, "export", "mine.toml", "--target", "my-board", "--target", "x86-avx2", "--no-bench")
    assert done.returncode == 0, done.stderr
    if Path("/proc/cpuinfo").read_text().find("avx2") < 0:
        pytest.skip("the bundle of this architecture is the other one")
    done = edgekit(
        project, "run", "build/mine-x86-avx2", '{"question": "where is the lamp ?", "context": "the lamp is in the hall ."}'
    )
    assert done.returncode == 0 and done.stdout.split()[0] in ("yes", "no"), done.stderr
    done = edgekit(project, "run", "build/mine-x86-avx2", "where is the lamp ?")
    assert done.returncode == 2 and "answer-selection reads an object" in done.stderr
