"""Answers of a language model: one that is being generated, token by token, and a complete one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit.runtime.generate.constraint import Constraint
from edgekit.runtime.generate.detokenise import Detokeniser, Stops
from edgekit.runtime.generate.generation import Generation
from edgekit.runtime.generate.guide import Guides
from edgekit.runtime.generate.sample import Sampler, Sampling
from edgekit.runtime.jsontypes import JsonObject, JsonValue

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Answer", "Call", "Ids", "Likely", "Piece", "Row", "whole"]

LEAST_LIKELY = -9999.0
"""Logarithm that stands for that of 0, which JSON cannot write; OpenAI's API tells it so."""
MOST_CERTAIN = 64
"""Tokens that one run reads without a choice."""


@dataclass(frozen=True)
class Ids:
    """A prompt as the model reads it."""

    ids: np.ndarray
    """int64 (n,)."""
    goes_on: bool
    """Whether the answer continues the prompt's text, so that its leading space is kept; otherwise it is a text of its own."""
    constraint: Constraint | None = None
    """What its answer must be, whatever the sampling settings say: of a conversation with tools."""


@dataclass(frozen=True)
class Likely:
    """Natural logarithms of the probabilities that the model gave, before any setting changed them."""

    token: float
    """Of the token that was chosen."""
    most: tuple[tuple[int, float], ...]
    """(id, logarithm) of the most probable tokens, the most probable first."""


@dataclass(frozen=True)
class Piece:
    """What one token adds to an answer."""

    text: str
    """The characters that are complete with it; "" where the token ends within a character."""
    token: int | None
    """None where an answer ends by an interruption."""
    ended: str | None = None
    """Why the answer ends with this piece: "stop", "length", "context" or "interrupted"; None before the end."""
    likely: Likely | None = None
    """How likely the model took its token to be, where that was asked for."""
    drafted: int = field(default=0, compare=False)
    """Guesses that were read in the run that it is chosen by. How many a run reads depends on the clock; what it gives does not."""
    accepted: bool = field(default=False, compare=False)
    """Whether the token before it was such a guess, which saved a run."""
    complete: bool | None = None
    """Of the last piece of an answer that was held to a form: whether the answer's text is one of that form; None elsewhere."""


@dataclass(frozen=True)
class Call:
    """A call of a tool."""

    name: str
    arguments: str
    """JSON; cut off with an answer that was cut."""


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    text: str
    tokens: tuple[int, ...]
    """With the end token, if one ended it."""
    ended: str
    """"stop" (an end or stop token, a stop text, or a constraint that nothing can be added to), "length" (max_new_tokens, or a stop text within
    the call of a tool), "context" (the context is full) or "interrupted"."""
    prompt_tokens: int
    likely: tuple[Likely, ...] | None = None
    """Of each token, where that was asked for."""
    drafted: int = field(default=0, compare=False)
    """Guesses of next tokens that were read; they depend on the clock, the answer does not."""
    accepted: int = field(default=0, compare=False)
    """Those that saved a run each."""
    calls: tuple[Call, ...] = ()
    """Of tools; `text` is then what comes before them."""
    complete: bool | None = None
    """Whether the text is one of the form that it was held to, calls of tools too; not where it was cut. None: it was held to none."""

    def document(self) -> JsonObject:
        """As a JSON object, without what depends on the clock."""
        counts = {"prompt_tokens": self.prompt_tokens, "new_tokens": len(self.tokens)}
        calls: list[JsonValue] = [{"name": call.name, "arguments": call.arguments} for call in self.calls]
        said: JsonObject = {"text": self.text, "ended": self.ended, **counts, **({"tool_calls": calls} if calls else {})}
        said = said if self.complete is None else {**said, "complete": self.complete}
        if self.likely is None:
            return said
        likely: list[JsonValue] = [
            {"token": token, "logprob": one.token, "most": [list(pair) for pair in one.most]}
            for token, one in zip(self.tokens, self.likely, strict=True)
        ]
        return {**said, "logprobs": likely}


def whole(pieces: Sequence[Piece], prompt_tokens: int) -> Answer:
    """The answer that `pieces` form; interrupted where the last one does not end it."""
    tokens = tuple(piece.token for piece in pieces if piece.token is not None)
    ended = pieces[-1].ended if pieces else None
    likely = tuple(piece.likely for piece in pieces if piece.likely is not None)
    drafted, accepted = sum(piece.drafted for piece in pieces), sum(piece.accepted for piece in pieces)
    text = "".join(piece.text for piece in pieces)
    told = likely if len(likely) == len(tokens) > 0 else None
    complete = pieces[-1].complete if pieces else None
    return Answer(text, tokens, ended or "interrupted", prompt_tokens, told, drafted, accepted, complete=complete)


