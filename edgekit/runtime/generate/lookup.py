"""Guesses of the next tokens by looking up where the last ones stood before, in the prompt or in what was said since.

Prompt lookup (Saxena 2023, "Prompt Lookup Decoding"; Yang et al. 2023, "Inference with Reference"): answers that quote, edit or
continue their prompt say again what follows the same tokens there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

__all__ = ["LEVELS", "Lookup", "level"]

LONGEST = 16
"""Tokens in common beyond which it makes no difference."""
BY_SAME = (0, 0, 0, 1, 2, 2, 3, 3, 3, *(4,) * 7, 5)
LEVELS = BY_SAME[-1] + 1


def level(same: int) -> int:
    """Which of LEVELS so many tokens in common are: 2, 3, 4 to 5, 6 to 8, 9 to 15, or more."""
    return BY_SAME[min(same, LONGEST)]


class Lookup:
    """What stood before after the tokens that `ids` ends with."""

    def __init__(self, ids: Sequence[int]) -> None:
        """`ids`: one or more, to which others may be added at any time; `follow` takes note of them."""
        self._ids = ids
        self.at = 0
        """Where in `ids` the token stands that is guessed to be the next; 0: there is no guess."""
        self.same = 0
        """How many tokens before it are those that `ids` ends with."""
        before = ids[:-1]
        self._pairs = dict(zip(pairwise(before), range(2, len(ids)), strict=False))
        self._triples = dict(zip(zip(before, before[1:], before[2:], strict=False), range(3, len(ids)), strict=False))
        self._read = len(ids) - 1
        self.follow()

    def follow(self) -> list[tuple[int, bool]]:
        """Take note of the tokens that were added; for each of which there was a guess, (its level, whether it was right)."""
        ids, told = self._ids, []
        while self._read < len(ids):
            end = self._read
            token = ids[end]
            if self.at:
                right = ids[self.at] == token
                told.append((level(self.same), right))
                self.at, self.same = (self.at + 1, min(self.same + 1, LONGEST)) if right else (0, 0)
            self._read = end + 1
            if end < 2:
                continue
            triple = (ids[end - 2], ids[end - 1], token)
            pair = triple[1:]
            if not self.at:
                self.at = self._triples.get(triple, 0) or self._pairs.get(pair, 0)
                self.same = self._in_common(self.at, end) if self.at else 0
            self._triples[triple] = self._pairs[pair] = end + 1
        return told

    def guess(self, most: int) -> list[int]:
        """The next tokens, `most` of them; beyond the end it goes on with what it has guessed, as in a text that repeats itself."""
        if not self.at:
            return []
        found = list(self._ids[self.at : self.at + most])
        known = len(found)
        while len(found) < most:
            found.append(found[len(found) - known])
        return found

    def _in_common(self, at: int, end: int) -> int:
        """Tokens before `at` that are the same as those up to `end`."""
        ids, count = self._ids, 2
        while count < LONGEST and at - 1 - count >= 0 and ids[at - 1 - count] == ids[end - count]:
            count += 1
        return count
