"""GPT-2: learned positions, LayerNorm before each block, weights stored as (in, out)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.models.decoders.description import Attention, Decoder, Layer, Linear, Mlp
from edgekit.models.decoders.modules import activation, layer_norm
from edgekit.models.decoders.options import Config, activation_faults, switched
from edgekit.models.decoders.weights import Weights, transposed

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["TYPES", "describe", "unserved"]

TYPES = ("gpt2",)


def unserved(config: Config) -> list[str]:
    """Options of a configuration that the graph does not have."""
    crossed = switched(config, "add_cross_attention", "attention to another text")
    return crossed + activation_faults(config, "activation_function")


def describe(config: PreTrainedConfig, weights: Weights) -> Decoder:
    """The decoder of a GPT-2 checkpoint."""
    prefix = "transformer." if "transformer.wte.weight" in weights else ""
    size = config.n_embd // config.n_head
    layers = []
    for number in range(config.n_layer):
        name = f"{prefix}h.{number}"
        scale = size**-0.5 if config.scale_attn_weights else 1.0
        qkv = _conv(weights, f"{name}.attn.c_attn")
        heads = qkv.weight.shape[0] // (3 * size)
        layers.append(
            Layer(
                attention=Attention(
                    qkv=qkv,
                    out=_conv(weights, f"{name}.attn.c_proj"),
                    heads=heads,
                    kv_heads=heads,
                    head_size=size,
                    scale=scale / (number + 1) if config.scale_attn_by_inverse_layer_idx else scale,
                    rotary=None,
                    window=None,
                    softcap=0.0,
                ),
                mlp=Mlp(
                    None,
                    _conv(weights, f"{name}.mlp.c_fc"),
                    _conv(weights, f"{name}.mlp.c_proj"),
                    activation(config.activation_function),
                ),
                attention_norm=layer_norm(weights, f"{name}.ln_1", config.layer_norm_epsilon),
                mlp_norm=layer_norm(weights, f"{name}.ln_2", config.layer_norm_epsilon),
            )
        )
    tied = config.tie_word_embeddings
    embedding = weights.get(f"{prefix}wte.weight", config.vocab_size, config.n_embd)
    head = weights.maybe("lm_head.weight", config.vocab_size, config.n_embd)
    return Decoder(
        vocabulary=config.vocab_size,
        hidden=config.n_embd,
        context=config.n_positions,
        embedding=embedding,
        embedding_scale=1.0,
        positions=weights.get(f"{prefix}wpe.weight", config.n_positions, config.n_embd),
        rotaries={},
        layers=layers,
        norm=layer_norm(weights, f"{prefix}ln_f", config.layer_norm_epsilon),
        head=None if tied or head is None else Linear(head),
    )


def _conv(weights: Weights, name: str) -> Linear:
    return Linear(transposed(weights.get(f"{name}.weight", None, None)), weights.get(f"{name}.bias", None))
