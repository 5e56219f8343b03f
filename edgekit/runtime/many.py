"""Many inputs on several cores: each answered by itself, in order, with no more of them in memory than are being worked on.

Every worker is a thread with a session of its own: ONNX Runtime and the tokenizer's look-ups leave Python to the other threads meanwhile, while
threads that share one session wait for its memory. What two cores gain is in benchmarks/text_to_answer. A process instead of a thread would take
as long to start as a thousand texts to answer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from edgekit.runtime.errors import EdgekitError

__all__ = ["CHUNK_SECONDS", "LARGEST_CHUNK", "each_answered"]

W = TypeVar("W")
Item = TypeVar("Item")
A = TypeVar("A")
CHUNK_SECONDS = 0.01
"""Work that is handed over at once: handing over takes some 50 microseconds, as much as a small model's answer."""
LARGEST_CHUNK = 256
"""Inputs."""
AHEAD = 2
"""Chunks that wait or are worked on, for each worker."""
SMOOTHING = 0.2


def _always() -> bool:
    return True


def each_answered(
    workers: Sequence[W], answer: Callable[[W, Item], A], items: Iterable[Item], *, ready: Callable[[], bool] = _always
) -> Generator[A | EdgekitError, None, None]:
    """What `answer` makes of each of `items` by one of `workers`, in their order; of one that it refuses or fails on, the fault.

    With one worker, in this thread, an input at a time. With several, `items` is read in this thread, as far ahead as the workers are busy.
    `ready`: whether the next of `items` comes without waiting for it; where it does not, what was read is answered first.
    Closing the iterator, as an exception does that ends the loop over it, waits for what is being worked on and starts no more.
    """
    if len(workers) == 1:
        yield from (_answered(workers[0], answer, item) for item in items)
        return
    free: SimpleQueue[W] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def work(chunk: list[Item]) -> tuple[list[A | EdgekitError], float]:
        worker = free.get()
        begun = time.perf_counter()
        try:
            return [_answered(worker, answer, item) for item in chunk], (time.perf_counter() - begun) / len(chunk)
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
                most = max(1, min(LARGEST_CHUNK, round(CHUNK_SECONDS / seconds))) if seconds else 1
                chunk = _chunk(given, most, ready)
                ended = not chunk
                if chunk:
                    waiting.append(pool.submit(work, chunk))
            if waiting:
                answers, taken = waiting.popleft().result()
                seconds = seconds + SMOOTHING * (taken - seconds) if seconds else taken
                yield from answers
    finally:
        pool.shutdown(cancel_futures=True)


def _answered(worker: W, answer: Callable[[W, Item], A], item: Item) -> A | EdgekitError:
    try:
        return answer(worker, item)
    except EdgekitError as fault:
        return fault


def _chunk(items: Iterator[Item], most: int, ready: Callable[[], bool]) -> list[Item]:
    """The next of `items`, `most` of them, or as many as came in the time that a chunk takes and without waiting; none at their end."""
    chunk: list[Item] = []
    until = time.monotonic() + CHUNK_SECONDS
    for item in items:
        chunk.append(item)
        if len(chunk) == most or time.monotonic() > until or not ready():
            break
    return chunk
