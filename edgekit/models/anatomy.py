"""Where heads and neurons are in each encoder architecture: one entry a family, in the names that transformers gives its modules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from edgekit.errors import BadInput

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = [
    "ENCODERS", "IMAGES", "KNOWN", "NOT_OF_TEXTS", "NO_TEXT", "REFUSED", "SOUNDS", "Anatomy", "anatomy_of", "anatomy_named", "head_size_of",
    "layers_of", "sum_readers",
]  # fmt: skip


@dataclass(frozen=True)
class Anatomy:
    """Dotted paths: from the encoder without its head to its list of layers, and from a layer to its modules."""

    layers: str
    attention: str
    """Module that holds the number of heads and their size."""
    query: str
    key: str
    value: str
    attention_out: str
    """Linear from all heads back to the hidden size."""
    up: str
    """Linear from the hidden size to the intermediate size (neurons)."""
    down: str
    """Linear from the intermediate size back to the hidden size."""
    attention_norm: str
    """Normalisation that reads the sum of the attention block and its input."""
    output_norm: str
    """Normalisation that reads the sum of the feed-forward block and its input; empty where the next layer's `input_norm` does."""
    input_norm: str = ""
    """Normalisation of a layer's input, in models that normalise before a block. The first layer has none, unless `first_norm` says so."""
    first_norm: bool = False
    """Whether the first layer has an `input_norm` as well."""
    final_norm: str = ""
    """From the encoder without its head to the normalisation after its last layer, in models that normalise before a block."""
    heads: str | None = "num_attention_heads"
    """Attribute of `attention` with the number of heads; None where it is read off the projections."""
    head_size: str = "attention_head_size"
    all_heads: str | None = "all_head_size"
    """Attribute of `attention` with heads times their size, where there is one."""
    positions: tuple[str, ...] = ()
    """Further Linears with one row for each row of a head's query: projections of relative positions. Some configurations have none."""
    shared_bias: bool = False
    """Whether all layers add one position bias (b, heads, s, s), which has an entry for every head of the uncut model."""
    packed: bool = False
    """Whether `query`, `key` and `value` are one Linear, with the rows of all queries, then all keys, then all values."""
    gated: bool = False
    """Whether `up` has a second row for each neuron, its gate; all gates follow all neurons."""


