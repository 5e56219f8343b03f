"""What results and bundles hold of a recipe: no folder of the machine that it ran on."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.pipeline.pack_stage import pack_stage
from edgekit.plan.make import make_plan
from edgekit.plan.plan import Plan, host_facts

RECIPE = """schema = 1
task = "text-classification"
[model]
id = "{0}model"
max_length = 32
[data]
train = "{0}rows/train.jsonl"
validation = "{0}rows/valid*.jsonl"
test = {{ path = "{0}rows/test.jsonl", format = "jsonl" }}
unlabelled = ["{0}rows/train.jsonl#text"]
[[compress]]
method = "distill"
student = "{0}model"
teachers = ["original", "{0}model"]
[[compress]]
method = "distill"
"""


def planned(tiny_model: Path, tiny_data: Path, folder: Path, before: str) -> Plan:
    """The plan of the recipe in `folder`, all that it names beside it; `before` is what each path begins with."""
    shutil.copytree(tiny_model, folder / "model")
    shutil.copytree(tiny_data, folder / "rows")
    (folder / "r.toml").write_text(RECIPE.format(before))
    return make_plan(str(folder / "r.toml"), ["x86-vnni"], detect())


def packed(plan: Plan) -> str:
    return pack_stage(plan, plan.targets[0], host_facts(detect())).key


def test_whole_paths_are_named_and_digested(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    one, other = (planned(tiny_model, tiny_data, tmp_path / name, f"{tmp_path / name}/") for name in ("one", "other"))
    document = one.published.model_dump(mode="json", by_alias=True)
    assert document == other.published.model_dump(mode="json", by_alias=True)
    assert packed(one) == packed(other) and one.targets[0].audit.key == other.targets[0].audit.key
    assert str(tmp_path) not in json.dumps(document)
    rows = hashlib.sha256((tiny_data / "train.jsonl").read_bytes()).hexdigest()
    assert document["data"]["train"] == f"train.jsonl@sha256:{rows}"
    assert document["data"]["unlabelled"] == [f"train.jsonl@sha256:{rows}#text"]
    assert document["data"]["test"]["format"] == "jsonl" and document["data"]["test"]["path"].startswith("test.jsonl@sha256:")
    assert document["data"]["validation"].startswith("valid*.jsonl@sha256:")
    model = document["model"]["id"]
    assert model.startswith("model@sha256:") and len(model) == len("model@sha256:") + 64
    assert document["compress"][0]["student"] == model and document["compress"][0]["teachers"] == ["original", model]
    train = tmp_path / "other" / "rows" / "train.jsonl"
    train.write_text(train.read_text().partition("\n")[2])
    changed = make_plan(str(tmp_path / "other" / "r.toml"), ["x86-vnni"], detect()).published.data.train
    assert changed != one.published.data.train, "other rows, another digest"


def test_other_paths_stand_as_they_are_written(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    plan = planned(tiny_model, tiny_data, tmp_path / "one", "")
    assert plan.published.model_dump(mode="json", by_alias=True) == plan.recipe.model_dump(mode="json", by_alias=True)
    assert plan.published == plan.recipe


def test_whole_paths_that_lead_nowhere_are_refused(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    planned(tiny_model, tiny_data, tmp_path / "one", f"{tmp_path / 'one'}/")
    for name in ("rows/train.jsonl", "model/config.json"):
        (tmp_path / "one" / name).rename(tmp_path / "aside")
        with pytest.raises(BadInput):
            make_plan(str(tmp_path / "one" / "r.toml"), ["x86-vnni"], detect())
        (tmp_path / "aside").rename(tmp_path / "one" / name)
