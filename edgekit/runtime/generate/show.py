"""An answer of a language model that is printed while it is generated."""

from __future__ import annotations

import sys
from collections.abc import Callable

from edgekit.runtime.generate.answer import Answer, Piece, whole
from edgekit.runtime.generate.model import LanguageModel, Prompt
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.items import at_terminal
from edgekit.runtime.shown import visible

__all__ = ["shown_answer"]


def shown_answer(
    model: LanguageModel, prompt: Prompt, sampling: Sampling, *, show: bool, heard: Callable[[int], None] = lambda number: None
) -> Answer:
    """The answer to `prompt`, with `show` printed while it is generated, without a line end; Ctrl-C ends it, as "interrupted".

    `heard` is called with the number of each piece, from 0, as it comes, before it is printed.

    Raises:
        BadInput, CheckFailed: as `LanguageModel.stream`.
    """
    pieces: list[Piece] = []
    stream = model.stream(prompt, sampling)
    try:
        for piece in stream:
            heard(len(pieces))
            pieces.append(piece)
            if show:
                print(visible(piece.text) if at_terminal(sys.stdout) else piece.text, end="", flush=True)
    except KeyboardInterrupt:  # it came while a piece was printed, not while the model ran
        stream.close()
    return model.with_calls(whole(pieces, len(model.encode(prompt))), prompt)
