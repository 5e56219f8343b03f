"""What a manifest says about a language model, parsed as what it is: a file from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Generation", "parse_generation"]

LARGEST_CONTEXT = 16_777_216
LARGEST_ID = 10_000_000
SIZES = {"context": (2, LARGEST_CONTEXT), "layers": (1, 4096), "kv_heads": (1, 4096), "head_size": (1, 65_536)}
KEYS = (*SIZES, "eos", "bos", "chat_template")
CACHES = ("float32", "float16", "int8")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Generation:
    """The `generation` block of a bundle's manifest."""

    context: int
    """Most tokens of prompt and answer together."""
    eos: tuple[int, ...]
    """Ids that end an answer."""
    bos: int | None
    layers: int
    kv_heads: int
    head_size: int
    """Numbers of one head in the cache, as the graph has it."""
    chat_template: str | None
    """File name of the chat template, among the bundle's assets."""
    cache: str | None = None
    """Number format of keys and values; None where it is left to the graph."""


def parse_generation(given: Any, faults: list[str]) -> Generation | None:
    """The block, or None with every fault of it added to `faults`."""
    prefix = "edgekit.generation"
    if not isinstance(given, dict):
        faults.append(f"{prefix}: {type(given).__name__} instead of dict")
        return None
    found = [f"{prefix}.{name}: missing" for name in KEYS if name not in given]
    found += [f"{prefix}.{name}: unknown" for name in given if name not in (*KEYS, "cache")]
    for name, (low, high) in SIZES.items():
        if name in given and not _whole(given[name], low, high):
            found.append(f"{prefix}.{name}: {given[name]!r} is not a whole number from {low} to {high:,}")
    eos = given.get("eos", [])
    if not isinstance(eos, list) or not all(_whole(one, 0, LARGEST_ID) for one in eos) or len(set(eos)) != len(eos):
        found.append(f"{prefix}.eos: not a list of different token ids")
    if given.get("bos") is not None and not _whole(given["bos"], 0, LARGEST_ID):
        found.append(f"{prefix}.bos: not a token id or null")
    file = given.get("chat_template")
    if file is not None and not (isinstance(file, str) and SAFE_NAME.fullmatch(file)):
        found.append(f"{prefix}.chat_template: not a plain file name or null")
    if given.get("cache") is not None and given["cache"] not in CACHES:
        found.append(f"{prefix}.cache: {given['cache']!r} is not one of {', '.join(CACHES)}")
    faults += found
    return None if found else Generation(**{**given, "eos": tuple(eos)})


def _whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
