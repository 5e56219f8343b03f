"""Llama and the models built like it: Mistral, Qwen 2 and 3, Phi-3, SmolLM 2 and 3, Gemma 1 to 3.

They differ in biases, norms of queries and keys, norms around the blocks, sliding windows, and layers without rotary positions; all of
this is in the tensors and the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.models.decoders.description import Attention, Decoder, Layer, Linear, Mlp, Norm
from edgekit.models.decoders.modules import activation, linear, merged, rms_norm, rotary
from edgekit.models.decoders.options import Config, activation_faults, head_faults, rotary_faults, switched
from edgekit.models.decoders.weights import Weights, rows
from edgekit.models.positions import positions_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["TYPES", "describe", "unserved"]

TYPES = ("llama", "mistral", "qwen2", "qwen3", "phi3", "smollm3", "gemma", "gemma2", "gemma3_text")
NORMED = ("qwen3", "gemma3_text")
"""Those with norms of queries and keys."""
WINDOWED = ("gemma2", "gemma3_text")
"""Architectures whose layers have a sliding window by turns, whatever their files say."""


def unserved(config: Config) -> list[str]:
    """Options of a configuration that the graph does not have."""
    both_ways = switched(config, "use_bidirectional_attention", "attention in both directions")
    heads = head_faults(config, normed=config.get("model_type") in NORMED)
    if config.get("model_type") in WINDOWED and "sliding_window" in config and not config["sliding_window"]:
        both_ways.append(
            f"config.json, sliding_window = {config['sliding_window']!r}: its layers look back so many tokens; write their number"
        )
    return both_ways + activation_faults(config, "hidden_activation", "hidden_act") + rotary_faults(config) + heads


def describe(config: PreTrainedConfig, weights: Weights) -> Decoder:
    """The decoder of a checkpoint of these families."""
    gemma = config.model_type.startswith("gemma")
    hidden = config.hidden_size
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    nested = "rope_theta" not in config.rope_parameters
    names = sorted(set(kinds)) if nested else ["all"]
    embedding = weights.get("model.embed_tokens.weight", config.vocab_size, hidden)
    layers = [
        _layer(config, weights, f"model.layers.{number}", number, kinds[number], kinds[number] if nested else "all")
        for number in range(config.num_hidden_layers)
    ]
    norm = rms_norm(weights, "model.norm", config.rms_norm_eps, minus_one=gemma)
    head = None if config.tie_word_embeddings else linear(weights, "lm_head", config.vocab_size, hidden)
    if config.tie_word_embeddings:
        weights.maybe("lm_head.weight", config.vocab_size, hidden)  # some files hold the tied weight twice
    return Decoder(
        vocabulary=config.vocab_size,
        hidden=hidden,
        context=positions_of(config) or config.max_position_embeddings,
        embedding=embedding,
        embedding_scale=float(hidden**0.5) if gemma else 1.0,
        positions=None,
        rotaries={name: rotary(config, name if nested else None) for name in names},
        layers=layers,
        norm=norm,
        head=head,
        softcap=float(getattr(config, "final_logit_softcapping", None) or 0.0),
    )


def _layer(config: PreTrainedConfig, weights: Weights, name: str, number: int, kind: str, table: str) -> Layer:
    gemma = config.model_type.startswith("gemma")
    sandwich = config.model_type in ("gemma2", "gemma3_text")

    def norm(part: str) -> Norm:
        return rms_norm(weights, f"{name}.{part}", config.rms_norm_eps, minus_one=gemma)

    rotated = getattr(config, "no_rope_layers", None)  # 1 where a layer has rotary positions, whatever the name says
    return Layer(
        attention=_attention(config, weights, f"{name}.self_attn", kind, table if rotated is None or rotated[number] else None),
        mlp=_mlp(config, weights, f"{name}.mlp"),
        attention_norm=norm("input_layernorm"),
        mlp_norm=norm("pre_feedforward_layernorm" if sandwich else "post_attention_layernorm"),
        after_attention=norm("post_attention_layernorm") if sandwich else None,
        after_mlp=norm("post_feedforward_layernorm") if sandwich else None,
    )


def _attention(config: PreTrainedConfig, weights: Weights, name: str, kind: str, table: str | None) -> Attention:
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if f"{name}.qkv_proj.weight" in weights:
        kv_heads = config.num_key_value_heads
        qkv = linear(weights, f"{name}.qkv_proj", (config.num_attention_heads + 2 * kv_heads) * size, config.hidden_size)
    else:
        projections = [linear(weights, f"{name}.{letter}_proj", None, config.hidden_size) for letter in "qkv"]
        kv_heads, qkv = projections[1].weight.shape[0] // size, merged(projections)
    heads = qkv.weight.shape[0] // size - 2 * kv_heads
    gemma = config.model_type == "gemma3_text"
    epsilon = config.rms_norm_eps
    normed = f"{name}.q_norm.weight" in weights
    scalar = getattr(config, "query_pre_attn_scalar", None)
    windowed = kind == "sliding_attention" or (
        getattr(config, "layer_types", None) is None and getattr(config, "sliding_window", None) is not None
    )
    return Attention(
        qkv=qkv,
        out=linear(weights, f"{name}.o_proj", config.hidden_size, heads * size),
        heads=heads,
        kv_heads=kv_heads,
        head_size=size,
        scale=float((scalar or size) ** -0.5),
        rotary=table,
        window=int(config.sliding_window) if windowed else None,
        softcap=0.0
        if gemma
        else float(getattr(config, "attn_logit_softcapping", None) or 0.0),  # Gemma 3's files may say one, its modules cap none
        q_norm=rms_norm(weights, f"{name}.q_norm", epsilon, minus_one=gemma) if normed else None,
        k_norm=rms_norm(weights, f"{name}.k_norm", epsilon, minus_one=gemma) if normed else None,
    )


def _mlp(config: PreTrainedConfig, weights: Weights, name: str) -> Mlp:
    if f"{name}.gate_up_proj.weight" in weights:  # Phi-3: rows of the gate, then rows of the rest
        both = linear(weights, f"{name}.gate_up_proj", None, config.hidden_size).weight
        half = both.shape[0] // 2
        gate, up = Linear(rows(both, slice(0, half))), Linear(rows(both, slice(half, None)))
    else:
        gate, up = (linear(weights, f"{name}.{part}_proj", None, config.hidden_size) for part in ("gate", "up"))
    name_of_activation = str(getattr(config, "hidden_activation", None) or config.hidden_act)
    return Mlp(gate, up, linear(weights, f"{name}.down_proj", config.hidden_size, None), activation(name_of_activation))
