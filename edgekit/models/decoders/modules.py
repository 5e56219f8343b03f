"""Modules that families share: linear layers, norms and rotary frequencies as a configuration tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.models.decoders.description import Activation, Linear, Norm, Rotary
from edgekit.models.decoders.options import ACTIVATIONS
from edgekit.models.decoders.weights import Weight, Weights, plus_one, stacked

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["activation", "layer_norm", "linear", "merged", "rms_norm", "rotary"]


def activation(name: str) -> Activation:
    """The activation that transformers calls `name`, one of those that are served."""
    return ACTIVATIONS[name]


def linear(weights: Weights, name: str, out: int | None = None, into: int | None = None) -> Linear:
    """`name`.weight (out, in) and `name`.bias, where there is one."""
    weight = weights.get(f"{name}.weight", out, into)
    return Linear(weight, weights.maybe(f"{name}.bias", weight.shape[0]))


def merged(layers: Sequence[Linear]) -> Linear:
    """Linear layers of one input as one, outputs concatenated; a layer without a bias gets zeros where another has one."""
    biases = [layer.bias or _zeros(layer.weight.shape[0]) for layer in layers]
    return Linear(stacked([layer.weight for layer in layers]), stacked(biases) if any(layer.bias for layer in layers) else None)


def _zeros(size: int) -> Weight:
    return Weight((size,), lambda: np.zeros(size, dtype=np.float32))


def rms_norm(weights: Weights, name: str, epsilon: float, *, minus_one: bool = False) -> Norm:
    """Root-mean-square norm `name`; `minus_one`: the checkpoint holds weight - 1."""
    weight = weights.get(f"{name}.weight", None)
    return Norm(plus_one(weight) if minus_one else weight, None, epsilon, rms=True)


def layer_norm(weights: Weights, name: str, epsilon: float) -> Norm:
    """LayerNorm `name`, with its bias."""
    return Norm(weights.get(f"{name}.weight", None), weights.get(f"{name}.bias", None), epsilon, rms=False)


def rotary(config: PreTrainedConfig, kind: str | None = None) -> Rotary:
    """Frequencies as transformers computes them from `config.rope_parameters`; `kind`: of these layers, where kinds of layers differ."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters = config.rope_parameters[kind] if kind else config.rope_parameters
    scaling = parameters.get("rope_type", "default")
    if scaling != "default":
        frequency, scale = ROPE_INIT_FUNCTIONS[scaling](config, "cpu", **({"layer_type": kind} if kind else {}))
        return Rotary(frequency.numpy().astype(np.float32), float(scale))
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rotated = int(size * parameters.get("partial_rotary_factor", 1.0))
    exponent = np.arange(0, rotated, 2, dtype=np.float32) / np.float32(rotated)
    return Rotary((1.0 / np.float32(parameters["rope_theta"]) ** exponent).astype(np.float32), 1.0)
