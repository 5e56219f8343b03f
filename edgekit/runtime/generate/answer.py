"""Answers of a language model: one that is being generated, token by token, and a complete one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit.runtime.generate.detokenise import Detokeniser, Stops
from edgekit.runtime.generate.generation import Generation
from edgekit.runtime.generate.sample import Sampler, Sampling
from edgekit.runtime.jsontypes import JsonObject

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Answer", "Ids", "Piece", "Row", "whole"]


@dataclass(frozen=True)
class Ids:
    """A prompt as the model reads it."""

    ids: np.ndarray
    """int64 (n,)."""
    goes_on: bool
    """Whether the answer continues the prompt's text, so that its leading space is kept; otherwise it is a text of its own."""


@dataclass(frozen=True)
class Piece:
    """What one token adds to an answer."""

    text: str
    """The characters that are complete with it; "" where the token ends within a character."""
    token: int | None
    """None where an answer ends by an interruption."""
    ended: str | None = None
    """Why the answer ends with this piece: "stop", "length", "context" or "interrupted"; None before the end."""


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    text: str
    tokens: tuple[int, ...]
    """With the end token, if one ended it."""
    ended: str
    """"stop" (an end or stop token, or a stop text), "length" (max_new_tokens), "context" (the context is full) or "interrupted"."""
    prompt_tokens: int

    def document(self) -> JsonObject:
        """As a JSON object."""
        counts = {"prompt_tokens": self.prompt_tokens, "new_tokens": len(self.tokens)}
        return {"text": self.text, "ended": self.ended, **counts}


def whole(pieces: Sequence[Piece], prompt_tokens: int) -> Answer:
    """The answer that `pieces` form; interrupted where the last one does not end it."""
    tokens = tuple(piece.token for piece in pieces if piece.token is not None)
    ended = pieces[-1].ended if pieces else None
    return Answer("".join(piece.text for piece in pieces), tokens, ended or "interrupted", prompt_tokens)


class Row:
    """One answer that is being generated, row `number` of its batch."""

    def __init__(
        self, number: int, prompt: Ids, sampling: Sampling, *, tokenizer: Tokenizer, tokens: int, generation: Generation
    ) -> None:
        """`prompt`: fewer tokens than the context; only ids below `tokens` are ever chosen."""
        self.number = number
        self.ids: list[int] = prompt.ids.tolist()
        """Prompt and answer."""
        wanted = len(prompt.ids) + sampling.max_new_tokens
        self.limit = min(wanted, generation.context)
        """Most ids of prompt and answer."""
        self.over = False
        self._full = "length" if wanted <= generation.context else "context"
        if sampling.repetition_penalty is None:
            sampling = replace(sampling, repetition_penalty=generation.repetition_penalty)
        self._sampler = Sampler(sampling, prompt.ids, tokens, number)
        self._text, self._stops = Detokeniser(tokenizer, self.ids if prompt.goes_on else ()), Stops(sampling.stop)
        named = (token for token, name in self._text.special.items() if name in sampling.stop)
        self._ends = frozenset((*generation.eos, *sampling.stop_token_ids, *named))

    def push(self, logits: np.ndarray) -> Piece:
        """Choose the next token by its logits float32 (vocabulary,).

        Raises:
            CheckFailed: NaN or Inf in the logits.
        """
        token = self._sampler.choose(logits)
        self.ids.append(token)
        end = token in self._ends
        text = "" if end else self._stops.push(self._text.push(token), hidden=self._text.special.get(token, ""))
        if end or self._stops.found:
            return Piece(text + self._rest(), token, "stop")
        if len(self.ids) < self.limit:
            return Piece(text, token)
        rest = self._rest()  # a stop text may be complete in what was held back
        return Piece(text + rest, token, "stop" if self._stops.found else self._full)

    def interrupt(self) -> Piece:
        """End the answer here, with the text that was held back."""
        return Piece(self._rest(), None, "interrupted")

    def _rest(self) -> str:
        self.over = True
        if self._stops.found:
            return ""
        text = self._stops.push(self._text.finish())
        return text if self._stops.found else text + self._stops.finish()
