"""Several tokens in one run, without a change of any: guesses of the next ones are read together with the last, and kept as far as they were right.

A run of k rows over one shared cache gives the logits that k runs of one token would give, bit for bit (`shared.py`). So each token is
chosen by its own logits, as without guesses: by the same sampler, with the same random number, after the same constraints and penalties.
A guess is right where it is the token that was chosen, which is the rejection rule of Leviathan et al. (2023) and Chen et al. (2023) for
guesses that are certain of themselves: one is accepted with the probability that the model gives it, and what is chosen instead
has the model's distribution without it. What was read beyond the first wrong guess is forgotten by setting the cache's length.

Guesses are looked up in the text so far (`lookup.py`), or made by a small model where nothing is found there (`draft.py`). The widths that are
run are those of which the tokens to be expected, by how often guesses with so many tokens in common, or of which the small model was
so sure, were right, are worth more than the run costs, in time of the processor, which others that use it do not change much. Looked up guesses
are compared with what is said even while none is read, which costs microseconds; what the small model's cost, and what a wrong guess does,
comes out of a small share of the time of all tokens. Before a width is used, the last tokens are read again by it: other bits end it for good.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from edgekit.runtime.bundle.onnx_file import GraphFile
from edgekit.runtime.errors import NotPossibleHere
from edgekit.runtime.forks import renew_in_children
from edgekit.runtime.generate.answer import Answer
from edgekit.runtime.generate.cache import Cache
from edgekit.runtime.generate.draft import SURE, Draft, Drafter, sureness
from edgekit.runtime.generate.graph import Graph
from edgekit.runtime.generate.lookup import LEVELS, Lookup, level
from edgekit.runtime.generate.neighbours import unlike_beside
from edgekit.runtime.generate.shared import SharedCache
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["Reader", "Speculation", "unlike_alone"]

WIDTHS = (2, 3, 4, 6, 8)
"""Rows of a run. A width has kernels of its own, so each is proved and timed by itself."""
GUESSED_COST = 0.35
"""Of each further row, as a share of the first one's time, before it was timed (measured: 0.1 to 0.4, INT4 and INT8, 1 and 2 threads)."""
WORTH = 1.04
"""Tokens a run of several rows must be expected to give, in those of runs of one that take as long."""
UNKNOWN, WEIGHT = 0.3, 2.0
"""How often a guess is right with the fewest tokens in common before any was compared, and how many comparisons that counts as."""
MEMORY = 0.97
"""What remains of a comparison's weight with each that follows."""
SHARE, LEAST, MOST = 0.005, 4.0, 10.0
"""Most time that guesses of one kind may lose, as a share of what all tokens take, and in tokens at the beginning and after a good time."""
EACH_TIMED = 4
"""Runs of one token, of which one is timed, as asking the clock twice costs a thousandth of a small model's."""
TO_READ = 4
"""Tokens of a prompt that the small model may have to read for each one that is still to be said."""
SINK = 11
"""Position of the sink among attention's inputs."""


class Odds:
    """How often guesses were right, by their level, the recent ones counting more."""

    def __init__(self, before: Sequence[float] | None) -> None:
        """`before`: by level, what is thought where none was compared; None: what holds for the level below."""
        self._before = before
        self._right, self._compared = ([0.0] * (LEVELS if before is None else len(before)) for _ in range(2))

    def add(self, place: int, *, right: bool) -> None:
        """Take note of a guess of the level `place`."""
        self._right[place] = self._right[place] * MEMORY + right
        self._compared[place] = self._compared[place] * MEMORY + 1

    def of_others(self) -> Odds:
        """The same, counting as much as a few comparisons: for an answer that may be unlike the others."""
        odds = Odds(self._before)
        for place, (right, compared) in enumerate(zip(self._right, self._compared, strict=True)):
            weight = min(1.0, 2 * WEIGHT / max(compared, 1e-9))
            odds._right[place], odds._compared[place] = weight * right, weight * compared
        return odds

    def chances(self) -> list[float]:
        """By level, how often a guess is right."""
        found, fewer = [], UNKNOWN
        for place, (right, compared) in enumerate(zip(self._right, self._compared, strict=True)):
            fewer = self._before[place] if self._before is not None else fewer
            fewer = (right + WEIGHT * fewer) / (compared + WEIGHT)
            found.append(fewer)
        return found


@dataclass
class Kind:
    """What is known of guesses of one kind, over all answers."""

    odds: Odds
    balance: float = LEAST
    """Runs of one token that may yet be lost."""

    def spend(self, tokens: float) -> None:
        """Add to the balance what was won, or lost where it is negative; one long wait for another process does not end guesses for good."""
        self.balance = max(-MOST, min(self.balance + tokens, MOST))


