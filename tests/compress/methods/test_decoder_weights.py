"""Single weights, neurons and adapters of decoders: what becomes zero or goes, what makes up for it, and what recovers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from edgekit.compress.methods import distill_decoder, prune_unstructured, prune_width
from edgekit.errors import BadInput
from edgekit.exporter.decoder import export_decoder
from edgekit.models.checkpoint import load, save
from edgekit.models.groups import OUT, group_width, groups_of, keep_groups
from edgekit.models.stack import blocks_of, keep_neurons, layer_linears, mlp_of, neurons_of
from edgekit.tasks import find_task
from edgekit.tasks.encode import encode, read_split
from edgekit.train.evaluate import inverse_perplexity
from tests.compress.decoder_rows import FAMILIES, work_on

CAUSAL = "AutoModelForCausalLM"
IDS = torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(0))


def sparse(how: str, **more: Any) -> prune_unstructured.Settings:
    asked = {"sparsity": 0.5, **more} if "pattern" not in more else more
    return prune_unstructured.Settings(method="prune-unstructured", how=how, rows=48, **asked)


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = load(folder, CAUSAL)(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_half_the_weights_of_the_blocks_become_zero(family: str, tmp_path: Path) -> None:
    work = work_on(family, tmp_path)
    made = {}
    for how in ("magnitude", "wanda", "sparsegpt"):
        out = tmp_path / how
        out.mkdir()
        made[how] = prune_unstructured.run(replace(work, out=out), sparse(how))
        model = load(out, CAUSAL)
        linears = [module for part in layer_linears(blocks_of(model)) for module in part.values()]
        share = [float((module.weight == 0).float().mean()) for module in linears]
        assert len(linears) == 2 * len(layer_linears(blocks_of(model))[0]) >= 8 and share == pytest.approx(
            [0.5] * len(share), abs=0.02
        )
        assert made[how]["compressed_bytes"] < 0.75 * made[how]["compressed_bytes_before"] and "no speed" in made[how]["speed"]
        before, after = load_file(work.source / "model.safetensors"), load_file(out / "model.safetensors")
        tables = [name for name in after if "wte" in name or "embed" in name]
        assert tables and all(torch.equal(after[name], before[name]) for name in tables)
    assert made["sparsegpt"]["error"] < 0.9 * made["wanda"]["error"]


def test_zeros_stand_in_rows_of_outputs_in_gpt2(tmp_path: Path) -> None:
    """Wanda drops half of each output's inputs, and GPT-2 stores the outputs along the last axis."""
    work = work_on("gpt2", tmp_path)
    prune_unstructured.run(work, sparse("wanda"))
    for name, value in load_file(work.out / "model.safetensors").items():
        if name.endswith(("c_attn.weight", "c_fc.weight", "c_proj.weight")):
            assert set((value == 0).sum(dim=0).tolist()) == {value.shape[0] // 2}, name


@pytest.mark.parametrize("family", [*FAMILIES, "opt", "phi", "phi3", "gemma2"])
def test_neurons_that_say_nothing_go_first(family: str, tmp_path: Path) -> None:
    work = work_on(family, tmp_path)
    model = load(work.source, CAUSAL)
    have = neurons_of(model)
    silent = sorted(np.random.default_rng(0).permutation(have)[:32].tolist())
    for block in blocks_of(model):
        down = block.get_submodule(mlp_of(model).down)
        (down.weight.data.T if isinstance(down, torch.nn.Linear) else down.weight.data)[silent] = 0
    save(model, tmp_path / "silent", tokenizer_files_from=work.source)
    asked = prune_width.Settings(method="prune-width", neurons=have - 32, rows=48, damping=1e-4)
    made = prune_width.run(replace(work, source=tmp_path / "silent"), asked)
    assert max(made["mlp_error"]) < 1e-9 and neurons_of(load(work.out, CAUSAL)) == have - 32
    assert torch.allclose(logits(work.out), logits(tmp_path / "silent"), atol=1e-4)
    (tmp_path / "graph").mkdir()
    export_decoder(work.out, tmp_path / "graph", max_length=24, progress=work.progress)


@pytest.mark.parametrize("family", ["llama, biased", "qwen3", "gemma2", "mistral, window"])
def test_heads_that_say_nothing_go_first(family: str, tmp_path: Path) -> None:
    work = work_on(family, tmp_path)
    model = load(work.source, CAUSAL)
    have, wide = groups_of(model), group_width(model)
    silent = [0, have - 1]  # another one in each block
    for block, group in zip(blocks_of(model), silent, strict=True):
        block.get_submodule(OUT).weight.data[:, group * wide : (group + 1) * wide] = 0
    save(model, tmp_path / "silent", tokenizer_files_from=work.source)
    asked = prune_width.Settings(method="prune-width", kv_heads=have - 1, neurons=64, rows=48, damping=1e-6)
    made = prune_width.run(replace(work, source=tmp_path / "silent"), asked)
    assert max(made["attention_error"]) < 1e-9 < min(made["mlp_error"])
    wider = asked.model_copy(update={"neurons": None})
    (tmp_path / "heads").mkdir()
    prune_width.run(replace(work, source=tmp_path / "silent", out=tmp_path / "heads"), wider)
    assert torch.allclose(logits(tmp_path / "heads"), logits(tmp_path / "silent"), atol=1e-4)
    for folder in (work.out, tmp_path / "heads"):
        small = load(folder, CAUSAL)
        assert groups_of(small) == have - 1 and group_width(small) == wide
        (tmp_path / f"graph of {folder.name}").mkdir()
        export_decoder(folder, tmp_path / f"graph of {folder.name}", max_length=24, progress=work.progress)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "phi", "phi3", "opt"])
