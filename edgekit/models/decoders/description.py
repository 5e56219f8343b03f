"""A decoder in one description, in the terms that its graph is built from, whatever family its checkpoint is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from edgekit.models.decoders.weights import Weight

__all__ = ["Activation", "Attention", "Decoder", "Layer", "Linear", "Mlp", "Norm", "Rotary"]

Activation: TypeAlias = Literal["silu", "gelu", "gelu_tanh", "relu"]


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
    """Angles of rotary position embeddings (Su et al. 2021), the two halves of a head rotated against each other: `frequency` float32
    (rotated size / 2,)."""

    frequency: np.ndarray
    scale: float
    """Factor on cosine and sine (YaRN's attention factor); 1 where there is none."""


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
    """A block: attention and MLP, each added to its input, one after the other, or both to the block's input where `parallel`."""

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
