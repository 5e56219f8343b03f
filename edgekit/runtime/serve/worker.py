"""The one thread that runs the model, and its bounded queue.

There is no batching across requests. Dynamic INT8 finds one activation range for a whole batch, so an answer would depend on the other texts: of
330 texts in batches all had another answer than alone, by up to 0.8 in a logit. In fp32 the last bit depended on the batch's size with one of two
models; only static INT8 gave the same bits (benchmarks/serve/batching.json). A language model keeps one cache and uses every core, so it too
answers one request after another.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import closing
from typing import Any, Generic, TypeAlias, TypeVar, cast

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.serve.message import Refusal

__all__ = ["Job", "Steps", "Worker", "out_of_order"]

LONGEST_FAULT = 200
"""Characters of another library's message."""
T = TypeVar("T")
Steps: TypeAlias = Generator[T | None, None, None]
"""Work in steps, each of which yields a result, or None. Between steps the worker checks whether the job was cancelled."""


class Job(Generic[T]):
    """Work of one request: `steps` run in the worker's thread; iterate over their results in the event loop's."""

    def __init__(self, worker: Worker, steps: Steps[T], *, whole: bool) -> None:
        """`whole`: the results are given all at once, at the end: waking the event loop costs as much as a small model's answer."""
        self.steps = steps
        self.held: list[T] | None = [] if whole else None
        """Results to be given at the end."""
        self.cancelled = False
        """Whether nobody waits for the rest; the worker stops after the current step."""
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._results: asyncio.Queue[tuple[T | list[T] | None, Exception | None]] = asyncio.Queue()

    def __aiter__(self) -> Job[T]:
        return self

    async def __anext__(self) -> T:
        """The next result.

        Raises:
            Exception: what the steps raised.
        """
        result, fault = await self._results.get()
        if fault is not None:
            raise fault
        return cast(T, result)

    async def all(self) -> list[T]:
        """All results of a job that gives them as a `whole`.

        Raises:
            Exception: what the steps raised.
        """
        result, fault = await self._results.get()
        if fault is not None:
            raise fault
        return cast("list[T]", result)

    def cancel(self) -> None:
        """Leave the queue, or skip the remaining steps; no effect on a job that is done."""
        self.cancelled = True
        self._worker.forget(self)

    def give(self, result: T) -> None:
        """Hand a result over, from the worker's thread."""
        if self.held is None:
            self._put((result, None))
        else:
            self.held.append(result)

    def finish(self) -> None:
        """There are no more results, from the worker's thread."""
        self._put((None, StopAsyncIteration()) if self.held is None else (self.held, None))

    def fail(self, fault: Exception) -> None:
        """End the iteration with `fault`, from the worker's thread."""
        self._put((None, fault))

    def _put(self, item: tuple[T | list[T] | None, Exception | None]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._results.put_nowait, item)
        except RuntimeError:  # the loop has ended, and with it whoever waited
            self.cancelled = True


class Worker:
    """A thread that does jobs in the order of their arrival, and survives whatever they raise."""

    def __init__(self, capacity: int, step_seconds: float = math.inf) -> None:
        """`capacity`: most jobs in the queue. `step_seconds`: a step that takes longer does not end."""
        self.capacity = capacity
        self.step_seconds = step_seconds
        self._waiting: deque[Job[Any]] = deque()
        self._change = threading.Condition()
        self._over = False
        self._mean = 0.0
        """Seconds of a job, exponentially smoothed."""
        self._current: Job[Any] | None = None
        self._step_began: float | None = None
        """When the step began that is being done."""
        self._fault: str | None = None
        """Why the thread has ended, though nobody closed it."""
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    @property
    def broken(self) -> str | None:
        """Why no further job will be done; None while all is well."""
        if self._fault is not None or (not self._over and not self._thread.is_alive()):
            return self._fault or "the model's thread has ended"
        began = self._step_began
        if began is not None and time.monotonic() - began > self.step_seconds:
            return f"a run of the model has not ended within {self.step_seconds:g} s"
        return None

    def submit(self, steps: Steps[T], *, whole: bool = False) -> Job[T]:
        """Put work in the queue; called in an event loop. `whole`: as in `Job`.

        Raises:
            Refusal: 503 where the queue is full, with the seconds after which there may be room, or where the worker is `broken`.
        """
        job = Job(self, steps, whole=whole)
        with self._change:
            if (fault := self.broken) is not None:
                raise out_of_order(fault)
            if len(self._waiting) >= self.capacity:
                wait = min(60, max(1, math.ceil(self._mean * self.capacity / 2)))
                raise Refusal(
                    503, f"the queue of {self.capacity} requests is full", fix=f"ask again in {wait} s",
                    headers={"retry-after": str(wait)},
                )  # fmt: skip
            self._waiting.append(job)
            self._change.notify()
        return job

    def forget(self, job: Job[Any]) -> None:
        """Take `job` out of the queue, if it is still there."""
        with self._change:
            if job in self._waiting:
                self._waiting.remove(job)

    def close(self, seconds: float) -> bool:
        """Cancel all jobs in the queue and wait up to `seconds` for the current step; True where the thread has ended."""
        with self._change:
            self._over = True
            for job in self._waiting:
                job.cancelled = True
            self._change.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def give_up(self) -> None:
        """Answer all jobs with why the worker is `broken`: 503."""
        refusal = out_of_order(self.broken or "the model's thread has ended")
        with self._change:
            jobs = [*([self._current] if self._current is not None else []), *self._waiting]
            self._waiting.clear()
        for job in jobs:
            job.fail(refusal)

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                started = time.monotonic()
                self._work(job)
                self._current = None
                self._mean += 0.1 * (time.monotonic() - started - self._mean)
        except BaseException as fault:  # not a job's: what it raises is caught where it is done
            self._fault = f"the model's thread has ended: {type(fault).__name__} {str(fault)[:LONGEST_FAULT]}".rstrip()
            self.give_up()

    def _next(self) -> Job[Any] | None:
        """The next job, as soon as there is one; None at the end."""
        with self._change:
            while not self._waiting:
                if self._over:
                    return None
                self._change.wait()
            self._current = self._waiting.popleft()
            return self._current

    def _work(self, job: Job[T]) -> None:
        try:
            with closing(job.steps):  # closing a generation keeps its cache for a later prompt with the same beginning
                while not (job.cancelled or self._over):
                    self._step_began = time.monotonic()
                    if (result := next(job.steps)) is not None:
                        job.give(result)
        except StopIteration:
            job.finish()
        except Exception as fault:  # it fails this request, whatever it is; the next one is answered
            job.fail(fault)
        except BaseException as fault:  # a panic of the tokenizers library is no Exception; in this thread nothing else may be
            job.fail(
                CheckFailed(f"the model's code failed on this input: {type(fault).__name__}: {str(fault)[:LONGEST_FAULT]}")
            )
        finally:
            self._step_began = None


def out_of_order(fault: str) -> Refusal:
    """The refusal of a request that can no longer be answered, because of `fault`."""
    return Refusal(
        503, f"out of order: {fault}", fix="send it to another server; this one ends", headers={"retry-after": "5"}, close=True
    )
