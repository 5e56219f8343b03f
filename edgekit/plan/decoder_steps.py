"""Compression steps against the kind of model they serve: those of encoders, those of language models, and sizes of the latter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.config.recipe import Recipe, method_module, method_names

__all__ = ["decoder_step_faults", "serves_faults"]

INSTEAD = {
    "distill": "distill-decoder", "prune-structured": "drop-blocks or prune-width", "prune-oneshot": "prune-width", "prune-learned": "prune-width",
    "prune-gradual": "prune-unstructured", "quantize-aware": '[quantize] with rounding = "gptq"', "drop-blocks": "distill with `layers`",
    "distill-decoder": "distill", "prune-width": "prune-structured",
}  # fmt: skip
"""What does the like for the other kind of model."""
WHY = {
    "prune-vocabulary": "a language model has to be able to say every token",
    "quantize-aware": "its learned ranges are of activations, and a language model's stay float",
}
DEPTH, WIDTH = ("num_hidden_layers", "n_layer"), ("hidden_size", "n_embd")
KV_HEADS = ("num_key_value_heads", "num_attention_heads")
NEURONS = ("intermediate_size", "n_inner", "ffn_dim")
"""What configurations call a size."""
KINDS = {"encoders": "encoders", "decoders": "language models"}


def serves_faults(recipe: Recipe, kind: str) -> list[str]:
    """Steps that do not serve `kind`, "encoders" or "decoders", each with what does."""
    faults = []
    for number, settings in enumerate(recipe.compress, 1):
        serves = getattr(method_module(settings.method), "SERVES", ("encoders",))
        if kind not in serves:
            why = f"; {WHY[settings.method]}" if settings.method in WHY else ""
            instead = INSTEAD.get(settings.method)
            use = f"use {instead}" if instead else f"leave it out; the methods for {KINDS[kind]} are {', '.join(_for(kind))}"
            served = " and ".join(KINDS[one] for one in serves)
            faults.append(f"compress {number}, {settings.method}: serves {served}, not {KINDS[kind]}{why}; {use}")
    return faults


def decoder_step_faults(recipe: Recipe, config: Mapping[str, Any]) -> list[str]:
    """What a language model's steps ask of it that it does not have. `config`: of the original, as far as it is known."""
    faults = serves_faults(recipe, "decoders")
    depth, width, neurons, heads = (_known(config, names) for names in (DEPTH, WIDTH, NEURONS, KV_HEADS))
    for number, settings in enumerate(recipe.compress, 1):
        where = f"compress {number}, {settings.method}"
        layers = settings.layers if settings.method in ("drop-blocks", "distill-decoder") else None
        if settings.method == "drop-blocks" and depth is not None and settings.layers >= depth:
            faults.append(f"{where}: layers = {layers} removes nothing from a model of {depth}")
        if settings.method == "distill-decoder":
            if depth is not None and layers is not None and layers > depth:
                faults.append(f"{where}: a student of {layers} layers cannot start from a model of {depth}")
            longest = settings.prompt + settings.tokens
            if settings.source != "rows" and longest > recipe.model.max_length:
                faults.append(
                    f"{where}: a prompt of {settings.prompt} and {settings.tokens} tokens after it are {longest}, more than "
                    f"max_length, {recipe.model.max_length}"
                )
        if settings.method == "prune-width":
            for name, asked, have in (("neurons", settings.neurons, neurons), ("kv_heads", settings.kv_heads, heads)):
                if asked is not None and have is not None and asked >= have:
                    faults.append(f"{where}: {name} = {asked} removes nothing from blocks of {have}")
            neurons, heads = settings.neurons or neurons, settings.kv_heads or heads
        if settings.method == "prune-unstructured" and settings.pattern is not None:
            group = int(settings.pattern.partition(":")[2])
            wrong = [f"{name} of {size}" for name, size in (("width", width), ("neurons", neurons)) if size and size % group]
            if wrong:
                faults.append(f"{where}: pattern {settings.pattern} does not divide {' and '.join(wrong)}")
        if depth is not None and layers is not None:
            depth = min(layers, depth)
    return faults


def _known(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)


def _for(kind: str) -> list[str]:
    return [name for name in method_names() if kind in getattr(method_module(name), "SERVES", ("encoders",))]
