"""How many tokens a model has positions for, and which position its first token has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["first_position", "positions_of", "short_positions"]

PADDING_ID: dict[str, int | None] = {"camembert": None, "data2vec-text": None, "mpnet": 1, "roberta": None, "xlm-roberta": None}
"""Families that count positions from beyond their padding id, and that id where the architecture fixes it."""
PHI3_ORIGINAL = 4096
"""`original_max_position_embeddings` of a Phi-3 configuration that does not say."""
ROBERTA_PADDING_ID = 1
"""Of a RoBERTa configuration that does not name one."""


def positions_of(config: Mapping[str, object] | PreTrainedConfig) -> int | None:
    """Tokens of the longest input that a model has positions for; None where its configuration does not say, or where it has no table
    of positions: a DeBERTa reads relative ones alone unless `position_biased_input` is set (transformers, DebertaV2Embeddings).

    `config`: the document of a checkpoint's config.json, or what transformers made of it.
    """
    biased = _field(config, "position_biased_input")  # true where a file does not say
    if _field(config, "model_type") == "deberta-v2" and biased is False:
        return None
    short = short_positions(config)
    if short is not None:
        return short
    positions = _field(config, "max_position_embeddings") or _field(config, "n_positions")  # GPT-2's own name
    return positions - (first_position(config) or 0) if isinstance(positions, int) else None


def short_positions(config: Mapping[str, object] | PreTrainedConfig) -> int | None:
    """Tokens of the longest text that a model of LongRoPE (Ding et al. 2024; Phi-3) reads with its short factors; None for every other.

    transformers reads a longer one with other angles from its first token on (`longrope_frequency_update`).
    """
    scaling = _field(config, "rope_parameters") or _field(config, "rope_scaling")
    if not isinstance(scaling, Mapping) or "short_factor" not in scaling:
        return None
    unsaid = PHI3_ORIGINAL if _field(config, "model_type") == "phi3" else _field(config, "max_position_embeddings")
    counts = (_field(config, "original_max_position_embeddings"), scaling.get("original_max_position_embeddings"), unsaid)
    return next((count for count in counts if type(count) is int), None)


def first_position(config: Mapping[str, object] | PreTrainedConfig) -> int | None:
    """The position of a text's first token in the families that count from beyond their padding id; else None.

    RoBERTa takes the padding id from its configuration, MPNet has it fixed at 1 (transformers,
    create_position_ids_from_input_ids).
    """
    family = _field(config, "model_type")
    if not isinstance(family, str) or family not in PADDING_ID:
        return None
    padding = PADDING_ID[family] or _field(config, "pad_token_id")
    return (padding if isinstance(padding, int) else ROBERTA_PADDING_ID) + 1


def _field(config: Mapping[str, object] | PreTrainedConfig, name: str) -> object:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
