"""Checkpoints: what must not be loaded is refused, with the reason."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgekit.errors import BadInput
from edgekit.models.checkpoint import load
from edgekit.models.files import digest


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_it_loads_in_float32_and_eval_mode(copy: Path) -> None:
    model = load(copy)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_pickle_checkpoint(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(BadInput, match="pickle checkpoint"):
        load(copy)


def test_remote_code(copy: Path) -> None:
    edit(copy, auto_map={"AutoModel": "modeling_mine.Mine"})
    with pytest.raises(BadInput, match="brings its own code"):
        load(copy)


@pytest.mark.parametrize("model_type", ["vit", "no-such-thing", None])
def test_an_unknown_architecture(copy: Path, model_type: str | None) -> None:
    edit(copy, model_type=model_type)
    with pytest.raises(BadInput, match="architecture"):
        load(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(copy: Path, value: float) -> None:
    state = load_file(copy / "model.safetensors")
    state["classifier.weight"][0, 0] = value
    save_file(state, copy / "model.safetensors")
    with pytest.raises(BadInput, match="NaN or Inf"):
        load(copy)


def test_missing_unknown_and_misshapen_tensors_all_at_once(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    del state["classifier.bias"]
    state["mystery"] = torch.zeros(3)
    state["classifier.weight"] = torch.zeros(2, 2)
    save_file(state, copy / "model.safetensors")
    with pytest.raises(BadInput) as fault:
        load(copy)
    text = fault.value.text()
    assert "missing tensor classifier.bias" in text
    assert "unknown tensor mystery" in text
    assert "classifier.weight: shape" in text


def test_a_truncated_file(copy: Path) -> None:
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match="safetensors"):
        load(copy)


@pytest.mark.parametrize("labels", [{"0": "a", "2": "b"}, {"0": "a", "1": "a", "2": "b", "3": "c"}])
def test_labels_out_of_order_or_double(copy: Path, labels: dict[str, str]) -> None:
    edit(copy, id2label=labels)
    with pytest.raises(BadInput, match="labels"):
        load(copy)


def test_outputs_named_by_numbers(copy: Path) -> None:
    names = {str(number): number for number in range(len(json.loads((copy / "config.json").read_text())["id2label"]))}
    edit(copy, id2label=names)
    assert load(copy).config.id2label == {number: str(number) for number in names.values()}


def test_a_model_without_labels(copy: Path) -> None:
    edit(copy, id2label={})
    with pytest.raises(BadInput, match="names no labels"):
        load(copy)


def test_the_message_names_architectures_that_would_do(copy: Path) -> None:
    edit(copy, model_type="convnext")
    with pytest.raises(BadInput) as fault:
        load(copy)
    assert "bert, " in fault.value.text()


@pytest.mark.parametrize("bare", [False, True])
def test_a_new_head_on_an_encoder(copy: Path, bare: bool) -> None:
    """`bare`: tensors named without the prefix and no head, as sentence-transformers saves them."""
    trained = load(copy)
    if bare:
        state = load_file(copy / "model.safetensors")
        encoder = {name.removeprefix("bert."): value for name, value in state.items() if name.startswith("bert.")}
        save_file(encoder, copy / "model.safetensors")
        with pytest.raises(BadInput, match="weights that cannot be used"):
            load(copy)
    made, again = load(copy, new_head=["a", "b"]), load(copy, new_head=["a", "b"])
    assert made.config.id2label == {0: "a", 1: "b"}
    assert made.classifier.weight.shape == (2, 32)
    assert made.classifier.weight.equal(again.classifier.weight)
    ours, theirs = made.bert.encoder.state_dict(), trained.bert.encoder.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("labels", [[], ["a", "a"]])
def test_a_new_head_without_labels_or_with_a_double_one(copy: Path, labels: list[str]) -> None:
    with pytest.raises(BadInput, match="labels"):
        load(copy, new_head=labels)


def test_a_new_head_excuses_no_gap_in_the_encoder(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    del state["bert.encoder.layer.0.output.dense.bias"]
    save_file(state, copy / "model.safetensors")
    with pytest.raises(BadInput) as fault:
        load(copy, new_head=["a", "b"])
    assert "missing tensor bert.encoder.layer.0.output.dense.bias" in fault.value.text()


def test_loading_says_nothing(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(copy)
    load(copy, new_head=["a", "b"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("gone", ["config.json", "tokenizer.json", "model.safetensors"])
def test_missing_files(copy: Path, gone: str) -> None:
    (copy / gone).unlink()
    with pytest.raises(BadInput):
        load(copy)


def test_the_digest_sees_every_file(copy: Path) -> None:
    before = digest(copy)
    edit(copy, extra=1)
    assert digest(copy) != before
