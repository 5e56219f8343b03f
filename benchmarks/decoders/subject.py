"""What the decoder benchmark measures: the shapes of Qwen2.5-0.5B, and where the bundles made from them lie."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BUILD", "FILLED", "HERE", "PROFILED", "PROMPT", "ROOT", "SHAPE", "TOKENS"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "decoders"
SHAPE = {
    "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    "bos_token_id": 1, "eos_token_id": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
}  # fmt: skip
"""Those of Qwen2.5-0.5B (its config.json)."""
PROMPT, TOKENS = 512, 24
"""Tokens of the prompt, and tokens made after it."""
PROFILED, FILLED = 48, 512
"""Tokens whose kernels are profiled, and tokens that the cache holds before them."""
