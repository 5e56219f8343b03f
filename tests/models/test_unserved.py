"""Options of decoders that no graph has are told from config.json alone, as old and new files write them, and no others are."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from edgekit.errors import BadInput
from edgekit.exporter.head_padding import pad_heads
from edgekit.models.decoders import open_weights, unserved
from edgekit.models.decoders.families import gpt_neox, llama
from edgekit.models.facts import facts_of_checkpoint
from tests.tiny_decoders import BASE, CONFIGS, PARTLY, checkpoint

DYNAMIC = {"factor": 2.0, "rope_theta": 10000.0}


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_is_said_of_what_is_served(name: str, tmp_path: Path) -> None:
    kind, options = CONFIGS[name]
    AutoConfig.for_model(kind, **options).save_pretrained(tmp_path)
    assert facts_of_checkpoint(str(tmp_path)).unserved == ()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, **options}))  # as its author may have written it
    assert facts_of_checkpoint(str(tmp_path)).unserved == ()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_value_of_any_kind_is_read_or_refused_by_name(name: str, tmp_path: Path) -> None:
    kind, options = CONFIGS[name]
    whole = {"model_type": kind, **options}
    for key in whole:
        for value in ([], {"a": [1]}, "abc", True, -1, 1.5, None):
            (tmp_path / "config.json").write_text(json.dumps({**whole, key: value}))
            with suppress(BadInput):
                assert all(fault.startswith("config.json") for fault in facts_of_checkpoint(str(tmp_path)).unserved)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"model_type": "llama", "hidden_act": "tanh"}, "hidden_act"),
        ({"model_type": "gemma2", "hidden_act": "gelu", "hidden_activation": "quick_gelu"}, "hidden_activation"),
        ({"model_type": "llama", "rope_scaling": {"type": "dynamic", **DYNAMIC}}, "rope_scaling, rope_type"),
        ({"model_type": "gpt_neox", "rope_scaling": {"rope_type": "dynamic", **DYNAMIC}}, "rope_scaling, rope_type"),
        ({"model_type": "phi", "rope_parameters": {"rope_type": "proportional"}}, "rope_parameters, rope_type"),
        (
            {"model_type": "gemma3_text", "rope_parameters": {"full_attention": {"rope_type": "dynamic"}, "sliding_attention": PARTLY}},
            "rope_parameters, full_attention, rope_type",
        ),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ({"model_type": "gpt2", "add_cross_attention": True}, "add_cross_attention"),
        ({"model_type": "gpt2", "activation_function": "tanh"}, "activation_function"),
        ({"model_type": "opt", "do_layer_norm_before": False}, "do_layer_norm_before"),
        ({"model_type": "opt", "_remove_final_layer_norm": True}, "_remove_final_layer_norm"),
        ({"model_type": "opt", "hidden_size": 64, "word_embed_proj_dim": 32}, "word_embed_proj_dim"),
        ({"model_type": "opt", "layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine"),
        ({"model_type": "phi", "qk_layernorm": True}, "qk_layernorm"),
        ({"model_type": "phi", "hidden_size": 80, "num_attention_heads": 1}, "hidden_size and num_attention_heads"),
        ({"model_type": "qwen3", "head_dim": 24, "num_attention_heads": 4}, "head_dim"),
        ({"model_type": "llama", "hidden_size": 65, "num_attention_heads": 4}, "hidden_size"),
    ],
)  # fmt: skip
def test_what_no_graph_has_is_told_with_its_key(config: dict[str, Any], key: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (fault,) = facts_of_checkpoint(str(tmp_path)).unserved
    assert fault.startswith((f"config.json, {key} = ", f"config.json, {key}: "))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama", {"head_dim": 12}), ("llama", {"head_dim": 20}), ("llama", {"head_dim": 16}), ("qwen3", {"head_dim": 24}),
        ("qwen3", {"head_dim": 16}), ("gpt_neox", {"num_attention_heads": 4}), ("gpt_neox", {"num_attention_heads": 1}),
        ("gpt_neox", {"rope_parameters": {**PARTLY, "partial_rotary_factor": 0.25}}),
    ],
)  # fmt: skip
def test_heads_are_refused_that_cannot_be_padded(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    folder = checkpoint(name, tmp_path / "model", **changes)
    family = gpt_neox if name == "gpt_neox" else llama
    decoder = family.describe(AutoConfig.from_pretrained(folder), open_weights(folder))
    faults = unserved(json.loads((folder / "config.json").read_text()))
    try:
        pad_heads(decoder)
    except BadInput:
        assert len(faults) == 1 and "fit no kernel" in faults[0]
    else:
        assert faults == []


@pytest.mark.parametrize(
    "name", ["generation_config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"]
)
@pytest.mark.parametrize("text", ["{", "[]", "\udc80", "", "[" * 99_999])
def test_files_that_cannot_be_read(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **BASE}))
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    (fault,) = facts_of_checkpoint(str(tmp_path)).unreadable
    assert fault.startswith(f"{name}: ")
