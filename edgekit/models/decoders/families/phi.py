"""Phi 1 and 2: attention and MLP side by side behind one LayerNorm, part of each head rotated, biases everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.models.decoders.description import Attention, Decoder, Layer, Mlp
from edgekit.models.decoders.modules import activation, layer_norm, linear, merged, rotary
from edgekit.models.decoders.options import Config, activation_faults, head_faults, rotary_faults, switched
from edgekit.models.decoders.weights import Weights
from edgekit.models.positions import positions_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["TYPES", "describe", "unserved"]

TYPES = ("phi",)


def unserved(config: Config) -> list[str]:
    """Options of a configuration that the graph does not have."""
    normed = switched(config, "qk_layernorm", "LayerNorm on queries and keys")
    return normed + activation_faults(config, "hidden_act") + rotary_faults(config) + head_faults(config, rotated=0.5)


def describe(config: PreTrainedConfig, weights: Weights) -> Decoder:
    """The decoder of a Phi checkpoint."""
    hidden, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    layers = []
    for number in range(config.num_hidden_layers):
        name = f"model.layers.{number}"
        parts = [linear(weights, f"{name}.self_attn.{part}_proj", None, hidden) for part in "qkv"]
        heads, kv_heads = parts[0].weight.shape[0] // size, parts[1].weight.shape[0] // size
        layers.append(
            Layer(
                attention=Attention(
                    qkv=merged(parts),
                    out=linear(weights, f"{name}.self_attn.dense", hidden, heads * size),
                    heads=heads,
                    kv_heads=kv_heads,
                    head_size=size,
                    scale=size**-0.5,
                    rotary="all",
                    window=None,
                    softcap=0.0,
                ),
                mlp=Mlp(
                    None,
                    linear(weights, f"{name}.mlp.fc1", None, hidden),
                    linear(weights, f"{name}.mlp.fc2", hidden, None),
                    activation(config.hidden_act),
                ),
                attention_norm=layer_norm(weights, f"{name}.input_layernorm", config.layer_norm_eps),
                mlp_norm=None,
                parallel=True,
            )
        )
    return Decoder(
        vocabulary=config.vocab_size,
        hidden=hidden,
        context=positions_of(config) or config.max_position_embeddings,
        embedding=weights.get("model.embed_tokens.weight", config.vocab_size, hidden),
        embedding_scale=1.0,
        positions=None,
        rotaries={"all": rotary(config)},
        layers=layers,
        norm=layer_norm(weights, "model.final_layernorm", config.layer_norm_eps),
        head=None if config.tie_word_embeddings else linear(weights, "lm_head", config.vocab_size, hidden),
    )
