"""GPT-NeoX (Pythia): attention and MLP side by side, part of each head rotated, queries, keys and values interleaved by head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.models.decoders.description import Attention, Decoder, Layer, Linear, Mlp
from edgekit.models.decoders.modules import activation, layer_norm, linear, rotary
from edgekit.models.decoders.options import Config, activation_faults, head_faults, rotary_faults
from edgekit.models.decoders.weights import Weights, rows
from edgekit.models.positions import positions_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["TYPES", "describe", "unserved"]

TYPES = ("gpt_neox",)


def unserved(config: Config) -> list[str]:
    """Options of a configuration that the graph does not have."""
    return activation_faults(config, "hidden_act") + rotary_faults(config) + head_faults(config, rotated=0.25)


def describe(config: PreTrainedConfig, weights: Weights) -> Decoder:
    """The decoder of a GPT-NeoX checkpoint."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    size = hidden // heads
    order = np.arange(3 * hidden).reshape(heads, 3, size).transpose(1, 0, 2).reshape(-1).tolist()
    layers = []
    for number in range(config.num_hidden_layers):
        name = f"gpt_neox.layers.{number}"
        interleaved = linear(weights, f"{name}.attention.query_key_value", 3 * hidden, hidden)
        layers.append(
            Layer(
                attention=Attention(
                    qkv=Linear(rows(interleaved.weight, order), rows(interleaved.bias, order) if interleaved.bias else None),
                    out=linear(weights, f"{name}.attention.dense", hidden, hidden),
                    heads=heads,
                    kv_heads=heads,
                    head_size=size,
                    scale=size**-0.5,
                    rotary="all",
                    window=None,
                    softcap=0.0,
                ),
                mlp=Mlp(
                    None,
                    linear(weights, f"{name}.mlp.dense_h_to_4h", None, hidden),
                    linear(weights, f"{name}.mlp.dense_4h_to_h", hidden, None),
                    activation(config.hidden_act),
                ),
                attention_norm=layer_norm(weights, f"{name}.input_layernorm", config.layer_norm_eps),
                mlp_norm=layer_norm(weights, f"{name}.post_attention_layernorm", config.layer_norm_eps),
                parallel=config.use_parallel_residual,
            )
        )
    return Decoder(
        vocabulary=config.vocab_size,
        hidden=hidden,
        context=positions_of(config) or config.max_position_embeddings,
        embedding=weights.get("gpt_neox.embed_in.weight", config.vocab_size, hidden),
        embedding_scale=1.0,
        positions=None,
        rotaries={"all": rotary(config)},
        layers=layers,
        norm=layer_norm(weights, "gpt_neox.final_layer_norm", config.layer_norm_eps),
        head=None if config.tie_word_embeddings else linear(weights, "embed_out", config.vocab_size, hidden),
    )
