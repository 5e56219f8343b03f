"""Tiny decoders of every family, with random weights, for the tests of lowering and of quantizing them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

BASE: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PARTLY = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
WIDE = {"num_attention_heads": 2, "num_key_value_heads": 2}
SCALED = {"rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}
LONG = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0 + 0.1 * number for number in range(8)],
    "long_factor": [1.5 * (1 + number) for number in range(8)],
}  # fmt: skip
SMALL = {"vocab_size": 300, "bos_token_id": 1, "eos_token_id": 2}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {**BASE, "tie_word_embeddings": False}),
    "llama, tied": ("llama", {**BASE, "tie_word_embeddings": True}),
    "llama, biased": ("llama", {**BASE, "attention_bias": True, "mlp_bias": True}),
    "llama, heads of 8": ("llama", {**BASE, "num_attention_heads": 8, "num_key_value_heads": 4}),
    "llama, scaled as llama3": (
        "llama",
        {**BASE, "rope_parameters": {**SCALED, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}},
    ),
    "llama, scaled as yarn": ("llama", {**BASE, "rope_parameters": {**SCALED, "rope_type": "yarn"}}),
    "llama, scaled linearly": ("llama", {**BASE, "rope_parameters": {**SCALED, "rope_type": "linear"}}),
    "mistral, window": ("mistral", {**BASE, "sliding_window": 8, "head_dim": 16}),
    "qwen2": ("qwen2", BASE),
    "qwen3": ("qwen3", {**BASE, "head_dim": 32}),
    "phi3": ("phi3", BASE),
    "phi3, longrope": (
        "phi3",
        {**BASE, "max_position_embeddings": 512, "original_max_position_embeddings": 128, "rope_parameters": LONG},
    ),
    "llama, longrope": (
        "llama",
        {**BASE, "max_position_embeddings": 512, "rope_parameters": {**LONG, "original_max_position_embeddings": 128}},
    ),
    "smollm3": ("smollm3", BASE),
    "gemma": ("gemma", {**BASE, "head_dim": 16}),
    "gemma2": ("gemma2", {**BASE, "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 24}),
    "gemma3": ("gemma3_text", {**BASE, "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 24}),
    "gpt2": ("gpt2", {**SMALL, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "gpt_neox": ("gpt_neox", {**BASE, **WIDE, "rope_parameters": PARTLY}),
    "gpt_neox, in sequence": ("gpt_neox", {**BASE, **WIDE, "rope_parameters": PARTLY, "use_parallel_residual": False}),
    "opt": (
        "opt",
        {
            **SMALL, "hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
            "max_position_embeddings": 128, "word_embed_proj_dim": 64,
        },
    ),
    "phi": ("phi", {**BASE, **WIDE}),
}  # fmt: skip


def checkpoint(name: str, folder: Path, **changes: Any) -> Path:
    """The decoder called `name` in CONFIGS, saved with a tokenizer of 300 words."""
    kind, options = CONFIGS[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**options, **changes})).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1 if parameter.ndim > 1 else 0.3)
    model.save_pretrained(folder)
    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{number}": number for number in range(3, 300)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def copied(source: Path, folder: Path) -> Path:
    """A copy of a checkpoint, to be spoilt."""
    shutil.copytree(source, folder)
    return folder