def _kinds() -> tuple[Kind, Kind]:
    """Of (looked up guesses, the small model's)."""
    return Kind(Odds(None)), Kind(Odds(SURE))


class Speculation:
    """What is known of runs of several rows of one model on this machine, over all its answers; any number of threads may use it."""

    def __init__(self, graph: Graph, fault: str | None = None, draft: Draft | None = None) -> None:
        """`draft`: what guesses where nothing is looked up."""
        self.graph, self.draft = graph, draft
        self.fault = fault
        """Why no more runs of several rows are made."""
        self.proved: set[int] = set()
        """Widths that gave the bits of single runs."""
        self.likeliest, self.drawn = _kinds(), _kinds()
        """Of answers whose tokens are the likeliest ones, and of those that are drawn, of which fewer are guessed."""
        self.guessing = Mean()
        """Seconds of one guess of the small model."""
        self._seconds = {width: Mean() for width in (1, *WIDTHS)}
        self._spare: SharedCache | None = None
        self._lock = Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: a lock that no thread of the parent holds, and none of its memory."""
        self._lock, self._spare = Lock(), None

    def told(self, answer: Answer) -> JsonObject:
        """What `answer` owes to guesses, as a JSON object: "off" says why there are no more."""
        counts: JsonObject = {"drafted": answer.drafted, "accepted": answer.accepted}
        return counts if self.fault is None else {**counts, "off": self.fault}

    @property
    def clocked(self) -> bool:
        """Whether it is known what a run of one takes."""
        return self._seconds[1].value > 0

    def cost(self, width: int) -> float:
        """Time of a run of `width` rows, in runs of one."""
        guessed = 1 + GUESSED_COST * (width - 1)
        return max(1.0, self.in_runs(self._seconds[width].value)) if self._seconds[width].value else guessed

    def in_runs(self, seconds: float) -> float:
        """`seconds` in runs of one."""
        return seconds / self._seconds[1].value if self._seconds[1].value else 0.0

    def timed(self, width: int, seconds: float) -> float:
        """Take note of a run; returns its time in runs of one."""
        self._seconds[width].add(seconds)
        return min(self.in_runs(seconds), 3 * self.cost(width))  # not as long as another process may have taken the core

    def further(self) -> float:
        """Time of one more row, in runs of one."""
        return (self.cost(4) - 1) / 3

    def ready(self, kind: Kind) -> bool:
        """Whether a run of several rows may be made now, with guesses of this kind."""
        return self.fault is None and kind.balance > 0 and self.clocked

    def forget_slow(self) -> None:
        """Let widths that were slow be tried again in time: another process may have been at work."""
        for width in WIDTHS:
            guessed = (1 + GUESSED_COST * (width - 1)) * self._seconds[1].value
            self._seconds[width].towards(guessed)

    def memory(self, capacity: int) -> SharedCache:
        """Memory for `capacity` tokens, to be given back.

        Raises:
            NotPossibleHere: as `SharedCache`.
        """
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is None or spare.capacity < capacity:
            return SharedCache(self.graph.shapes, self.graph.dtype, capacity, WIDTHS[-1])
        spare.held = True
        return spare

    def give_back(self, memory: SharedCache) -> None:
        """Keep `memory` for the next answer."""
        memory.held = False
        with self._lock:
            self._spare = memory


class Reader:
    """Reads one answer's tokens, and guesses of those to come."""

    def __init__(self, known: Speculation, ids: Sequence[int], limit: int, cache: Cache, *, drawn: bool = False) -> None:
        """`ids`: the prompt, which `cache`, of one row, holds, and from now on the answer, at most `limit` in all, of tokens that are `drawn`, or
        the likeliest ones."""
        self.cache = cache
        """What holds all ids but the last one, whenever a token is to be chosen."""
        self.drafted = 0
        """Guesses that were read with the last token."""
        self.accepted = False
        """Whether the last token was a guess that was right."""
        self._known, self._ids, self._limit = known, ids, limit
        self._lookup = Lookup(ids)
        self._drafter = Drafter(known.draft, ids, limit) if known.draft is not None and known.draft.reads(ids) else None
        self._begin = len(ids)
        """Where the ids begin that were read by runs of one token each."""
        self._kinds = self._looked, self._sure = known.drawn if drawn else known.likeliest
        self._looked_here, self._sure_here = self._looked.odds.of_others(), self._sure.odds.of_others()
        self._shared: SharedCache | None = None
        self._guess: list[int] = []
        self._kind = self._looked
        """Of the guess."""
        self._next: deque[tuple[int, int]] = deque()
        """(token, level) of the small model's guesses of the next tokens, those too that were not worth a run."""
        self._ahead: np.ndarray | None = None
        """Logits of the last run's rows."""
        self._row = 0

    def logits(self) -> np.ndarray:
        """Logits float32 (vocabulary,) after all ids, of which the last one has just been added.

        Raises:
            CheckFailed: as `Graph.run`.
        """
        ids, known = self._ids, self._known
        self.drafted, self.accepted = 0, False
        self._compare()
        if self._ahead is not None:
            if self._row < len(self._guess) and self._guess[self._row] == ids[-1]:
                self._row += 1
                self.accepted = True
                self._kind.spend(1)
                self._earn()
                chosen_by: np.ndarray = self._ahead[self._row]
                return chosen_by
            self._ahead = None
        self.cache.lengths[0] = len(ids) - 1
        guess, self._kind = self._guesses()
        if not guess:
            return self._one()
        return self._wide(guess) if 1 + len(guess) in known.proved else self._proof(1 + len(guess))

    def _compare(self) -> None:
        """Take note of which guesses of the last token were right, whether they were read or not."""
        for place, right in self._lookup.follow():
            for odds in (self._looked_here, self._looked.odds):
                odds.add(place, right=right)
        if self._next:
            token, place = self._next.popleft()
            right = token == self._ids[-1]
            for odds in (self._sure_here, self._sure.odds):
                odds.add(place, right=right)
            if not right:
                self._next.clear()

    def _earn(self) -> None:
        """Of every token a share may be lost."""
        for kind in self._kinds:
            if kind.balance < MOST:
                kind.spend(SHARE)

    def read(self, tokens: np.ndarray, keep: int) -> np.ndarray:
        """As `Graph.run` of `tokens` int64 (1, n), the last id and those that are certain to be added next, on top of all ids before it."""
        self.drafted, self.accepted, self._ahead = 0, False, None
        self._next.clear()
        self.cache.lengths[0] = len(self._ids) - 1
        self._begin = len(self._ids) + tokens.size - 1  # what was read so has other bits than by single runs
        return self._known.graph.run(tokens, self.cache, keep)

    def close(self) -> None:
        """Give the memory back."""
        if self._shared is not None:
            self._known.give_back(self._shared)
            self._shared = None
        if self._drafter is not None:
            self._drafter.close()

    def _one(self) -> np.ndarray:
        known, tokens, read = self._known, np.array([self._ids[-1:]]), len(self._ids) - self._begin
        self._earn()
        timed = read % EACH_TIMED == 0 or not known.clocked
        start = time.thread_time() if timed else 0.0
        logits: np.ndarray = known.graph.run(tokens, self.cache)[0, 0]
        if timed:
            known.timed(1, time.thread_time() - start)
        if read % 64 == 0:
            known.forget_slow()
        return logits

    def _wide(self, guess: list[int]) -> np.ndarray:
        """The logits after the last token, from a run that reads guesses with it."""
        shared = self._share()
        if shared is None:
            return self._one()
        self._guess, width, start = guess, 1 + len(guess), time.thread_time()
        first_here = shared.rows(width).binding is None  # which maps pages and plans memory, once
        self._ahead = self._run(shared, [self._ids[-1], *guess], len(self._ids) - 1)
        seconds = time.thread_time() - start
        self._kind.spend(1 - (self._known.cost(width) if first_here else self._known.timed(width, seconds)))
        self._earn()
        self._row, self.drafted = 0, len(guess)
        first: np.ndarray = self._ahead[0]
        return first

    def _proof(self, width: int) -> np.ndarray:
        """The logits after the last token, from a run of one; the last `width` tokens are then read again in one run, which must give the same."""
        logits, shared = self._one(), self._share()
        if shared is None:
            return logits
        first, last = len(self._ids) - width, len(self._ids)
        arrays = [array[0, :, first:last] for array in (*self.cache.keys, *self.cache.values)]
        before = [array.copy() for array in arrays]
        start = time.thread_time()
        again = self._run(shared, self._ids[first:last], first)[-1]
        self._known.timed(width, time.thread_time() - start)
        if again.tobytes() == logits.tobytes() and all(map(_same_bits, arrays, before)):
            self._known.proved.add(width)
        else:
            self._known.fault = f"on this machine a run of {width} rows does not give the bits of {width} runs of one"
            for array, kept in zip(arrays, before, strict=True):
                array[:] = kept
        return logits

    def _run(self, shared: SharedCache, tokens: Sequence[int], length: int) -> np.ndarray:
        """Logits (len(tokens), vocabulary) after each of `tokens`, read on top of the first `length`."""
        rows = shared.rows(len(tokens))
        rows.lengths[:] = length + np.arange(len(tokens))
        return self._known.graph.run(np.array(tokens)[:, None], rows)[:, 0]

    def _share(self) -> SharedCache | None:
        """The memory that several rows are read over, into which the cache moves the first time; None where there is none."""
        if self._shared is None:
            try:
                self._shared = self._known.memory(self.cache.capacity)
            except NotPossibleHere as fault:
                self._known.fault = fault.what
                return None
            start, one = time.thread_time(), self._shared.rows(1)
            used = one.binding is not None  # the first time its pages are mapped, once
            one.take(0, self.cache, 0, int(self.cache.lengths[0]))
            self.cache = one
            if used:
                self._kind.spend(-self._known.in_runs(time.thread_time() - start))
        return self._shared if self._shared.width > 1 else None  # a forked child's is its own, and of one row

    def _guesses(self) -> tuple[list[int], Kind]:
        """The guesses that are worth reading with the last token, and their kind: those that are looked up come first, which cost nothing."""
        known, most = self._known, min(WIDTHS[-1], self._limit - len(self._ids)) - 1
        if self._lookup.at and known.ready(self._looked):
            chances, same = self._looked_here.chances(), self._lookup.same
            width = self._width([chances[level(same + further)] for further in range(most)])
            if width > 1:
                return self._lookup.guess(width - 1), self._looked
        if (
            self._drafter is not None
            and known.ready(self._sure)
            and self._drafter.behind <= TO_READ * (self._limit - len(self._ids))
        ):
            guess, expected = self._drafted(self._drafter, min(most, self._drafter.room()))
            return guess[: self._width(expected) - 1], self._sure
        return [], self._looked

    def _drafted(self, drafter: Drafter, most: int) -> tuple[list[int], list[float]]:
        """At most so many guesses of the small model, as long as one more is thought to pay, and how likely each is."""
        known, chances = self._known, self._sure_here.chances()
        guess, expected, together, before = list[int](), list[float](), 1.0, drafter.seconds
        self._next.clear()
        while len(guess) < most:
            alone, start = drafter.behind <= 1, drafter.seconds
            token, sure = drafter.guess(guess)
            if alone:
                known.guessing.add(drafter.seconds - start)
            place = sureness(sure)
            self._next.append((token, place))
            guess.append(token)
            expected.append(chances[place])
            together *= chances[place]
            if together * together ** (1 / len(guess)) < WORTH * (known.further() + known.in_runs(known.guessing.value)):
                break
        self._sure.spend(-known.in_runs(drafter.seconds - before))
        return guess, expected

    def _width(self, chances: Sequence[float]) -> int:
        """The rows that give the most tokens in their time, where guesses are as likely to be right as this; 1 where they are not worth it."""
        read = len(self._ids) - self._begin
        best, worth, expected, together = 1, WORTH, 1.0, 1.0
        for width, chance in enumerate(chances, 2):
            together *= chance
            expected += together
            usable = width in self._known.proved or (width in WIDTHS and width <= read)
            if usable and expected / self._known.cost(width) > worth:
                best, worth = width, expected / self._known.cost(width)
        return best


