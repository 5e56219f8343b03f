"""drop-blocks: what influence means, which blocks go, and that the rest is a checkpoint like any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.compress.calibration import calibration_batches
from edgekit.compress.methods import drop_blocks
from edgekit.compress.pruning.whole_layers import block_influence, most_influential
from edgekit.errors import BadInput
from edgekit.exporter.decoder import export_decoder
from edgekit.models.checkpoint import load, save
from edgekit.models.stack import blocks_of, keep_blocks
from tests.compress.decoder_rows import FAMILIES, work_on
from tests.tiny_decoders import CONFIGS

CAUSAL = "AutoModelForCausalLM"


def deeper(family: str, layers: int = 4) -> dict[str, Any]:
    """Changes that give a tiny decoder `layers` blocks."""
    return {"n_layer" if CONFIGS[family][0] == "gpt2" else "num_hidden_layers": layers}


def settings(layers: int, **more: Any) -> drop_blocks.Settings:
    return drop_blocks.Settings(method="drop-blocks", layers=layers, rows=16, **more)


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2", "smollm3", "opt", "phi", "phi3"])
def test_blocks_that_change_nothing_go_first(family: str, tmp_path: Path) -> None:
    work = work_on(family, tmp_path, **deeper(family))
    model = load(work.source, CAUSAL)
    for number in (1, 2):  # what these two add to their input is nothing at all
        for parameter in blocks_of(model)[number].parameters():
            torch.nn.init.zeros_(parameter)
    save(model, tmp_path / "flat", tokenizer_files_from=work.source)
    made = drop_blocks.run(replace(work, source=tmp_path / "flat"), settings(2))
    assert made["kept"] == [0, 3] and max(made["influence"][1:3]) < 1e-6 < min(made["influence"][0], made["influence"][3])
    small, ids = load(work.out, CAUSAL), torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    assert torch.equal(small(input_ids=ids).logits, model(input_ids=ids).logits)
    (tmp_path / "graph").mkdir()  # the runtime's graph is compared with eager there
    export_decoder(work.out, tmp_path / "graph", max_length=24, progress=work.progress)
    assert json.loads((tmp_path / "graph" / "generation.json").read_text())["layers"] == 2


def test_influence_is_one_less_the_cosine(tmp_path: Path) -> None:
    work = work_on("llama", tmp_path)
    model, feeds = load(work.source, CAUSAL), calibration_batches(work, 12, 5)
    found = block_influence(model, feeds)
    near: list[list[float]] = [[], []]
    for feed in feeds:
        for ids, mask in zip(feed["input_ids"], feed["attention_mask"], strict=True):  # each text alone, without padding
            with torch.no_grad():
                states = model(input_ids=ids[mask.bool()][None], output_hidden_states=True).hidden_states[:2]
            near[0] += torch.nn.functional.cosine_similarity(*states, dim=-1)[0].tolist()
    assert found[0] == pytest.approx(1 - sum(near[0]) / len(near[0]), abs=1e-6)


def test_of_equals_the_earlier_stays() -> None:
    assert most_influential([0.5, 0.1, 0.3, 0.3], 2) == [0, 2]


def test_lists_of_a_configuration_follow(tmp_path: Path) -> None:
    work = work_on("gemma2", tmp_path, num_hidden_layers=4)
    model = keep_blocks(load(work.source, CAUSAL), [1, 2, 3])
    assert model.config.layer_types == ["full_attention", "sliding_attention", "full_attention"]
    assert [block.self_attn.layer_idx for block in blocks_of(model)] == [0, 1, 2]
    work = work_on("smollm3", tmp_path / "other", num_hidden_layers=4)
    assert keep_blocks(load(work.source, CAUSAL), [0, 3]).config.no_rope_layers == [1, 0]


def test_what_cannot_be_dropped(tmp_path: Path) -> None:
    work = work_on("gpt2", tmp_path, scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(BadInput, match="removes nothing from a model of 2"):
        drop_blocks.run(work, settings(2))
    with pytest.raises(BadInput, match="divides attention by each block's number"):
        keep_blocks(load(work.source, CAUSAL), [1])
    with pytest.raises(BadInput, match="of a model with 2"):
        keep_blocks(load(work.source, CAUSAL), [])
