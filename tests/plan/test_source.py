"""The model that a recipe names: its folder, an adapter with its base, or a hub id."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.config.recipe import Recipe
from edgekit.errors import BadInput
from edgekit.plan.recipes import load_recipe
from edgekit.plan.source import Source, source_of
from tests.matrix.adapters import adapter
from tests.matrix.made import encoder, recipe


def asked(folder: Path, model: str) -> tuple[Recipe, Path]:
    path = recipe(folder, "text-classification")
    path.write_text(path.read_text().replace('id = "model"', f'id = "{model}"'))
    _, where, read = load_recipe(str(path))
    return read, where


def test_an_adapter_is_named_with_its_base_and_no_path_of_this_machine(tmp_path: Path) -> None:
    encoder("bert", tmp_path / "base", labels=("a", "b"))
    adapter(tmp_path / "base", tmp_path / "tuned", "AutoModelForSequenceClassification", target_modules=["query"])
    found = source_of(*asked(tmp_path, "tuned"))
    assert found.title == "tuned, merged into base" and found.adapter is not None
    assert found.digest != source_of(*asked(tmp_path, "base")).digest
    assert source_of(*asked(tmp_path, "base")).title == "base"


def test_a_hub_id_stands_for_itself_and_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    hub = source_of(*asked(tmp_path, "owner/name"))
    assert (hub.model, hub.title, hub.adapter) == ("owner/name", "name", None)
    with pytest.raises(BadInput, match="no such model folder"):
        source_of(*asked(tmp_path, "./name"))
    assert Source().model is None