class Mean:
    """A running mean of seconds, the first of which warm up and are left out, and single long ones count as twice the mean."""

    def __init__(self) -> None:
        self.value = 0.0
        """0 where there is none yet."""
        self._count = 0

    def add(self, seconds: float) -> None:
        self._count += 1
        if self._count == 2:
            self.value = seconds
        elif self._count > 2:
            self.value += max(0.1, 1 / (self._count - 1)) * (min(seconds, 2 * self.value) - self.value)

    def towards(self, seconds: float) -> None:
        """Come down a quarter of the way, where it is above."""
        self.value -= max(0.0, self.value - seconds) / 4


def _same_bits(first: np.ndarray, second: np.ndarray) -> bool:
    return first.tobytes() == second.tobytes()


def unlike_alone(file: GraphFile, graph: Graph) -> str | None:
    """Why rows of one run over one memory need not be what they are alone, by the graph in `file` and the version of ONNX Runtime; None where they
    are."""
    if (fault := unlike_beside(file, graph)) is not None:
        return fault
    if graph.dtype == np.float16:
        return "attention over a float16 cache writes and reads it row by row"
    for node in file.nodes:
        if node.operator != "GroupQueryAttention":
            continue
        numbers = node.numbers
        if (
            numbers.get("softcap")
            or numbers.get("smooth_softmax")
            or any(node.inputs[SINK : SINK + 1])
            or len(node.outputs) > 3
        ):
            return "attention with a cap, a sink or its scores as an output writes and reads its cache row by row"
    return None
