"""LoRA: nothing changes when it is attached, what is trained ends up in plain weights, and names that are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.errors import BadInput
from edgekit.models.checkpoint import load, save
from edgekit.train.lora import attach, find_targets, merge


def feed() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 60, (16, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[::3, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**feed()).logits
    return found


def train(model: Any, steps: int = 20) -> list[float]:
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(model(**feed()).logits, torch.arange(16) % 4)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("targets", [None, ["query", "value"], ["layer.0.output.dense"]])
def test_train_and_merge(tiny_model: Path, tmp_path: Path, targets: list[str] | None) -> None:
    model, plain = load(tiny_model), load(tiny_model)
    names = attach(model, 4, 8.0, targets)
    assert len(names) == {None: 18, "query": 6, "layer.0.output.dense": 1}[targets and targets[0]]
    assert torch.allclose(logits(model), logits(plain), atol=1e-6)
    losses = train(model)
    assert losses[-1] < losses[0]
    weights = {name: model.get_submodule(name) for name in names}
    wanted = {
        name: module.base_layer.weight.detach().double()
        + 2.0 * module.lora_B["default"].weight.detach().double() @ module.lora_A["default"].weight.detach().double()
        for name, module in weights.items()
    }
    before = logits(model)
    merge(model)
    assert logits(model) == pytest.approx(before, abs=2e-5)
    for name, weight in wanted.items():
        assert model.get_submodule(name).weight.detach().double() == pytest.approx(weight, abs=1e-6)
    assert type(model) is type(plain)
    assert set(model.state_dict()) == set(plain.state_dict())
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, plain.get_parameter(name))}
    assert changed == {f"{name}.weight" for name in names} | {"classifier.weight", "classifier.bias"}
    save(model, tmp_path / "out", tokenizer_files_from=tiny_model)
    assert torch.equal(logits(load(tmp_path / "out")), logits(model))


def test_few_parameters_are_trained_and_all_can_be_after(tiny_model: Path) -> None:
    model = load(tiny_model)
    attach(model, 2, 2.0, ["query"])
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert all("lora_" in name or name.startswith("classifier") for name in trained)
    assert sum("lora_" in name for name in trained) == 6
    with pytest.raises(BadInput, match="already"):
        attach(model, 2, 2.0, ["query"])
    merge(model)
    assert all(value.requires_grad for value in model.parameters())
    attach(model, 2, 2.0, ["query"])


def test_the_same_seed_gives_the_same_adapters(tiny_model: Path) -> None:
    models = [load(tiny_model) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        attach(model, 2, 2.0, ["query"], seed=seed)
    first, same, other = (dict(model.named_parameters()) for model in models)
    name = "bert.encoder.layer.0.attention.self.query.lora_A.default.weight"
    assert torch.equal(first[name], same[name])
    assert not torch.equal(first[name], other[name])


def test_names_that_are_not_there(tiny_model: Path) -> None:
    model = load(tiny_model)
    with pytest.raises(BadInput, match="'querry'; nearest: query") as fault:
        attach(model, 4, 8.0, ["querry", "value"])
    assert len(fault.value.faults) == 1
    with pytest.raises(BadInput, match="'attention'; nearest"):
        attach(model, 4, 8.0, ["attention"])
    with pytest.raises(BadInput, match="no module named"):
        attach(model, 4, 8.0, [])
    with pytest.raises(BadInput, match="rank 33 for modules of rank 32"):
        attach(model, 33, 8.0)
    with pytest.raises(BadInput, match="no adapters"):
        merge(model)
    assert find_targets(model, ["intermediate.dense"]) == [f"bert.encoder.layer.{n}.intermediate.dense" for n in range(3)]


def test_weights_that_grew_to_nan(tiny_model: Path) -> None:
    model = load(tiny_model)
    attach(model, 2, 2.0, ["query"])
    model.get_submodule("bert.encoder.layer.1.attention.self.query").lora_B["default"].weight.data.fill_(float("inf"))
    with pytest.raises(BadInput, match="NaN or Inf"):
        merge(model)