_BERT = Anatomy(
    layers="encoder.layer",
    attention="attention.self",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_out="attention.output.dense",
    up="intermediate.dense",
    down="output.dense",
    attention_norm="attention.output.LayerNorm",
    output_norm="output.LayerNorm",
)
_DEBERTA = replace(
    _BERT,
    query="attention.self.query_proj",
    key="attention.self.key_proj",
    value="attention.self.value_proj",
    positions=("attention.self.pos_key_proj", "attention.self.pos_query_proj"),
)
_DISTILBERT = Anatomy(
    layers="transformer.layer",
    attention="attention",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_out="attention.out_lin",
    up="ffn.lin1",
    down="ffn.lin2",
    attention_norm="sa_layer_norm",
    output_norm="output_layer_norm",
    heads="n_heads",
    all_heads=None,
)
_MODERNBERT = Anatomy(
    layers="layers",
    attention="attn",
    query="attn.Wqkv",
    key="attn.Wqkv",
    value="attn.Wqkv",
    attention_out="attn.Wo",
    up="mlp.Wi",
    down="mlp.Wo",
    attention_norm="mlp_norm",
    output_norm="",
    input_norm="attn_norm",
    final_norm="final_norm",
    heads=None,
    head_size="head_dim",
    all_heads=None,
    packed=True,
    gated=True,
)
_MPNET = replace(
    _BERT,
    attention="attention.attn",
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    attention_out="attention.attn.o",
    attention_norm="attention.LayerNorm",
    shared_bias=True,
)
_VIT = Anatomy(
    layers="layers",
    attention="attention",
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    attention_out="attention.o_proj",
    up="mlp.fc1",
    down="mlp.fc2",
    attention_norm="layernorm_after",
    output_norm="",
    input_norm="layernorm_before",
    first_norm=True,
    final_norm="layernorm",
    head_size="head_dim",
    all_heads=None,
)
KNOWN = {
    "bert": _BERT,
    "camembert": _BERT,
    "data2vec-text": _BERT,
    "deberta-v2": _DEBERTA,
    "distilbert": _DISTILBERT,
    "electra": _BERT,
    "ernie": _BERT,
    "modernbert": _MODERNBERT,
    "mpnet": _MPNET,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
}
"""MiniLM checkpoints call themselves bert, or xlm-roberta; DeBERTa-v3 calls itself deberta-v2."""
_DINOV2 = replace(_VIT, layers="encoder.layer", attention_norm="norm2", input_norm="norm1")
_SIGLIP = Anatomy(
    layers="vision_model.encoder.layers",
    attention="self_attn",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    attention_out="self_attn.out_proj",
    up="mlp.fc1",
    down="mlp.fc2",
    attention_norm="layer_norm2",
    output_norm="",
    input_norm="layer_norm1",
    first_norm=True,
    final_norm="vision_model.post_layernorm",
    heads="num_heads",
    head_size="head_dim",
    all_heads=None,
)
_SIGLIP_TOWER = replace(_SIGLIP, layers="encoder.layers", final_norm="post_layernorm")
IMAGES = {
    "deit": _VIT,
    "dinov2": _DINOV2,
    "dinov2_with_registers": _DINOV2,
    "ijepa": _VIT,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP_TOWER,
    "vit": _VIT,
    "vit_msn": _VIT,
}
"""The same of encoders that read images."""
_WAV2VEC2 = Anatomy(
    layers="encoder.layers",
    attention="attention",
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    attention_out="attention.out_proj",
    up="feed_forward.intermediate_dense",
    down="feed_forward.output_dense",
    attention_norm="layer_norm",
    output_norm="final_layer_norm",
    heads="num_heads",
    head_size="head_dim",
    all_heads=None,
)
_WAV2VEC2_STABLE = replace(
    _WAV2VEC2,
    attention_norm="final_layer_norm",
    output_norm="",
    input_norm="layer_norm",
    first_norm=True,
    final_norm="encoder.layer_norm",
)
"""Of a configuration with `do_stable_layer_norm`: it normalises before a block."""
_WHISPER = replace(
    _SIGLIP_TOWER,
    up="fc1",
    down="fc2",
    attention_norm="final_layer_norm",
    input_norm="self_attn_layer_norm",
    final_norm="encoder.layer_norm",
)
"""Layers and attention are called as in SigLIP's tower."""
SOUNDS = {"audio-spectrogram-transformer": _VIT, "hubert": _WAV2VEC2, "wav2vec2": _WAV2VEC2, "whisper": _WHISPER}
"""The same of encoders that read sounds."""
STABLE = {"hubert": _WAV2VEC2_STABLE, "wav2vec2": _WAV2VEC2_STABLE}
"""The same of those whose configuration says that they normalise before a block."""
NO_TEXT = {**IMAGES, **SOUNDS}
"""Of both: a preprocessing in the place of a tokenizer."""
_BIASED = "each of its layers has a bias of positions with an entry for every head, which is not cut here"
_UNNORMALISED = "what reads its last layer is no normalisation of all its positions"
REFUSED = {
    "albert": "all its layers are one set of weights, so that no layer can be cut or removed by itself",
    "beit": _BIASED,
    "clip": _UNNORMALISED,
    "clip_vision_model": _UNNORMALISED,
    "data2vec-vision": _BIASED,
    "swin": "its layers are stages of different sizes, whose windows have a bias with an entry for every head",
    "wavlm": _BIASED,
}
"""Architectures that can be exported and quantized but not reshaped: why not."""
NOT_OF_TEXTS = frozenset({*NO_TEXT, *REFUSED} - {"albert"})
"""`model_type` of every encoder of images or sounds that is served."""
ENCODERS = tuple(sorted({*KNOWN, "albert"}))
"""`model_type` of every encoder of texts that is served."""


def anatomy_named(architecture: object) -> Anatomy | None:
    """The anatomy of models of `architecture`, of texts, images or sounds; None where there is none."""
    return KNOWN.get(str(architecture)) or NO_TEXT.get(str(architecture))


def anatomy_of(model: PreTrainedModel) -> Anatomy:
    """The anatomy of a transformers model.

    Raises:
        BadInput: the architecture is not in the table, or it is one that cannot be reshaped.
    """
    kind = model.config.model_type
    found = anatomy_named(kind)
    if getattr(model.config, "do_stable_layer_norm", False):
        found = STABLE.get(kind, found)
    if found is None:
        why = f": {REFUSED[kind]}" if kind in REFUSED else " yet"
        raise BadInput(
            f"the layers of architecture {kind!r} cannot be reshaped{why}",
            where="compress",
            fix=f"use one of: {', '.join(sorted({*KNOWN, *NO_TEXT}))}",
        )
    return found


def layers_of(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The list of encoder layers of a transformers model, with or without a head.

    Raises:
        BadInput: as `anatomy_of`.
    """
    layers: torch.nn.ModuleList = attrgetter(anatomy_of(model).layers)(model.base_model)
    return layers


def head_size_of(model: PreTrainedModel, layer: torch.nn.Module) -> int:
    """Size of an attention head of `layer`."""
    anatomy = anatomy_of(model)
    return int(getattr(attrgetter(anatomy.attention)(layer), anatomy.head_size))


def sum_readers(model: PreTrainedModel) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
    """For each layer the modules whose input is its attention block's sum and its feed-forward block's sum, (b, s, hidden).

    Where a model normalises before a block, the second is the next layer's first norm, and the model's last for the last layer.
    """
    anatomy, layers = anatomy_of(model), list(layers_of(model))
    if anatomy.output_norm:
        after = [attrgetter(anatomy.output_norm)(layer) for layer in layers]
    else:
        after = [attrgetter(anatomy.input_norm)(layer) for layer in layers[1:]]
        after.append(attrgetter(anatomy.final_norm)(model.base_model))
    return [(attrgetter(anatomy.attention_norm)(layer), norm) for layer, norm in zip(layers, after, strict=True)]
