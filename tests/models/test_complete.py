"""What the plan says of weights before any model is built: all faults that headers, config.json and one pass over the bytes show."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edgekit.errors import BadInput
from edgekit.models.facts import facts_of_checkpoint
from edgekit.models.files import digest
from edgekit.models.finite import hash_and_look

Weights = dict[str, np.ndarray]
LAYER = "bert.encoder.layer.1"


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def changed(folder: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def poisoned(weights: Weights, name: str, value: float) -> None:
    weights[name] = weights[name].copy()
    weights[name].flat[-1] = value


def told(folder: Path) -> str:
    with pytest.raises(BadInput) as fault:
        digest(folder)
    return fault.value.text()


def test_all_that_is_wrong_with_weights_is_told_at_once(copy: Path) -> None:
    def wrong(weights: Weights) -> None:
        for name in (f"{LAYER}.output.dense.weight", "classifier.bias", "bert.embeddings.position_embeddings.weight"):
            del weights[name]
        weights[f"{LAYER}.intermediate.dense.bias"] = weights[f"{LAYER}.intermediate.dense.bias"][:3]
        poisoned(weights, "bert.encoder.layer.0.output.dense.weight", np.nan)
        poisoned(weights, "bert.pooler.dense.bias", -np.inf)

    changed(copy, wrong)
    text = told(copy)
    for what in (
        f"missing tensor {LAYER}.output.dense.weight",
        "missing tensor classifier.bias",
        "no table of positions",
        f"{LAYER}.intermediate.dense.bias: shape (3,)",
        "bert.encoder.layer.0.output.dense.weight: holds NaN or Inf",
        "bert.pooler.dense.bias: holds NaN or Inf",
    ):
        assert what in text


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_file_is_hashed_and_looked_at_in_one_pass(kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.models.finite.BLOCK", 16)  # several of each tensor
    path = tmp_path / "model.safetensors"
    most = np.finfo(kind).max
    sound = np.array([0, -0.0, 1, most, -most, np.finfo(kind).tiny] * 7, kind)
    weights = {"a": sound, "b": np.full(9, np.nan, kind), "c": np.array([1, np.inf], kind), "ids": np.arange(5)}
    save_file(weights, path)
    found, odd = hash_and_look(path)
    assert found == hashlib.sha256(path.read_bytes()).hexdigest() and sorted(odd) == ["b", "c"]
    path.write_bytes(b"no safetensors")
    assert hash_and_look(path) == (hashlib.sha256(b"no safetensors").hexdigest(), [])


@pytest.mark.parametrize("count", [3, 5, 0])
def test_labels_are_as_many_as_the_head_has_outputs(count: int, copy: Path) -> None:
    assert facts_of_checkpoint(str(copy)).labels_fault is None
    config = json.loads((copy / "config.json").read_text())
    config["id2label"] = {str(number): f"label {number}" for number in range(count)}
    (copy / "config.json").write_text(json.dumps(config))
    fault = facts_of_checkpoint(str(copy)).labels_fault
    assert fault is not None and "and the head has 4" in fault and (f"names {count or 'no'} outputs" in fault)


def test_a_plan_names_the_part_of_a_head_that_is_missing(copy: Path, tmp_path: Path) -> None:
    from edgekit.pipeline.explain import explain

    changed(copy, lambda weights: [weights.pop(f"bert.pooler.dense.{part}") for part in ("weight", "bias")])
    recipe = tmp_path / "r.toml"
    recipe.write_text('schema = 1\ntask = "text-classification"\n[model]\nid = "model"\n[data]\nbuiltin = "texts"\n')
    with pytest.raises(BadInput, match="its weights have no pooler"):
        explain(str(recipe), [], tmp_path / "build")
