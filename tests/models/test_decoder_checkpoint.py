"""Checkpoints of decoders as their families store them: tied heads, other names, constants, no head; saved so that all can read them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from edgekit.errors import BadInput
from edgekit.models.checkpoint import load, save
from edgekit.models.decoders import describe
from tests.tiny_decoders import CONFIGS, checkpoint

CAUSAL = "AutoModelForCausalLM"
IDS = torch.randint(3, 300, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "family", ["llama", "llama, tied", "qwen3", "phi3", "smollm3", "gemma3", "gpt2", "gpt_neox", "opt", "phi"]
)
def test_it_is_the_model_that_transformers_loads_before_and_after(family: str, tmp_path: Path) -> None:
    source = checkpoint(family, tmp_path / "model")
    (source / "chat_template.jinja").write_text("{{ messages }}")
    model = load(source, CAUSAL)
    save(model, tmp_path / "saved", tokenizer_files_from=source)
    with torch.no_grad():
        ours, theirs, again, read = (
            one.eval()(input_ids=IDS).logits
            for one in (
                model, AutoModelForCausalLM.from_pretrained(source), AutoModelForCausalLM.from_pretrained(tmp_path / "saved"),
                load(tmp_path / "saved", CAUSAL),
            )
        )  # fmt: skip
    assert torch.equal(ours, theirs) and torch.equal(again, theirs) and torch.equal(read, theirs)
    assert len(describe(tmp_path / "saved").layers) == 2
    assert set(load_file(tmp_path / "saved" / "model.safetensors")) == set(load_file(source / "model.safetensors"))
    assert all((tmp_path / "saved" / name).is_file() for name in ("chat_template.jinja", "generation_config.json"))


def test_gemma3_caps_no_attention_whatever_its_file_says(tmp_path: Path) -> None:
    source = checkpoint("gemma3", tmp_path / "model", attn_logit_softcapping=0.01)
    model = load(source, CAUSAL)
    with torch.no_grad():
        capped = model(input_ids=IDS).logits
        for layer in model.model.layers:
            layer.self_attn.attn_logit_softcapping = None
        assert torch.equal(capped, model(input_ids=IDS).logits), "transformers follows it now"
    assert [layer.attention.softcap for layer in describe(source).layers] == [0.0, 0.0]


def test_the_first_gpt2_has_no_head_and_its_masks_beside_its_weights(tmp_path: Path) -> None:
    source = checkpoint("gpt2", tmp_path / "model")
    whole = load(source, CAUSAL)
    stored = {name.removeprefix("transformer."): value for name, value in load_file(source / "model.safetensors").items()}
    stored["h.0.attn.bias"] = torch.ones(1, 1, 128, 128).tril()
    save_file(stored, source / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(load(source, CAUSAL)(input_ids=IDS).logits, whole(input_ids=IDS).logits)


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_a_head_of_its_own_must_be_there(family: str, tmp_path: Path) -> None:
    source = checkpoint(family, tmp_path / "model")
    assert not CONFIGS[family][1].get("tie_word_embeddings")
    stored = load_file(source / "model.safetensors")
    del stored["embed_out.weight" if family == "gpt_neox" else "lm_head.weight"]
    save_file(stored, source / "model.safetensors")
    with pytest.raises(BadInput, match=r"missing tensor lm_head\.weight"):
        load(source, CAUSAL)
