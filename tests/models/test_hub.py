"""What a model's name can be: a path, or an id of the hub."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from edgekit.config.recipe import Model, Recipe
from edgekit.config.shipped import shipped_file
from edgekit.data.hub import load_split
from edgekit.draft.given import given
from edgekit.errors import BadInput, NotPossibleHere
from edgekit.fetch import hub
from edgekit.models.files import check_files
from edgekit.models.hub import fetch_checkpoint, is_hub_id
from edgekit.models.shards import open_tensors
from edgekit.plan.source import source_of


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


@pytest.fixture
def a_hub_that_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """One that takes connections and never answers; its cache is a folder of the test's own."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


@pytest.mark.usefixtures("a_hub_that_says_nothing")
def test_a_hub_that_takes_a_connection_and_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """huggingface_hub itself would wait without an end."""
    with pytest.raises(NotPossibleHere, match="it does not answer in time"):
        fetch_checkpoint("owner/name")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "rows")
    with pytest.raises(NotPossibleHere, match="it does not answer in time"):
        load_split("hub:owner/name", "train")


@pytest.mark.usefixtures("a_hub_that_says_nothing")
def test_weights_of_the_hub_that_are_here_are_looked_at_before_anything_runs(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "cache" / "models--owner--name" / "snapshots" / ("a" * 40)
    shutil.copytree(tiny_model, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    assert fetch_checkpoint("owner/name") == snapshot, "what is here does not need an answer"
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot))
    recipe = Recipe.model_construct(model=Model(id="owner/name"))
    assert source_of(recipe, tmp_path / "r.toml").digest == "owner/name@None"
    weights = load_file(snapshot / "model.safetensors")
    next(iter(weights.values())).flat[0] = float("nan")
    save_file(weights, snapshot / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="weights that cannot be used"):
        source_of(recipe, tmp_path / "r.toml")


@pytest.mark.usefixtures("a_hub_that_says_nothing")
def test_a_model_that_the_disk_has_no_space_for_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.models.hub.first_answer", lambda *_: 10**18)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("it was begun"))
    monkeypatch.setattr("edgekit.models.hub.find_checkpoint", lambda *_: None)
    with pytest.raises(NotPossibleHere, match="have to be fetched, and the disk has"):
        given("owner/name")


def test_a_folder_of_checkpoints_names_them(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "out" / "checkpoint-500")
    with pytest.raises(BadInput, match="folders of models: checkpoint-500") as fault:
        given(str(tmp_path / "out"))
    assert f"--model {tmp_path / 'out' / 'checkpoint-500'}" in str(fault.value.fix)


@pytest.mark.parametrize(
    ("name", "says"),
    [("pytorch_model.bin", "a pickle checkpoint"), ("tf_model.h5", "which is TensorFlow's"), ("model.gguf", "which is llama.cpp's"),
     ("", "the whole folder")],
)  # fmt: skip
def test_weights_in_another_form_are_named(name: str, says: str, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    weights.rename(tmp_path / "m" / name) if name else weights.unlink()
    for read in (check_files, open_tensors):
        with pytest.raises(BadInput, match=says):
            read(tmp_path / "m")