def test_heads_that_divide_the_hidden_size_stay(family: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="divide the hidden size between them and cannot be fewer"):
        prune_width.run(work_on(family, tmp_path), prune_width.Settings(method="prune-width", kv_heads=1))


def test_neurons_that_stay_make_up_for_those_that_go(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(200, 5)) @ draw.normal(size=(5, 12)) + 0.05 * draw.normal(size=(200, 12))
    weight, kept = draw.normal(size=(7, 12)), np.arange(6)
    new, error = prune_width.refit(weight, inputs.T @ inputs, kept, 1e-9)
    best = np.linalg.lstsq(inputs[:, :6], inputs @ weight.T, rcond=None)[0].T
    np.testing.assert_allclose(new, best, atol=1e-3)
    whole = np.square(inputs @ weight.T).sum()
    assert error == pytest.approx(np.square(inputs @ weight.T - inputs[:, :6] @ best.T).sum() / whole, rel=1e-3)
    assert error < 0.1 * np.square(inputs[:, 6:] @ weight[:, 6:].T).sum() / whole


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_recover_and_leave_no_trace(family: str, tmp_path: Path) -> None:
    work = work_on(family, tmp_path)
    prune_unstructured.run(work, sparse("wanda"))
    out = tmp_path / "recovered"
    out.mkdir()
    asked = distill_decoder.Settings(
        method="distill-decoder", lora=4, lora_alpha=8.0, alpha=1.0, epochs=3, batch=8, learning_rate=5e-3
    )
    made = distill_decoder.run(replace(work, source=work.out, out=out), asked)
    rows = encode(out, read_split(work.rows, "validation"), find_task(work.task), work.max_length)
    saved = inverse_perplexity(load(out, CAUSAL), find_task(work.task), rows)
    assert saved == pytest.approx(made["validation"], rel=1e-5), "what was trained is what is folded in"
    dense, pruned, recovered = (logits(folder) for folder in (work.original, work.out, out))
    assert (recovered - dense).square().mean() < 0.95 * (pruned - dense).square().mean()
    before, after = (load_file(folder / "model.safetensors") for folder in (work.out, out))
    assert set(before) == set(after)
    moved = [name for name in after if not torch.equal(before[name], after[name])]
    assert moved and not any("norm" in name or "ln_" in name or "embed_in" in name or "wte" in name for name in moved)
    for name, value in before.items():
        if float((value == 0).float().mean()) > 0.3:
            assert not after[name][value == 0].any(), name


def test_what_cannot_be_cut(tmp_path: Path) -> None:
    work = work_on("llama", tmp_path)
    with pytest.raises(BadInput, match="removes nothing from blocks of 96"):
        prune_width.run(work, prune_width.Settings(method="prune-width", neurons=96))
    model = load(work.source, CAUSAL)
    for kept in ([[0], [0, 1]], [[96], [0]], [[], []], [[0]]):
        with pytest.raises(BadInput, match="of blocks with 96 each"):
            keep_neurons(model, kept)
    many = load(work_on("llama, heads of 8", tmp_path / "many").source, CAUSAL)
    with pytest.raises(BadInput, match="leave 6 query heads, and llama wants a number that divides its hidden size, 64"):
        keep_groups(many, [[0, 1, 2]] * 2)
    assert groups_of(keep_groups(many, [[0, 3]] * 2)) == 2
    for kept in ([[0], [0, 1]], [[2], [0]], [[], []], [[0]]):
        with pytest.raises(BadInput, match="of blocks with 2 each"):
            keep_groups(model, kept)
    with pytest.raises(ValidationError, match="give `neurons`, `kv_heads` or both"):
        prune_width.Settings(method="prune-width")
    with pytest.raises(BadInput, match="does not divide into groups of 5"):
        prune_unstructured.run(work, sparse("wanda", pattern="2:5"))
    wrong = distill_decoder.Settings(method="distill-decoder", lora=2, lora_targets=["query"])
    with pytest.raises(BadInput, match="no linear module of that name"):
        distill_decoder.run(work, wrong)
