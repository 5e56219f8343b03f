"""The sizes that config.json declares beside the tensors that are there, off the headers of their files, before any model is built.

A model is built by its configuration and filled from its files: without this a vocabulary of 2^31 asks for its memory before anybody
sees that the file has 400 rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgekit.models.anatomy import KNOWN, NO_TEXT
from edgekit.models.image_families import TEXT_TOWER, TOWERS, image_faults, vision_of
from edgekit.models.sound_families import sound_faults
from edgekit.models.tensor_names import named_now

__all__ = ["SIZES", "number_format_faults", "size_faults"]

SIZES: Mapping[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layers", "n_layer", "encoder_layers"),
    "hidden_size": ("hidden_size", "dim", "n_embd", "d_model"),
    "intermediate_size": ("intermediate_size", "hidden_dim", "n_inner", "ffn_dim", "encoder_ffn_dim"),
    "heads": ("num_attention_heads", "n_heads", "n_head", "encoder_attention_heads"),
    "kv_heads": ("num_key_value_heads", "num_attention_heads", "n_heads", "n_head", "encoder_attention_heads"),
    "positions": ("max_position_embeddings", "n_positions"),
}
"""A size, as `ModelFacts` has it -> what configurations call it; DistilBERT, GPT-2, OPT and Whisper have names of their own."""
FLOATS = ("F64", "F32", "F16", "BF16")
"""Number formats of weights that are read."""
CONSTANTS = re.compile(
    r"(position_ids|token_type_ids|position_planes|attn\.bias|attn\.masked_bias|attention\.bias|attention\.masked_bias|num_batches_tracked|relative_position_index)$"
)
"""Tensors that may hold whole numbers: they are no weights."""
EMBEDDING = re.compile(r"(?:^|\.)(?:embeddings\.word_embeddings|embeddings\.tok_embeddings|embed_tokens|wte|embed_in)\.weight$")
POSITIONS = re.compile(r"(?:^|\.)(?:embeddings\.position_embeddings|wpe|embed_positions)\.weight$")
LAYER = re.compile(r"(?:^|\.)(?:layer|layers|h)\.(\d+)\.")
OPT_OFFSET = 2
"""Rows that OPT's table of positions has beyond its positions (transformers, OPTLearnedPositionalEmbedding)."""
DOWN: Mapping[str, tuple[str, int]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "phi3", "smollm3", "gemma", "gemma2", "gemma3_text"), (r"mlp\.down_proj", 1)),
    "gpt2": (r"mlp\.c_proj", 0), "gpt_neox": (r"mlp\.dense_4h_to_h", 1), "opt": (r"fc2", 1), "phi": (r"mlp\.fc2", 1),
    "albert": (r"ffn_output", 1),
    **{name: (re.escape(anatomy.down), 1) for name, anatomy in {**KNOWN, **NO_TEXT}.items()},
}  # fmt: skip
"""Architecture -> (path from a layer to the linear map from the intermediate size back to the hidden size, axis of its inputs)."""


def size_faults(config: Mapping[str, object], stored: Mapping[str, tuple[int, ...]], *, cut: bool) -> list[str]:
    """Sizes of a configuration, each a sound number, that the tensors of these shapes do not have.

    `cut`: its layers have shapes of their own (`edgekit.json`), which are compared when they are built.
    """
    faults = []
    kind = str(config.get("model_type"))
    shapes = {
        named_now(name, kind): shape for name, shape in stored.items() if kind not in TOWERS or not name.startswith(TEXT_TOWER)
    }

    stated = vision_of(config)

    def compare(key: str, found: int | None, what: str) -> None:
        declared = stated.get(key)
        if type(declared) is int and found is not None and declared != found:
            faults.append(f"{key} = {declared:,}, but {what} {found:,}")

    names = {size: next((key for key in keys if key in stated), keys[0]) for size, keys in SIZES.items()}
    table = _first(shapes, EMBEDDING)
    if table is not None:
        width = (
            "embedding_size"
            if "embedding_size" in config
            else "word_embed_proj_dim"
            if "word_embed_proj_dim" in config
            else names["hidden_size"]
        )
        compare("vocab_size", table[1][0], f"the rows of {table[0]} are")
        compare(width, table[1][1], f"the columns of {table[0]} are")
    positions = _first(shapes, POSITIONS)
    if positions is not None:
        extra = OPT_OFFSET if config.get("model_type") == "opt" else 0
        compare(names["positions"], positions[1][0] - extra, f"the positions of {positions[0]} are")
    layers = {int(found[1]) for name in shapes if (found := LAYER.search(name))}
    if layers and config.get("model_type") not in ("albert", "swin"):
        compare(names["layers"], max(layers) + 1, "the layers whose tensors are there are")
    architecture = config.get("model_type")
    if not cut and isinstance(architecture, str) and architecture in DOWN:
        path, axis = DOWN[architecture]
        down = _first(shapes, re.compile(rf"(?:\d+|albert_layers\.\d+)\.{path}\.weight$"))
        if down is not None:
            compare(names["intermediate_size"], down[1][axis], f"the inputs of {down[0]} are")
            compare(names["hidden_size"], down[1][1 - axis], f"the outputs of {down[0]} are")
    return faults + image_faults(config, shapes, cut=cut) + sound_faults(config, shapes) + _label_faults(config, shapes)


def number_format_faults(kinds: Mapping[str, str]) -> list[str]:
    """Tensors that are stored in a number format that no weight has."""
    return [
        f"{name} is stored as {kind}; weights are floating-point numbers"
        for name, kind in kinds.items()
        if kind not in FLOATS and not CONSTANTS.search(name)
    ]


def _label_faults(config: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Labels beyond the rows of every tensor; a head of other labels is compared when it is filled, as a recipe may put a new one on."""
    names = config.get("id2label")
    count = len(names) if isinstance(names, dict) and names else config.get("num_labels")
    if type(count) is not int:
        return []
    most = max((max(shape, default=0) for shape in shapes.values()), default=count)
    return [f"{count:,} labels, and no tensor has so many rows"] if count > most else []


def _first(shapes: Mapping[str, tuple[int, ...]], pattern: re.Pattern[str]) -> tuple[str, tuple[int, ...]] | None:
    """The first matrix whose name matches, with its shape."""
    return next(((name, shape) for name, shape in shapes.items() if pattern.search(name) and len(shape) == 2), None)
