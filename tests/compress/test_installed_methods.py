"""A compression method of somebody else's package: found by its entry point, and used like those that ship with edgekit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.compress.registry import methods
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.plan.recipes import recipe_model
from tests import command_line
from tests.conftest import PYTHONPATH

TARGET = "arm64-dotprod" if detect().arch == "x86_64" else "x86-vnni"
"""One that this machine does not time."""
METHOD = '''"""round-weights: weights of a layer rounded to a power of two."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from edgekit.compress.method import Method, Work
from edgekit.config.recipe import MethodSettings


class Settings(MethodSettings):
    """Round the weights of one layer to multiples of a power of two."""

    method: Literal["round-weights"]
    layer: int = Field(ge=0)
    """Which layer, counted from 0."""
    digits: int = 4
    """Binary digits behind the point."""


def check(settings, context):
    have = context.model.layers
    return [] if have is None or settings.layer < have else [f"layer = {settings.layer} is no layer of a model of {have}"]


def transform(settings, model, checkpoints):
    return replace(model, pruned=True)


def run(work: Work, settings: Settings):
    from edgekit.models.checkpoint import load, save
    from edgekit.models.shapes import layers_of
    from edgekit.tasks import find_task

    model = load(work.source, find_task(work.task).auto)
    changed = 0
    for parameter in layers_of(model)[settings.layer].parameters():
        rounded = (parameter.data * 2**settings.digits).round() / 2**settings.digits
        changed += int((rounded != parameter.data).sum())
        parameter.data = rounded
    save(model, work.out, tokenizer_files_from=work.source)
    return {"changed": changed}


METHOD = Method(
    name="round-weights", version=3, settings=Settings, serves=("encoder",), run=run, check=check, transform=transform
)
'''
RECIPE = """schema = 1
task = "text-classification"
[model]
max_length = 32
[model.new]
layers = 1
width = 32
heads = 4
neurons = 64
vocabulary = 200
epochs = 2
batch = 8
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
[calibration]
rows = 32
[[compress]]
method = "round-weights"
layer = 0
"""


def package(folder: Path, name: str, entries: str, **modules: str) -> Path:
    """An installed distribution `name` in `folder`: `modules` by name, and the methods of its entry points."""
    information = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[edgekit.methods]\n{entries}\n")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def place(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    package(folder / "site", "acme-rounding", "round = acme_rounding:METHOD", acme_rounding=METHOD)
    for split in ("train", "validation", "test"):
        shutil.copy(tiny_data / f"{split}.jsonl", folder)
    (folder / "small.toml").write_text(RECIPE)
    return folder


def edgekit(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(place / "site"), PYTHONPATH])
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments], capture_output=True, text=True, check=False, timeout=500, cwd=place,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


def test_it_is_listed_and_in_the_schema(place: Path) -> None:
    listed = edgekit(place, "ls", "methods")
    assert "Round the weights of one layer to multiples of a power of two." in listed.stdout
    assert listed.stdout.index("quantize-aware") < listed.stdout.index("round-weights")
    schema = json.loads(edgekit(place, "schema", "recipe").stdout)
    assert "round-weights" in schema["properties"]["compress"]["items"]["discriminator"]["mapping"]
    assert "Binary digits behind the point." in json.dumps(schema)


def test_its_faults_are_told_when_the_plan_is_made(place: Path) -> None:
    (place / "wrong.toml").write_text(
        RECIPE.replace("layer = 0", "layer = 1") + '[[compress]]\nmethod = "distill"\nlayers = 9\n'
    )
    done = edgekit(place, "plan", "wrong.toml", "--target", TARGET)
    said = " ".join(done.stderr.split())
    assert done.returncode == 2
    assert "compress 1, round-weights: layer = 1 is no layer of a model of 1" in said
    assert "compress 2, distill: a student of 9 layers cannot start from a model of 1" in said
    (place / "wrong.toml").write_text(RECIPE.replace("layer = 0", 'layr = 0\n[[compress]]\nmethod = "round-weight"'))
    said = " ".join(edgekit(place, "plan", "wrong.toml", "--target", TARGET).stderr.split())
    assert "did you mean 'layer'?" in said and "did you mean 'round-weights'?" in said


@pytest.fixture
def installed(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is found in this process too."""
    monkeypatch.syspath_prepend(place / "site")
    for known in (methods, recipe_model):
        known.cache_clear()
    yield
    for known in (methods, recipe_model):
        known.cache_clear()
    sys.modules.pop("acme_rounding", None)


@pytest.mark.usefixtures("installed")
def test_a_whole_recipe_runs_with_it(place: Path) -> None:
    done = command_line.edgekit("export", "small.toml", "--target", TARGET, cwd=place)
    assert done.returncode == 0, done.stderr
    made = place / "build" / f"small-{TARGET}"
    stages = {one["stage"]: one for one in json.loads((made / "lineage.json").read_text())["stages"]}
    assert stages["round-weights"]["metrics"]["changed"] > 0
    assert json.loads((made / "bundle" / "manifest.json").read_text())["edgekit"]["quality"]["n"] == 20


@pytest.mark.parametrize(
    ("entry", "module", "says"),
    [
        ("gone = acme_none:METHOD", "", "gone = acme_none:METHOD of package acme: cannot be imported: ModuleNotFoundError"),
        ("raises = acme_mine:METHOD", "raise SystemError('no')", "raises = .*cannot be imported: SystemError: no"),
        ("absent = acme_mine:METHOD", "", "absent = .*cannot be imported: AttributeError"),
        ("mine = acme_mine:METHOD", "METHOD = 3", "mine = .*is no edgekit.compress.method.Method"),
        ("mine = acme_mine:METHOD", METHOD.replace('name="round', 'name="sound'), "method 'sound-weights' need the field"),
        (
            "mine = acme_mine:METHOD",
            METHOD.replace("round-weights", "distill"),
            "a method named 'distill' is there already, of edgekit itself",
        ),
        (
            "one = acme_mine:METHOD\ntwo = acme_mine:METHOD",
            METHOD,
            "two = .*'round-weights' is there already, of one = acme_mine:METHOD of package acme",
        ),
    ],
)
def test_what_cannot_be_used_is_named(
    entry: str, module: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, "acme", entry, acme_mine=module))
    monkeypatch.delitem(sys.modules, "acme_mine", raising=False)
    with pytest.raises(BadInput, match=says) as fault:
        methods.__wrapped__()
    assert fault.value.exit_code == 2 and "edgekit.methods" in fault.value.text()
