"""prune-unstructured on a real tiny model: what becomes zero, what stays, and what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from edgekit.compress.method import Work
from edgekit.compress.methods.prune_unstructured import Settings, prune, run
from edgekit.compress.pruning.gram import grams
from edgekit.compress.pruning.inverse_hessian import squared_error
from edgekit.errors import BadInput
from edgekit.models.anatomy import layers_of
from edgekit.models.checkpoint import load
from edgekit.models.stack import layer_linears


def feeds(*, empty: bool = False) -> list[dict[str, torch.Tensor]]:
    made = []
    for number in range(4):
        ids = torch.randint(5, 60, (16, 9), generator=torch.Generator().manual_seed(number))
        mask = torch.ones_like(ids)
        mask[::3, 6:] = 0
        mask[1] = 0 if empty else mask[1]
        made.append({"input_ids": ids, "attention_mask": mask})
    return made


def settings(**asked: Any) -> Settings:
    return Settings(method="prune-unstructured", **asked)


def quiet(done: float, total: float, text: str) -> None:
    assert 0 <= done <= total, text


def work(tiny_model: Path, tiny_artifact: Path, folder: Path) -> Work:
    return Work(tiny_model, tiny_model, tiny_model, tiny_artifact, folder / "out", folder, "text-classification", 32, 7, quiet)


@pytest.mark.parametrize(
    "asked",
    [
        {"how": "magnitude", "sparsity": 0.5},
        {"how": "magnitude", "sparsity": 0.5, "scope": "global"},
        {"how": "wanda", "sparsity": 0.5},
        {"how": "sparsegpt", "sparsity": 0.5},
        {"how": "magnitude", "pattern": "2:4"},
        {"how": "wanda", "pattern": "2:4"},
        {"how": "sparsegpt", "pattern": "2:4"},
    ],
)
def test_half_of_the_encoders_weights_go_and_nothing_else(
    tiny_model: Path, tiny_artifact: Path, tmp_path: Path, asked: dict[str, Any]
) -> None:
    facts = run(work(tiny_model, tiny_artifact, tmp_path), settings(**asked))
    dense, sparse = load(tiny_model), load(tmp_path / "out")
    assert facts["sparsity"] == pytest.approx(0.5, abs=0.002)
    assert facts["compressed_bytes"] < 0.85 * facts["compressed_bytes_before"]
    assert "no speed" in facts["speed"]
    touched = {id(module.weight) for linears in layer_linears(layers_of(sparse)) for module in linears.values()}
    for (name, before), after in zip(dense.named_parameters(), sparse.parameters(), strict=True):
        assert (id(after) in touched) != torch.equal(before, after), name
    if "pattern" in asked:
        for linears in layer_linears(layers_of(sparse)):
            assert all((module.weight.reshape(-1, 4) != 0).sum(dim=1).max() <= 2 for module in linears.values())


@pytest.mark.parametrize("amount", [{"sparsity": 0.6}, {"pattern": "2:4"}])
def test_the_first_layers_error_is_never_above_wandas_or_magnitudes(tiny_model: Path, amount: dict[str, Any]) -> None:
    errors = {}
    for how in ("sparsegpt", "wanda", "magnitude"):
        dense, sparse = load(tiny_model), load(tiny_model)
        prune(sparse, feeds(), settings(how=how, **amount), quiet)
        first, second = layer_linears(layers_of(dense))[0], layer_linears(layers_of(sparse))[0]
        found = grams(dense, first, feeds())
        changes = {name: (second[name].weight - module.weight).detach().double().numpy() for name, module in first.items()}
        errors[how] = {name: squared_error(changes[name], found[name].second) for name in first}
    for name, error in errors["sparsegpt"].items():
        assert error <= min(errors["wanda"][name], errors["magnitude"][name]) * (1 + 1e-6)


def test_grams_are_sums_over_real_tokens(tiny_model: Path) -> None:
    model = load(tiny_model)
    module = layer_linears(layers_of(model))[1]["output.dense"]
    seen: list[torch.Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().cpu()))
    found = grams(model, {"down": module}, feeds())["down"]
    handle.remove()
    rows = torch.cat([given[feed["attention_mask"].bool()] for given, feed in zip(seen, feeds(), strict=True)]).double().numpy()
    assert found.second == pytest.approx(rows.T @ rows, rel=1e-4, abs=1e-3)
    assert found.first == pytest.approx(rows.sum(axis=0), rel=1e-4, abs=1e-3)
    assert found.count == len(rows)
    centred = rows - rows.mean(axis=0)
    assert found.centred().second == pytest.approx(centred.T @ centred, rel=1e-3, abs=1e-2)


def test_the_same_run_gives_the_same_weights(tiny_model: Path) -> None:
    made = [load(tiny_model) for _ in range(2)]
    assert prune(made[0], feeds(), settings(sparsity=0.5), quiet) == prune(made[1], feeds(), settings(sparsity=0.5), quiet)
    assert all(torch.equal(one, other) for one, other in zip(made[0].parameters(), made[1].parameters(), strict=True))


def test_bad_input(tiny_model: Path) -> None:
    with pytest.raises(BadInput, match="4 calibration rows are all padding"):
        prune(load(tiny_model), feeds(empty=True), settings(how="wanda", sparsity=0.5), quiet)
    with pytest.raises(BadInput, match="no calibration rows"):
        prune(load(tiny_model), [], settings(how="sparsegpt", sparsity=0.5), quiet)
    with pytest.raises(BadInput, match="does not divide into groups of 5"):
        prune(load(tiny_model), feeds(), settings(pattern="2:5"), quiet)
    few = [{name: value[:1, :4] for name, value in feeds()[0].items()}]
    with pytest.raises(BadInput, match="singular"):
        prune(load(tiny_model), few, settings(sparsity=0.5, damping=0.0), quiet)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"sparsity": 0.5, "pattern": "2:4"},
        {"sparsity": 1.0},
        {"pattern": "4:2"},
        {"sparsity": 0.5, "how": "wanda", "scope": "global"},
        {"pattern": "2:4", "how": "magnitude", "scope": "global"},
        {"sparsity": 0.5, "how": "movement"},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)
