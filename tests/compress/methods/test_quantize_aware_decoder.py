"""quantize-aware-decoder: a model in 4 bits comes nearer to the original, and what it was trained with is what is stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.compress.methods.quantize_aware_decoder import Settings, run
from edgekit.compress.quantization.fake_blocks import fake_blocks, start_of
from edgekit.models.checkpoint import load, save
from edgekit.models.stack import blocks_of, layer_linears
from edgekit.quantize.blocks import quantize_blocks
from edgekit.tasks import find_task
from tests.compress.decoder_rows import FAMILIES, work_on
from tests.compress.methods.test_decoder_distill import distance

TASK = find_task("text-generation")


def weights(folder: Path) -> list[np.ndarray]:
    """(in, out) of every linear module of the layers."""
    layers = layer_linears(blocks_of(load(folder, TASK.auto)))
    return [
        (module.weight.T if isinstance(module, torch.nn.Linear) else module.weight).detach().numpy()
        for layer in layers
        for module in layer.values()
    ]


def rounded(folder: Path, out: Path) -> Path:
    """The checkpoint in `folder` as 4 bits have it."""
    model = load(folder, TASK.auto)
    for layer in layer_linears(blocks_of(model)):
        for module in layer.values():
            turned = isinstance(module, torch.nn.Linear)
            weight = module.weight.detach().numpy()
            restored = quantize_blocks(np.ascontiguousarray(weight.T if turned else weight), 4, 32).restored()
            module.weight.data = torch.from_numpy(np.ascontiguousarray(restored.T if turned else restored))
    save(model, out, tokenizer_files_from=folder)
    return out


@pytest.mark.parametrize("family", FAMILIES)
def test_it_comes_nearer_and_is_stored_as_it_was_trained(family: str, tmp_path: Path) -> None:
    work = work_on(family, tmp_path)
    made = run(work, Settings(method="quantize-aware-decoder", epochs=4, learning_rate=3e-4))
    assert distance(work, work.out) < 0.7 * distance(work, rounded(work.source, tmp_path / "plain"))
    assert made["layers"] == len(weights(work.out)) > 0
    for weight in weights(work.out):
        found = quantize_blocks(np.ascontiguousarray(weight), 4, 32)
        assert np.allclose(found.restored(), weight, rtol=1e-5, atol=1e-9)


def test_zeros_and_ends_stay(tmp_path: Path) -> None:
    work = work_on("llama", tmp_path)
    model = load(work.source, TASK.auto)
    pruned = model.model.layers[0].mlp.down_proj.weight
    with torch.no_grad():
        pruned[:, ::2] = 0
    save(model, tmp_path / "pruned", tokenizer_files_from=work.source)
    run(replace(work, source=tmp_path / "pruned"), Settings(method="quantize-aware-decoder", learning_rate=1e-3))
    after = load(work.out, TASK.auto)
    assert not after.model.layers[0].mlp.down_proj.weight[:, ::2].any()
    assert torch.equal(after.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_the_gradients_are_those_of_the_paper() -> None:
    """LSQ's equations 2 and 3: of a scale round(v) - v inside the range and its end outside; of a weight 1 inside and 0 outside."""
    weight = torch.tensor([[0.31, -0.62, 2.0, -3.0]], requires_grad=True)
    scale = torch.tensor([[0.2]], requires_grad=True)
    fake_blocks(weight, scale, 4).sum().backward()
    v = weight.detach().double() / 0.2
    inside = (v >= -8) & (v <= 7)
    assert torch.equal(weight.grad != 0, inside)
    wanted = torch.where(inside, v.round() - v, v.clamp(-8, 7)).sum()
    assert scale.grad is not None and scale.grad.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_scales_start_where_least_is_lost() -> None:
    weight = torch.from_numpy(np.random.default_rng(0).standard_t(4, size=(5, 96))).float()
    ours = fake_blocks(weight, start_of(weight, 32), 32)
    theirs = torch.from_numpy(quantize_blocks(weight.numpy().T.copy(), 4, 32).restored().T)
    assert (ours - weight).square().sum() < 1.08 * (theirs - weight).square().sum()
    assert start_of(torch.zeros(2, 40), 32).isfinite().all()
