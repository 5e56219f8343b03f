"""Many inputs on several cores: answered as each is by itself, in order, with no more of them in memory than are being worked on.

Every worker is a thread with a session of its own: ONNX Runtime and the tokenizer's look-ups leave Python to the other threads meanwhile, while
threads that share one session wait for its memory. What two cores gain is in benchmarks/text_to_answer. A process instead of a thread would take
as long to start as a thousand texts to answer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from edgekit.runtime.errors import EdgekitError

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["CHUNK_SECONDS", "LARGEST_CHUNK", "attempted", "each_answered"]

W = TypeVar("W")
Item = TypeVar("Item")
A = TypeVar("A")
CHUNK_SECONDS = 0.03
"""Work that is handed over at once: handing over takes some 50 microseconds, as much as a small model's answer, and among as many short texts
there are several of one length."""
LARGEST_CHUNK = 256
"""Inputs."""
AHEAD = 2
"""Chunks that wait or are worked on, for each worker."""
SMOOTHING = 0.2


def _always() -> bool:
    return True


def attempted(answer: Callable[..., A], *given: Any) -> A | EdgekitError:
    """What `answer` makes of what it is given; where it refuses that or fails on it, the fault."""
    try:
        return answer(*given)
    except EdgekitError as fault:
        return fault


def each_answered(
    workers: Sequence[W],
    answer: Callable[[W, Sequence[Item]], list[A | EdgekitError]],
    items: Iterable[Item],
    *,
    joins: bool = False,
    ready: Callable[[], bool] = _always,
) -> Generator[A | EdgekitError, None, None]:
    """What `answer` makes of `items` by one of `workers`, in their order. It gets some at once, and gives an answer or a fault for each.

    With one worker, in this thread, an input at a time, or as many as a chunk has where it `joins` some of them. With several, `items` is read
    in this thread, as far ahead as the workers are busy.
    `ready`: whether the next of `items` comes without waiting for it; where it does not, what was read is answered first.
    Closing the iterator, as an exception does that ends the loop over it, waits for what is being worked on and starts no more.
    """
    if len(workers) == 1:
        yield from _in_this_thread(workers[0], answer, iter(items), joins, ready)
        return
    from concurrent.futures import ThreadPoolExecutor  # here alone: loading a model does without
    from queue import SimpleQueue

    free: SimpleQueue[W] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def work(chunk: list[Item]) -> tuple[list[A | EdgekitError], float]:
        worker = free.get()
        begun = time.perf_counter()
        try:
            return answer(worker, chunk), (time.perf_counter() - begun) / len(chunk)
        finally:
            free.put(worker)

    given = iter(items)
    waiting: deque[Future[tuple[list[A | EdgekitError], float]]] = deque()
    seconds, ended = 0.0, False
    limit = AHEAD * len(workers)
    pool = ThreadPoolExecutor(len(workers), thread_name_prefix="answers")
    try:
        while waiting or not ended:
            while not ended and len(waiting) < limit and not (waiting and (waiting[0].done() or not ready())):
                chunk = _chunk(given, _most(seconds), ready)
                ended = not chunk
                if chunk:
                    waiting.append(pool.submit(work, chunk))
            if waiting:
                answers, taken = waiting.popleft().result()
                seconds = _smoothed(seconds, taken)
                yield from answers
    finally:
        pool.shutdown(cancel_futures=True)


def _in_this_thread(
    worker: W,
    answer: Callable[[W, Sequence[Item]], list[A | EdgekitError]],
    items: Iterator[Item],
    joins: bool,
    ready: Callable[[], bool],
) -> Generator[A | EdgekitError, None, None]:
    seconds = 0.0
    while chunk := _chunk(items, _most(seconds) if joins else 1, ready):
        begun = time.perf_counter()
        answers = answer(worker, chunk)
        seconds = _smoothed(seconds, (time.perf_counter() - begun) / len(chunk))
        yield from answers


def _most(seconds: float) -> int:
    """Inputs of a chunk, of which each takes so long; 0.0: nobody knows yet."""
    return max(1, min(LARGEST_CHUNK, round(CHUNK_SECONDS / seconds))) if seconds else 1


def _smoothed(seconds: float, taken: float) -> float:
    return seconds + SMOOTHING * (taken - seconds) if seconds else taken


def _chunk(items: Iterator[Item], most: int, ready: Callable[[], bool]) -> list[Item]:
    """The next of `items`, `most` of them, or as many as came in the time that a chunk takes and without waiting; none at their end."""
    chunk: list[Item] = []
    until = time.monotonic() + CHUNK_SECONDS
    for item in items:
        chunk.append(item)
        if len(chunk) == most or time.monotonic() > until or not ready():
            break
    return chunk