class Row:
    """One answer that is being generated, row `number` of its batch.

    Its tokens are pushed in order, each with the logits of its position: whoever reads several positions in one run (tokens that are
    `certain`, or guesses) pushes one after the other, and stops where another token came out than was read.
    """

    def __init__(
        self, number: int, prompt: Ids, sampling: Sampling, *, tokenizer: Tokenizer, tokens: int, generation: Generation,
        guides: Guides,
    ) -> None:  # fmt: skip
        """`prompt`: fewer tokens than the context; only ids below `tokens` are ever chosen.

        Raises:
            BadInput, NotPossibleHere: a constraint that cannot be used.
        """
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
        self.drawn = sampling.temperature > 0
        """Whether its tokens are drawn; they are the likeliest ones otherwise."""
        self._sampler = Sampler(sampling, prompt.ids, tokens, number)
        self._text, self._stops = Detokeniser(tokenizer, self.ids if prompt.goes_on else ()), Stops(sampling.stop)
        named = (token for token, name in self._text.special.items() if name in sampling.stop)
        self._ends = frozenset((*generation.eos, *sampling.stop_token_ids, *named))
        self._most = sampling.logprobs
        constraint = prompt.constraint or sampling.constraint
        self._guides, self._said = guides, ""
        """The text so far, of an answer that is held to a form and may be cut by a stop text."""
        self._guide = guides.guide(constraint, self._ends) if constraint is not None else None
        self._certain = self._guide.certain() if self._guide is not None else []

    @property
    def certain(self) -> list[int]:
        """The ids that come next whatever the model says, as far as there is room for them; often none."""
        return self._certain[: min(MOST_CERTAIN, self.limit - len(self.ids))]

    @property
    def tells(self) -> bool:
        """Whether its pieces tell how likely tokens were, so that those that are certain need their logits too."""
        return self._most is not None

    def push(self, logits: np.ndarray | None) -> Piece:
        """Choose the next token by its logits float32 (vocabulary,), which may be None where the token is certain and nothing is told of it.

        Raises:
            CheckFailed: NaN or Inf in the logits.
            BadInput: the constraint became too much work.
        """
        token, end = self._next(logits)
        self.ids.append(token)
        likely = None if self._most is None else _likely(logits, token, self._most, self._sampler.tokens)
        if end:
            text = ""
        elif self._guide is None:
            text = self._stops.push(self._text.push(token), hidden=self._text.special.get(token, ""))
        else:
            text = self._stops.push(self._guide.text(token))
        if end or self._stops.found or (self._guide is not None and self._guide.complete):
            text += self._rest()
            return Piece(text, token, "stop", likely, complete=self._complete(text))
        if len(self.ids) < self.limit:
            self._said += text if self._guide is not None and self._stops.stops else ""
            return Piece(text, token, None, likely)
        text += self._rest()  # a stop text may be complete in what was held back
        return Piece(text, token, "stop" if self._stops.found else self._full, likely, complete=self._complete(text))

    def _next(self, logits: np.ndarray | None) -> tuple[int, bool]:
        """(the token, whether it ends the answer)."""
        if self._certain:
            token = self._certain.pop(0)
            self._sampler.see(token)
        else:
            assert logits is not None, "the token is a choice"
            token = self._sampler.choose(logits, None if self._guide is None else self._guide.allowed())
        if self._guide is None or (token in self._ends and self._guide.may_end):
            return token, token in self._ends
        self._guide.take(token)
        self._certain = self._certain or self._guide.certain()
        return token, False

    def interrupt(self) -> Piece:
        """End the answer here, with the text that was held back."""
        text = self._rest()
        return Piece(text, None, "interrupted", complete=self._complete(text))

    def _complete(self, text: str) -> bool | None:
        """Whether the answer, which ends with the piece `text`, is one of its form; None where it has none."""
        if self._guide is None:
            return None
        return self._guides.fits(self._guide.constraint, self._said + text) if self._stops.found else self._guide.may_end

    def _rest(self) -> str:
        self.over = True
        if self._stops.found:
            return ""
        text = self._stops.push(self._text.finish())
        return text if self._stops.found else text + self._stops.finish()


def _likely(logits: np.ndarray | None, token: int, most: int, tokens: int) -> Likely:
    """What the model's logits float32 (vocabulary,) say of `token` and of the `most` most probable of the first `tokens` ids."""
    assert logits is not None, "a row that tells gets the logits of each position"
    scores = logits.astype(np.float64)
    scores -= scores.max()
    scores -= np.log(np.exp(scores).sum())
    scores = np.maximum(scores, LEAST_LIKELY)
    best = np.argsort(-scores[:tokens], kind="stable")[:most]
    return Likely(float(scores[token]), tuple((int(number), float(scores[number])) for number in best))
