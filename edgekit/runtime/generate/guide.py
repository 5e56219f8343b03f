"""Answers that keep to a constraint: llguidance says before each token which ones may come, and which one must.

https://github.com/guidance-ai/llguidance. It is imported when the first answer has a constraint.
"""

from __future__ import annotations

import codecs
import importlib.util
import re
import time
from collections import OrderedDict
from collections.abc import Collection
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.forks import renew_in_children
from edgekit.runtime.generate.child import Child
from edgekit.runtime.generate.constraint import Constraint
from edgekit.runtime.generate.trial import SECONDS, fault_of, limits, source

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from tokenizers import Tokenizer

__all__ = ["LLGUIDANCE", "Guide", "Guides"]

LLGUIDANCE = "llguidance>=1.9"
"""What it takes beside what every bundle does, as pip reads it."""
KEPT = 128
"""Compiled constraints, the latest ones: more than a server's queue holds, so that none is compiled again by the thread that runs the model."""
SLOW, HEAVY = 0.2, 4
"""Seconds of compiling from which on one counts as so many: those that take long take some megabytes as well."""
REMEMBERED = 60.0
"""Seconds for which it is known that a constraint cannot be used."""
LETTERS = codecs.getincrementaldecoder("utf-8")
LONGEST_REPLY = 100_000
LONGEST_FAULT = 600
"""Characters of llguidance's message."""
REMOTE = re.compile(r"Resource '([^']{0,300})' is not present")
TOLD: dict[str, tuple[str, str]] = {
    "oneOf constraints are not supported": (
        "more than one part of its oneOf might fit",
        "write anyOf, or parts that differ in their type or in a required property with a const",
    ),
    "Current row has": (
        "it leaves more open at one place than can be kept up with for each token",
        "have fewer properties or alternatives, or make properties required",
    ),
    "NoExtension": ("nothing fits what must come next", "leave out what contradicts itself"),
    "Too many items": ("what must come next has no end, or is too much work", "allow an end there, or ask for less"),
    "forced bytes: got": ("it asks for the name of a control token, which no answer holds", "leave that name out"),
}
"""What stands in a message of llguidance -> (what that means here, what to do)."""
NAMES = {"json_schema": "JSON schema", "regex": "regular expression", "grammar": "grammar", "choice": "list of choices"}


