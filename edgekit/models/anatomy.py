"""Where heads and neurons sit in each architecture: one entry a family, named as transformers names its modules."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch

from edgekit.errors import BadInput

__all__ = ["Anatomy", "anatomy_of", "layers_of"]


@dataclass(frozen=True)
class Anatomy:
    """Dotted paths, from the model to its list of layers and from a layer to its parts."""

    layers: str
    attention: str
    """Module that holds num_attention_heads, attention_head_size and all_head_size."""
    query: str
    key: str
    value: str
    attention_out: str
    """Linear from all heads back to the model's width."""
    up: str
    """Linear from the width to the neurons."""
    down: str
    """Linear from the neurons back to the width."""
    attention_norm: str
    """Normalisation of the sum of the attention block and its input."""
    output_norm: str
    """Normalisation of the sum of the feed-forward block and its input."""


_BERT = {
    "attention": "attention.self",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_out": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "output_norm": "output.LayerNorm",
}
KNOWN = {"bert": Anatomy(layers="bert.encoder.layer", **_BERT)}


def anatomy_of(model: Any) -> Anatomy:
    """The anatomy of a transformers model.

    Raises:
        BadInput: the architecture is not in the table.
    """
    kind = model.config.model_type
    if kind not in KNOWN:
        raise BadInput(
            f"the layers of architecture {kind!r} cannot be reshaped yet",
            where="compress",
            fix=f"use one of: {', '.join(sorted(KNOWN))}",
        )
    return KNOWN[kind]


def layers_of(model: Any) -> torch.nn.ModuleList:
    """The list of encoder layers of a transformers model."""
    found: torch.nn.ModuleList = attrgetter(anatomy_of(model).layers)(model)
    return found
