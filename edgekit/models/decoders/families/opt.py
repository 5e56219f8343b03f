"""OPT: learned positions that start at row 2, LayerNorm before each block, ReLU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.models.decoders.description import Attention, Decoder, Layer, Mlp
from edgekit.models.decoders.modules import activation, layer_norm, linear, merged
from edgekit.models.decoders.options import Config, activation_faults, switched
from edgekit.models.decoders.weights import Weights, rows

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["TYPES", "describe", "unserved"]

TYPES = ("opt",)
OFFSET = 2
"""Rows of the position table that stand for padding (transformers, OPTLearnedPositionalEmbedding)."""


def unserved(config: Config) -> list[str]:
    """Options of a configuration that the graph does not have."""
    hidden = config.get("hidden_size")
    projected = config.get("word_embed_proj_dim", hidden)
    faults = switched(config, "do_layer_norm_before", "a norm after each block (as in opt-350m)", on=False)
    faults += switched(config, "_remove_final_layer_norm", "a model without its last norm")
    faults += switched(config, "layer_norm_elementwise_affine", "a norm without weights", on=False)
    if projected not in (None, hidden):
        faults.append(
            f"config.json, word_embed_proj_dim = {projected}: embeddings of another size than hidden_size are in no graph here; use a model without"
        )
    return faults + activation_faults(config, "activation_function")


def describe(config: PreTrainedConfig, weights: Weights) -> Decoder:
    """The decoder of an OPT checkpoint."""
    hidden, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    layers = []
    for number in range(config.num_hidden_layers):
        name = f"model.decoder.layers.{number}"
        qkv = merged([linear(weights, f"{name}.self_attn.{part}_proj", None, hidden) for part in "qkv"])
        heads = qkv.weight.shape[0] // (3 * size)
        layers.append(
            Layer(
                attention=Attention(
                    qkv=qkv,
                    out=linear(weights, f"{name}.self_attn.out_proj", hidden, heads * size),
                    heads=heads,
                    kv_heads=heads,
                    head_size=size,
                    scale=size**-0.5,
                    rotary=None,
                    window=None,
                    softcap=0.0,
                ),
                mlp=Mlp(
                    None,
                    linear(weights, f"{name}.fc1", None, hidden),
                    linear(weights, f"{name}.fc2", hidden, None),
                    activation(config.activation_function),
                ),
                attention_norm=layer_norm(weights, f"{name}.self_attn_layer_norm", 1e-5),
                mlp_norm=layer_norm(weights, f"{name}.final_layer_norm", 1e-5),
            )
        )
    embedding = weights.get("model.decoder.embed_tokens.weight", config.vocab_size, hidden)
    positions = weights.get("model.decoder.embed_positions.weight", config.max_position_embeddings + OFFSET, hidden)
    head = weights.maybe("lm_head.weight", config.vocab_size, hidden)
    return Decoder(
        vocabulary=config.vocab_size,
        hidden=hidden,
        context=config.max_position_embeddings,
        embedding=embedding,
        embedding_scale=1.0,
        positions=rows(positions, slice(OFFSET, None)),
        rotaries={},
        layers=layers,
        norm=layer_norm(weights, "model.decoder.final_layer_norm", 1e-5),
        head=None if config.tie_word_embeddings or head is None else linear(weights, "lm_head"),
    )