class Guides:
    """The constraints of one model's answers, compiled for its tokenizer when they are first needed."""

    def __init__(self, tokenizer: Tokenizer, tokens: int, ends: tuple[int, ...]) -> None:
        """Only ids below `tokens` are ever chosen; `ends`: those that end an answer, perhaps none."""
        self.tokenizer = tokenizer
        self.tokens = tokens
        self.ends = ends
        self._fix = f"pip install '{LLGUIDANCE}', or do without"
        self._child = Child("edgekit.runtime.generate.trial", "grammars", self._fix, LONGEST_REPLY)
        self._known: LLTokenizer | None = None
        self._kept: OrderedDict[Constraint, LLMatcher] = OrderedDict()
        self._weights: dict[Constraint, int] = {}
        self._refused: OrderedDict[Constraint, tuple[float, BadInput]] = OrderedDict()
        """When it was found out, and why."""
        self._lock, self._compiling = Lock(), Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: locks that no thread of the parent holds."""
        self._lock, self._compiling = Lock(), Lock()

    def compile(self, constraint: Constraint) -> LLMatcher:
        """`constraint` compiled, at its beginning; at once where it was compiled before, and in no more than some seconds where not.

        Raises:
            BadInput: it cannot be used, is contradictory, names another document, or takes too much time or memory.
            NotPossibleHere: llguidance is not installed, or cannot read the model's tokenizer.
        """
        if (found := self._copy(constraint)) is not None:
            return found
        with self._compiling:  # one at a time; answers whose constraint is there do not wait for it
            if (found := self._copy(constraint)) is not None:
                return found
            start = time.monotonic()
            try:
                made = self._compiled(constraint)
            except BadInput as fault:
                with self._lock:
                    self._refused[constraint] = time.monotonic(), fault
                    if len(self._refused) > KEPT:
                        self._refused.popitem(last=False)
                raise
        with self._lock:
            self._kept[constraint] = made
            self._weights[constraint] = HEAVY if time.monotonic() - start > SLOW else 1
            while sum(self._weights.values()) > KEPT and len(self._kept) > 1:
                del self._weights[self._kept.popitem(last=False)[0]]
            return made.deep_copy()

    def known(self, constraint: Constraint) -> bool:
        """Whether `compile` takes no time."""
        with self._lock:
            return constraint in self._kept or self._fault(constraint) is not None

    def _fault(self, constraint: Constraint) -> BadInput | None:
        """Why it was refused, not long ago."""
        found, fault = self._refused.get(constraint, (0.0, None))
        return fault if time.monotonic() - found < REMEMBERED else None

    def _copy(self, constraint: Constraint) -> LLMatcher | None:
        with self._lock:
            if (fault := self._fault(constraint)) is not None:
                raise BadInput(fault.what, where=fault.where, fix=fault.fix)
            if constraint not in self._kept:
                return None
            self._kept.move_to_end(constraint)
            return self._kept[constraint].deep_copy()

    def guide(self, constraint: Constraint, stops: Collection[int] = ()) -> Guide:
        """Holds one answer to `constraint`; `stops`: further tokens that end it, where it may end.

        Raises:
            BadInput, NotPossibleHere: as `compile`.
        """
        matcher = self.compile(constraint)
        assert self._known is not None, "made by `compile`"
        return Guide(constraint, matcher, self._known, self.tokens, self.ends, tuple(stops))

    def fits(self, constraint: Constraint, text: str) -> bool:
        """Whether `text` is one of the form `constraint`, which was compiled before."""
        matcher = self.compile(constraint)
        assert self._known is not None, "made by `compile`"
        tokens = self._known.tokenize_str(text) if constraint.tokens else self._known.greedy_tokenize(text)
        return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())

    def _compiled(self, constraint: Constraint) -> LLMatcher:
        if importlib.util.find_spec("llguidance") is None:
            raise NotPossibleHere("answers of a given form need llguidance, which is not installed", fix=self._fix)
        from llguidance import LLMatcher

        known = self._known = self._known or self._read()
        reply = self._child.ask({"kind": constraint.kind, "text": constraint.text}, SECONDS)
        if reply is None:
            raise _unusable(constraint, f"compiling it did not end within {SECONDS:g} s, or broke down")
        if "fault" in reply:
            raise _unusable(constraint, reply["fault"])
        matcher = LLMatcher(known, source(constraint.kind, constraint.text), log_level=0, limits=limits())
        if fault := fault_of(matcher):
            raise _unusable(constraint, fault)
        return matcher

    def _read(self) -> LLTokenizer:
        from llguidance import LLTokenizer

        # Where no token ends an answer, one must be named all the same: `Guide.allowed` takes it out again
        ends = list(self.ends or (self.tokens - 1,))
        try:
            return LLTokenizer(self.tokenizer.to_str(), eos_token=ends)
        except ValueError as fault:
            raise NotPossibleHere(
                f"llguidance cannot read this model's tokenizer: {str(fault)[:LONGEST_FAULT]}",
                fix="ask for answers without a given form",
            ) from None


class Guide:
    """One answer's way through its constraint, moved on by `take`."""

    def __init__(
        self,
        constraint: Constraint,
        matcher: LLMatcher,
        known: LLTokenizer,
        tokens: int,
        ends: tuple[int, ...],
        stops: tuple[int, ...],
    ) -> None:
        self.constraint = constraint
        self._matcher = matcher
        self._known = known
        self._tokens = tokens
        self._never = [] if ends else [tokens - 1]
        """Ids that stand for an end which the model has not."""
        self._stops = [number for number in stops if number not in ends]
        self._letters = LETTERS(errors="replace")

    @property
    def complete(self) -> bool:
        """Whether the answer fits as it is and nothing more could be added."""
        return bool(self._matcher.is_stopped() and not self._matcher.is_error())

    @property
    def may_end(self) -> bool:
        """Whether the answer fits as it is."""
        return bool(self._matcher.is_accepting())

    def allowed(self) -> np.ndarray:
        """Ids that may come next, int64 (n,), ascending; those that end an answer where it may end.

        Raises:
            BadInput: the constraint took more than llguidance's limits for a token.
        """
        mask = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise self._lost()
        bits = np.unpackbits(np.frombuffer(mask, dtype=np.uint8), count=self._tokens, bitorder="little")
        if self._never:
            bits[self._never] = 0
        if self._stops and self.may_end:
            bits[self._stops] = 1
        ids = np.flatnonzero(bits.view(np.bool_))  # twice as fast as of bytes
        if not len(ids):
            raise _unusable(self.constraint, "none of the model's tokens can come next")
        return ids

    def certain(self) -> list[int]:
        """The ids that must come next, whatever the model says; often none."""
        return [] if self._matcher.is_stopped() else [int(token) for token in self._matcher.compute_ff_tokens()]

    def take(self, token: int) -> None:
        """Move on by `token`, one of those that were allowed and that did not end the answer.

        Raises:
            BadInput: as `allowed`.
        """
        if not self._matcher.consume_token(token):
            raise self._lost()

    def text(self, token: int) -> str:
        """The characters that are complete with `token`, exactly those that the constraint was held against."""
        if self._known.is_special_token(token) and not self.constraint.tokens:
            return ""
        return self._letters.decode(self._known.decode_bytes([token]))

    def _lost(self) -> BadInput:
        return _unusable(self.constraint, self._matcher.get_error())


def _unusable(constraint: Constraint, fault: str) -> BadInput:
    what = f"the {NAMES[constraint.kind]} cannot be used"
    if (remote := REMOTE.search(fault)) is not None:
        return BadInput(
            f"{what}: it names another document, {remote[1]!r}, which is never fetched", where=constraint.kind,
            fix="put what it names into $defs of the schema",
        )  # fmt: skip
    for part, (meaning, fix) in TOLD.items():
        if part in fault:
            return BadInput(f"{what}: {meaning}", where=constraint.kind, fix=fix)
    if constraint.kind != "grammar":  # what llguidance made of it is no text of whoever asked
        fault = fault.partition("\n   1 | start")[0]
    told = fault.replace("\n<non-verbose/>", "").strip()[:LONGEST_FAULT]
    return BadInput(f"{what}: {told}", where=constraint.kind, fix="give another or a simpler one")
