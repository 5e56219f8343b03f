"""Decoder language models in one description: what each family's checkpoint says, in the terms that a graph is built from.

One file a family: `TYPES`, the `model_type`s of transformers it reads, and `describe(config, weights) -> Decoder`. Shapes come
from the tensors, so a pruned checkpoint describes itself. No weight is read before it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from edgekit.errors import BadInput
from edgekit.models.decoders.weights import Weight, Weights, open_weights

__all__ = ["Attention", "Decoder", "Layer", "Linear", "Mlp", "Norm", "Rotary", "decoder_types", "describe"]

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]


@dataclass(frozen=True)
class Linear:
    """y = x W^T + b: `weight` (out, in), `bias` (out,) or None."""

    weight: Weight
    bias: Weight | None = None


@dataclass(frozen=True)
class Norm:
    """Over the last axis: root mean square (Zhang & Sennrich 2019) where `rms`, else LayerNorm."""

    weight: Weight
    bias: Weight | None
    epsilon: float
    rms: bool


@dataclass(frozen=True)
class Rotary:
    """Angles of rotary positions (Su et al. 2021), halves rotated against each other: `frequency` float32 (rotated numbers / 2,)."""

    frequency: np.ndarray
    scale: float
    """Factor on cosine and sine (YaRN's attention factor), else 1."""


@dataclass(frozen=True)
class Attention:
    """Grouped-query attention; `qkv` holds queries, then keys, then values, ((heads + 2 kv_heads) * head_size, hidden)."""

    qkv: Linear
    out: Linear
    heads: int
    kv_heads: int
    head_size: int
    scale: float
    rotary: str | None
    """Which of the model's rotary tables; None: positions are not rotated in this layer."""
    window: int | None
    """Tokens a query sees, itself included; None: all before it."""
    softcap: float
    q_norm: Norm | None = None
    k_norm: Norm | None = None


@dataclass(frozen=True)
class Mlp:
    """down(activation(gate(x)) * up(x)), or down(activation(up(x))) without a gate."""

    gate: Linear | None
    up: Linear
    down: Linear
    activation: Activation


@dataclass(frozen=True)
class Layer:
    """x + attention and MLP, one after the other, or side by side where `parallel`."""

    attention: Attention
    mlp: Mlp
    attention_norm: Norm
    mlp_norm: Norm | None
    """None: a parallel MLP reads what attention reads."""
    parallel: bool = False
    after_attention: Norm | None = None
    """Norm of attention's output before it is added (Gemma 2 and 3)."""
    after_mlp: Norm | None = None


@dataclass(frozen=True)
class Decoder:
    """A causal language model."""

    vocabulary: int
    hidden: int
    context: int
    """Most tokens the model was made for."""
    embedding: Weight
    """(vocabulary, hidden)."""
    embedding_scale: float
    positions: Weight | None
    """Learned positions (context, hidden); None where positions are rotary."""
    rotaries: dict[str, Rotary]
    layers: list[Layer]
    norm: Norm
    head: Linear | None
    """None: the embedding, transposed."""
    softcap: float = 0.0
    """logits <- softcap * tanh(logits / softcap); 0: none."""


@cache
def _families() -> dict[str, ModuleType]:
    """Module of each `model_type`."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if "\nTYPES = " in file.read_text(encoding="utf-8"):
            module = importlib.import_module(f"{__name__}.{file.stem}")
            found.update(dict.fromkeys(module.TYPES, module))
    return found


def decoder_types() -> list[str]:
    """Every `model_type` that can be described."""
    return sorted(_families())


def describe(folder: Path) -> Decoder:
    """The decoder of a checkpoint folder; every tensor of it is used, or the checkpoint is refused.

    Raises:
        BadInput: an unknown family, an option of it that is not served, tensors missing or left over.
    """
    from transformers import AutoConfig

    from edgekit.models.files import check_files

    raw = check_files(folder)
    families = _families()
    kind = raw.get("model_type")
    if kind not in families:
        raise BadInput(
            f"no decoder of architecture {kind!r} is known here",
            where=str(folder / "config.json"),
            fix=f"use one of {', '.join(sorted(families))}",
        )
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    weights = open_weights(folder)
    build: Callable[[Any, Weights], Decoder] = families[kind].describe
    found = build(config, weights)
    left = weights.left()
    if left:
        raise BadInput(
            "tensors that this family does not have", where=str(folder), faults=[f"unknown tensor {name}" for name in left[:20]]
        )
    return found
