"""Answers of one language model that are generated together: they join and leave at every token, and each is what it would be alone.

A step is one run of one token for all answers. Beside it a piece of one new prompt is read, or a whole block of it where no other answer
waits; new prompts take turns. The answers' rows of the cache lie one after another, so that a run takes the first of them; the last row moves
where one ends. A row in between whose prompt is not all read, or whose last token nobody fetched yet, is run with the others and nothing of it is
kept: what was written beyond its length is never read. An answer that is alone is read with guesses of its next tokens.

The tokens of all rows are bounded. Where they become too many, the answer that came last gives its row up, waits, and is read again by runs
of the same shapes, which give the same bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from edgekit.runtime.errors import BadInput, EdgekitError
from edgekit.runtime.generate.answer import Ids, Piece, Row
from edgekit.runtime.generate.cache import Cache, rounded
from edgekit.runtime.generate.graph import Graph
from edgekit.runtime.generate.model import LanguageModel, Prompt
from edgekit.runtime.generate.neighbours import piece_end, same_in_pieces, unlike_tried
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.generate.speculate import Reader

__all__ = ["Batch", "token_bytes"]

SPARE = 32
"""Tokens that must be free beside a prompt before it gets a row, so that it is not given up at once."""


@dataclass(eq=False)
class _Answer:
    """An answer that is being made, or waits for a row."""

    row: Row
    prompt: int
    """Tokens of the prompt."""
    number: int
    """Of its arrival."""
    logits: deque[np.ndarray | None] = field(default_factory=deque)
    """Those of its next tokens, which are chosen when somebody fetches them; None for a token that is certain."""
    drafted: int = 0
    """Guesses that were read with them."""
    accepted: bool = False
    """Whether the token before them was a guess."""
    fault: EdgekitError | None = None
    """Why there are no more."""
    turn: int = 0
    """The step in which its prompt was last read on."""
    together: dict[int, int] = field(default_factory=dict)
    """Where several tokens that were certain were read in one run: how many, by the place of the first."""

    @property
    def ids(self) -> list[int]:
        """Of the prompt and the answer."""
        return self.row.ids

    @property
    def due(self) -> bool:
        """Whether it waits for a run."""
        return not (self.logits or self.row.over or self.fault)


class Batch:
    """At most `slots` answers of `model` at a time, with at most `tokens` of prompts and answers in the cache. One thread alone may use it."""

    def __init__(self, model: LanguageModel, slots: int, tokens: int) -> None:
        """Raises:
        NotPossibleHere: not enough memory.
        """
        self.model, self.slots, self.tokens = model, slots, tokens
        self.context = min(model.generation.context, tokens)
        """Most tokens of a prompt and its answer."""
        self.even = False
        """Whether runs are of an even number of rows, an answer alone too: answers do not depend on others then, but are rounded otherwise than
        those of `LanguageModel.stream`."""
        self._cache = model.graph.empty(slots + slots % 2, self.context)
        self._views: dict[tuple[int, int], Cache] = {}
        self._rows: list[_Answer] = []
        """By their row of the cache."""
        self._waiting: deque[_Answer] = deque()
        """By their number."""
        self._reader: Reader | None = None
        """Of the only row, while it is read with guesses; what it holds is not in the cache's row then."""
        self._steps = self._arrived = 0
        self._in_pieces = same_in_pieces(model.graph)

    def unlike_alone(self) -> str | None:
        """Why answers would not be what they are alone, found out by trying; None where no bit differs, perhaps in an `even` number of rows, as is
        seen to from then on. Asked before there are any."""
        if (fault := unlike_tried(self.model.graph, self._cache)) is None:
            return None
        self.even = unlike_tried(self.model.graph, self._cache, even=True) is None
        return None if self.even else fault

    @property
    def held(self) -> int:
        """Tokens of all rows."""
        return sum(len(answer.ids) for answer in self._rows)

    def stream(self, prompt: Prompt | Ids, sampling: Sampling) -> Generator[Piece | None, None, None]:
        """As `LanguageModel.stream`, with None where the next token takes another `step`. Closing it ends the answer and frees its row.

        Raises:
            BadInput: as there, or a prompt for which there is no room in the cache.
            CheckFailed: as there.
        """
        ids = self.model.prepare(prompt)
        if len(ids.ids) >= self.context:
            raise BadInput(
                f"the prompt's {len(ids.ids):,} tokens leave no room for an answer in the cache of {self.context:,}",
                fix="shorten it, or have the server's owner give it more memory (--max-cache)",
            )
        row = self.model.row(ids, sampling, context=self.context)
        self._arrived += 1
        answer = _Answer(row, len(ids.ids), self._arrived)
        self._waiting.append(answer)
        try:
            while True:
                while answer.logits:
                    piece = row.push(answer.logits.popleft())
                    yield replace(piece, drafted=answer.drafted, accepted=answer.accepted)
                    if row.over:
                        return
                    answer.drafted, answer.accepted = 0, False
                if answer.fault is not None:
                    raise answer.fault
                yield None
        finally:
            self._forget(answer)

    def step(self) -> bool:
        """Run the model once for the answers whose last token was fetched, and read on in a prompt; False where nothing is to be done."""
        self._steps += 1
        self._admit()
        due = [row for row, answer in enumerate(self._rows) if answer.due]
        if not due:
            return False
        if len(self._rows) == 1 and self._guess():
            return True
        self._settle()
        due = [self._rows.index(answer) for answer in self._roomy([self._rows[row] for row in due])]
        prompts = [row for row in due if self._length(row) < self._rows[row].prompt]
        others = [row for row in due if row not in prompts]
        joined = [row for row in others if self._certain(row)]
        if single := [row for row in others if row not in joined]:
            self._run_tokens(single)
        for row in joined:
            self._run_certain(row)
        if prompts:
            row = min(prompts, key=lambda one: (self._rows[one].turn, self._rows[one].number))
            self._read_on(row, alone=not others)
        return True

    def _admit(self) -> None:
        """Give rows to answers that wait, in their order, as far as there is room."""
        while self._waiting and len(self._rows) < self.slots:
            answer = self._waiting[0]
            if self._rows and self.held + len(answer.ids) + SPARE > self.tokens:
                return
            self._settle()
            row = len(self._rows)
            self._rows.append(self._waiting.popleft())
            self.model.prefixes.begin(np.array(answer.ids[: answer.prompt]), self._view(row, row + 1), self.model.graph.block)

    def _roomy(self, due: list[_Answer]) -> list[_Answer]:
        """Those of `due` that keep their rows: the latest ones give theirs up where the next tokens have no room."""
        while len(self._rows) > 1 and self.held + sum(1 + len(one.row.certain) for one in due) > self.tokens:
            latest = max(self._rows, key=lambda answer: answer.number)
            self._free(latest)
            self._waiting.appendleft(latest)
            due = [answer for answer in due if answer is not latest]
        return due

    def _certain(self, row: int) -> list[int]:
        """The tokens from the end of a row's cache on that one run reads, where what follows the first is certain, or was; else none."""
        answer, start = self._rows[row], self._length(row)
        if start in answer.together:
            return answer.ids[start : start + answer.together[start]]
        certain = answer.row.certain if start == len(answer.ids) - 1 else []
        return [answer.ids[-1], *certain] if certain else []

    def _run_tokens(self, rows: list[int]) -> None:
        """One run of one token for each of `rows`, and for all rows between them, of which it is not kept."""
        count = max(rows) + 1
        count += count % 2 if self.even else 0
        lengths, kept = self._cache.lengths[:count], np.isin(np.arange(count), rows)
        before = lengths.copy()
        answers = [self._rows[row] for row in rows]
        tokens = np.zeros((count, 1), dtype=np.int64)
        for row, answer in enumerate(self._rows[:count]):
            tokens[row] = answer.ids[min(int(before[row]), len(answer.ids) - 1)]
        with _blaming(answers):
            lengths[~kept] = np.minimum(before[~kept], self.context - 1)  # one that is full is over, and may be written over
            try:
                logits = self.model.graph.run(tokens, self._view(0, count))[:, 0]
            finally:
                lengths[~kept] = before[~kept]
            for row, answer in zip(rows, answers, strict=True):
                if self._length(row) == len(answer.ids):
                    answer.logits.append(logits[row])

    def _run_certain(self, row: int) -> None:
        """One run of a row's last token and those that must follow it, as they are read alone: several tokens of one row have other bits than one
        by one."""
        answer, tokens, start = self._rows[row], self._certain(row), self._length(row)
        again = start in answer.together
        with _blaming([answer]):
            keep = len(tokens) if answer.row.tells and not again else 1
            logits = self.model.graph.run(np.array([tokens]), self._view(row, row + 1), keep)[0]
            if not again:
                self._take(answer, start, logits, len(tokens))

    def _take(self, answer: _Answer, start: int, logits: np.ndarray, count: int) -> None:
        """Take note of the `logits` of a run of `count` tokens from `start` on, of which all but the first are certain."""
        answer.together[start] = count
        answer.logits += [logits[place] if answer.row.tells else None for place in range(count - 1)]
        answer.logits.append(logits[-1])

    def _read_on(self, row: int, *, alone: bool) -> None:
        """Read more of a row's prompt: a block where it is `alone`, else a piece."""
        answer, graph, start, view = self._rows[row], self.model.graph, self._length(row), self._view(row, row + 1)
        answer.turn = self._steps
        stop = min(graph.whole_blocks(start) + graph.block, answer.prompt)
        if self._in_pieces and not alone:
            stop = piece_end(graph, start, answer.prompt)
        with _blaming([answer]):
            logits = graph.run(np.array([answer.ids[start:stop]]), view)[0, 0]
            if stop == answer.prompt == len(answer.ids):  # else it was read before, and given up
                answer.logits.append(logits)
                if np.isfinite(logits.max()):
                    self._keep(answer, view)

    def _keep(self, answer: _Answer, view: Cache) -> None:
        """Keep a copy of what was read of a prompt, for those that begin alike."""
        prefixes, graph, ids = self.model.prefixes, self.model.graph, np.array(answer.ids)
        count = prefixes.lacks(ids, graph.block)
        if count and count * token_bytes(graph) <= prefixes.limit:
            copy = graph.empty(1, rounded(count, graph.context))
            copy.take(0, view, 0, count)
            prefixes.keep(ids, copy, graph.block)

    def _guess(self) -> bool:
        """Make the next token of the only answer, with guesses of those that follow; False where that is not possible."""
        (answer,), known = self._rows, self.model.speculation
        row, start = answer.row, len(answer.ids) - 1
        if self.even or known is None or start < answer.prompt or (self._reader is None and self._length(0) < start):
            return False
        if self._reader is None:
            self._reader = Reader(known, row.ids, row.limit, self._view(0, 1), drawn=row.drawn)
        reader, certain = self._reader, row.certain
        with _blaming([answer]):
            if certain:
                tokens = np.array([[row.ids[-1], *certain]])
                self._take(answer, start, reader.read(tokens, tokens.size if row.tells else 1)[0], tokens.size)
            else:
                answer.logits.append(reader.logits())
                answer.drafted, answer.accepted = reader.drafted, reader.accepted
        return True

    def _settle(self) -> None:
        """Have the cache's row hold what a reader holds, which ends."""
        if self._reader is None:
            return
        reader, view, (answer,) = self._reader, self._view(0, 1), self._rows
        read = len(answer.ids) - 1 + len(answer.logits)
        self._reader = None
        if reader.cache is not view:
            view.take(0, reader.cache, 0, read)
        view.lengths[0] = read
        reader.close()

    def _forget(self, answer: _Answer) -> None:
        """Nobody fetches the tokens of `answer` any more."""
        if answer in self._rows:
            self._free(answer)
        elif answer in self._waiting:
            self._waiting.remove(answer)

    def _free(self, answer: _Answer) -> None:
        """Free the row of `answer`; the last one moves there."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        row, last = self._rows.index(answer), len(self._rows) - 1
        moved = self._rows.pop()
        if row != last:
            self._rows[row] = moved
            self._cache.take(row, self._cache, last, self._length(last))
        self._cache.give_back(last)

    def _length(self, row: int) -> int:
        """Tokens that the cache holds of a row."""
        return int(self._cache.lengths[row])

    def _view(self, start: int, stop: int) -> Cache:
        """Rows [start, stop) of the cache, with a binding that is made once."""
        if (start, stop) not in self._views:
            self._views[start, stop] = self._cache.rows(start, stop)
        return self._views[start, stop]


@contextmanager
def _blaming(answers: list[_Answer]) -> Iterator[None]:
    """What fails within is the end of `answers`."""
    try:
        yield
    except EdgekitError as fault:
        for answer in answers:
            answer.fault = fault


def token_bytes(graph: Graph) -> int:
    """Bytes of one token's keys and values."""
    return 2 * graph.dtype.itemsize * sum(map(prod, graph.shapes))
