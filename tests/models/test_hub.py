"""What a model's name can be: a path, or an id of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.config.shipped import shipped_file
from edgekit.draft.given import given
from edgekit.errors import BadInput
from edgekit.models.hub import is_hub_id


@pytest.mark.parametrize("name", ["bert-base", "owner/name", "owner/name@main", "owner/name@refs/pr/1"])
def test_ids_of_the_hub(name: str, tmp_path: Path) -> None:
    assert is_hub_id(name, tmp_path)


@pytest.mark.parametrize("name", ["./name", "../owner/name", "/owner/name", "~/name", "a/b/c", "a\\b", "here", "rows.csv"])
def test_paths(name: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "rows.csv").write_text("a\n")
    assert not is_hub_id(name, tmp_path)


@pytest.mark.parametrize(("name", "said"), [("./absent", "no such model folder"), ("rows.csv", "a file, and no model folder")])
def test_a_path_is_never_asked_of_the_hub(name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("a\n")
    with pytest.raises(BadInput, match=said):
        given(name)


def test_rows_in_the_place_of_a_recipe_are_told_where_they_go(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n")
    with pytest.raises(BadInput, match="no recipe, whose name") as fault:
        shipped_file("recipes", str(tmp_path / "rows.csv"))
    assert "--data" in str(fault.value)
