"""Whether a language model answers several requests together, and how many."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeAlias

from edgekit.runtime.bundle.onnx_file import read_graph
from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.generate.answer import Ids, Piece
from edgekit.runtime.generate.batch import Batch, token_bytes
from edgekit.runtime.generate.neighbours import unlike_beside
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.model import Model
from edgekit.runtime.serve.limits import Limits

__all__ = ["Streams", "together"]

Streams: TypeAlias = Callable[[Ids, Sampling], Generator[Piece | None, None, None] | Generator[Piece, None, None]]
"""The pieces of an answer to a prompt; None where it waits for a run of the model."""
LEAST = 64
"""Tokens of a cache that is of any use."""


def together(model: Model, limits: Limits) -> Batch | str:
    """What answers several requests of a language model together, each as it would be alone; else why they are answered one after another.

    Raises:
        BadInput: a bound on the memory of their cache that no answer of use keeps.
    """
    language = model.language
    assert language is not None, "the caller checked it"
    if limits.together == 1:
        return "--max-together is 1"
    size = token_bytes(language.graph)
    tokens = limits.cache // size
    if tokens < LEAST:
        what = f"{limits.cache:,} bytes have no room for the keys and values of {LEAST} tokens of {size:,} bytes each"
        raise BadInput(what, where="--max-cache", fix=f"give {LEAST * size:,} or more, or --max-together 1")
    file = read_graph(model.bundle.folder / model.bundle.manifest.variant.file)
    if (fault := unlike_beside(file, language.graph)) is not None:
        return fault
    try:
        batch = Batch(language, limits.together, tokens)
    except NotPossibleHere as lacking:
        return lacking.what
    return batch.unlike_alone() or batch
