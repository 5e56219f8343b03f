"""prune-gradual: the schedule, masks that training cannot lift, and a killed run that ends in the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from edgekit.compress.method import Work
from edgekit.compress.methods.prune_gradual import Settings, cubic, due, run
from edgekit.compress.parametrized import fold
from edgekit.compress.pruning.cost import unit_costs
from edgekit.compress.pruning.masked_weights import attach, drop_smallest, masks_of
from edgekit.errors import BadInput
from edgekit.models.anatomy import layers_of
from edgekit.models.checkpoint import load, save
from edgekit.models.shapes import shapes_of
from edgekit.models.stack import layer_linears


def asked(**given: Any) -> Settings:
    return Settings.model_validate(
        {"method": "prune-gradual", "sparsity": 0.5, "epochs": 4, "batch": 16, "steps": 4, "learning_rate": 2e-3, **given}
    )


STRUCTURES = {"what": "structures", "rows": 64, "multiple_of": 8}


def fresh(model: Path, rows: Path, folder: Path) -> Work:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    return Work(
        source=model, original=model, dense=model, rows=rows, out=folder / "out", scratch=folder / "scratch",
        task="text-classification", max_length=32, seed=7, progress=lambda done, total, text: None,
    )  # fmt: skip


def linears(model: Any) -> list[torch.nn.Linear]:
    return [module for layer in layer_linears(layers_of(model)) for module in layer.values()]


def test_the_schedule_is_zhu_and_guptas() -> None:
    assert [cubic(0.0, 0.8, done, 4) for done in range(5)] == pytest.approx([0, 0.4625, 0.7, 0.7875, 0.8])
    assert cubic(0.2, 0.8, 0, 1) == pytest.approx(0.2) and cubic(0.2, 0.8, 1, 1) == 0.8
    found = [due(step, 20, asked(rising=0.5)) for step in range(20)]
    assert found[:10] == [0, 0, 1, 1, 2, 2, 2, 3, 3, 4] and set(found[10:]) == {4}
    for rising in (0.1, 0.3, 0.7, 1.0):
        for total in (1, 3, 7, 100):
            assert due(total - 1, total, asked(rising=rising, steps=9)) == 9


@pytest.mark.parametrize("lora", [None, 4])
def test_masked_weights_are_zero_in_use_and_after(tiny_model: Path, lora: int | None) -> None:
    model, plain = load(tiny_model), load(tiny_model)
    modules = linears(model)
    attach(model, modules, rank=lora)
    drop_smallest(modules, 0.5, overall=False)
    wanted = [
        abs(module.weight) > abs(module.weight).flatten().kthvalue(module.weight.numel() // 2).values
        for module in linears(plain)
    ]
    assert all(torch.equal(mask, other) for mask, other in zip(masks_of(modules), wanted, strict=True))
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    ids = torch.randint(5, 60, (8, 9), generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        torch.nn.functional.cross_entropy(model(input_ids=ids).logits, torch.arange(8) % 4).backward()
        optimizer.step()
        optimizer.zero_grad()
    drop_smallest(modules, 0.6, overall=True)
    with torch.no_grad():
        before = model(input_ids=ids).logits
    masks = [mask.clone() for mask in masks_of(modules)]
    fold(modules)
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, before)
    for module, mask, first, old in zip(modules, masks, wanted, linears(plain), strict=True):
        assert type(module) is torch.nn.Linear
        assert (module.weight[~mask] == 0).all() and not (mask & ~first).any()
        assert not torch.equal(module.weight[mask], old.weight[mask])
    assert set(model.state_dict()) == set(plain.state_dict())
    assert sum(int((~mask).sum()) for mask in masks) == round(0.6 * sum(mask.numel() for mask in masks))


@pytest.mark.parametrize("given", [{}, {"scope": "global", "alpha": 0.0}, {"lora": 4, "learning_rate": 1e-2}])
def test_half_of_the_weights_go_and_nothing_is_said_of_speed(
    tiny_model: Path, tiny_artifact: Path, tmp_path: Path, given: dict[str, Any]
) -> None:
    work = fresh(tiny_model, tiny_artifact, tmp_path)
    made = run(work, asked(**given))
    assert made["sparsity"] == pytest.approx(0.5, abs=0.001)
    assert made["compressed_bytes"] < 0.85 * made["compressed_bytes_before"] and "no speed" in made["speed"]
    assert made["validation"] >= 0.8 and made["history"]["best_epoch"] > 2, "an epoch that is not yet pruned is never the best"
    assert set(load(work.out).state_dict()) == set(load(tiny_model).state_dict())


def test_heads_and_neurons_go_within_the_budget(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    work = fresh(tiny_model, tiny_artifact, tmp_path)
    made = run(work, asked(**STRUCTURES, sparsity=0.6))
    shapes = shapes_of(load(work.out))
    costs = unit_costs(load(tiny_model), shapes, 9.0, one_token=True, measured=False, scratch=tmp_path)
    whole = costs.whole(shapes_of(load(tiny_model)))
    assert 0.25 * whole < costs.whole(shapes) <= 0.41 * whole
    assert all(shape.neurons % 8 == 0 for shape in shapes)
    assert made["validation"] >= 0.7 and "speed" not in made and "sparsity" not in made


@pytest.mark.parametrize("given", [{}, {"lora": 4}, STRUCTURES])
def test_killed_and_resumed_it_ends_in_the_same_bytes(
    tiny_model: Path, tiny_artifact: Path, tmp_path: Path, given: dict[str, Any]
) -> None:
    works = [fresh(tiny_model, tiny_artifact, tmp_path / name) for name in ("whole", "killed")]
    settings = asked(**given, epochs=3, rising=0.8)

    class Killed(BaseException):
        """As a signal would end it."""

    def stop(done: float, total: float, text: str) -> None:
        if "epoch 2/3" in text:
            raise Killed

    made = run(works[0], settings)
    with pytest.raises(Killed):
        run(replace(works[1], progress=stop), settings)
    torch.rand(3)  # a process of its own has another state of chance
    assert run(works[1], settings) == made
    assert (works[1].out / "model.safetensors").read_bytes() == (works[0].out / "model.safetensors").read_bytes()


def test_zeros_of_an_earlier_step_stay_zero(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    sparse = load(tiny_model)
    weight = sparse.bert.encoder.layer[1].intermediate.dense.weight
    weight.data[:, ::2] = 0.0
    save(sparse, tmp_path / "sparse", tokenizer_files_from=tiny_model)
    work = replace(fresh(tiny_model, tiny_artifact, tmp_path), source=tmp_path / "sparse")
    run(work, asked(sparsity=0.1, epochs=1))
    found = load(work.out).bert.encoder.layer[1].intermediate.dense.weight
    assert (found[:, ::2] == 0).all() and not torch.equal(found, weight)


def test_bad_input(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    work = fresh(tiny_model, tiny_artifact, tmp_path)
    with pytest.raises(BadInput, match="'querry'; nearest: query"):
        run(work, asked(lora=4, lora_targets=["querry"]))
    with pytest.raises(BadInput, match="not pruned"):
        run(work, asked(lora=2, lora_targets=["classifier"]))
    with pytest.raises(
        BadInput, match=r"0\.001 cannot be met.*0\.0\d+ is the least; the smallest part that can stay is 8 neurons"
    ):
        run(work, asked(**STRUCTURES, sparsity=0.999))
    with pytest.raises(BadInput, match="rank 33 for modules of rank 32"):
        run(work, asked(lora=33))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"start": 0.5}, "leaves nothing to rise"),
        ({"multiple_of": 8}, 'multiple_of is not used with what = "weights"'),
        ({"what": "structures", "scope": "global"}, 'scope is not used with what = "structures"'),
        ({"lora_targets": ["query"]}, "not used without lora"),
        ({"sparsity": 1.0}, "less than 1"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        asked(**wrong)
