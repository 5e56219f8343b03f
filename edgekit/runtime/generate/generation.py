"""A manifest's facts about a language model, strictly parsed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit.runtime.bundle.names import GENERATION
from edgekit.runtime.errors import BadInput
from edgekit.runtime.records import OMITTED, matching, read_record, within

__all__ = ["Generation", "parse_generation"]

LARGEST_CONTEXT = 16_777_216
LARGEST_ID = 10_000_000
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Generation:
    """The `generation` block of a bundle's manifest."""

    context: int = field(metadata=within(2, LARGEST_CONTEXT))
    """Most tokens of prompt and answer together."""
    eos: tuple[int, ...] = field(metadata=within(0, LARGEST_ID, different=True))
    """Ids that end an answer."""
    bos: int | None = field(metadata=within(0, LARGEST_ID))
    """Id that begins a text; None where none does."""
    layers: int = field(metadata=within(1, 4096))
    kv_heads: int = field(metadata=within(1, 4096))
    head_size: int = field(metadata=within(1, 65_536))
    """Values of one head in the graph's cache."""
    chat_template: str | None = field(metadata=matching(FILE_NAME, "a plain file name"))
    """File name of the chat template, among the bundle's assets."""
    special_tokens: Mapping[str, str] | None = field(default=None, metadata=OMITTED)
    """Tokens that the chat template names: bos_token, eos_token, pad_token and so on; None in bundles of before, where bos and eos are."""
    repetition_penalty: float | None = field(default=None, metadata={**OMITTED, **within(0.01, 100.0)})
    """What the model's files ask for, where an answer asks for none; None: 1."""
    cache: Literal["float32", "float16", "int8"] | None = field(default=None, metadata=OMITTED)
    """Number format of keys and values; None where it is left to the graph."""


def parse_generation(given: object, where: str = GENERATION) -> Generation:
    """The facts that the document `given` holds.

    Raises:
        BadInput: a field that is missing, unknown or not what it must be, all of them at once; `where` names the file.
    """
    faults: list[str] = []
    generation = read_record(Generation, given, "", faults)
    if generation is None:
        raise BadInput("not the facts of a language model", where=where, faults=faults)
    return generation
