"""The one thread that runs the model, and its bounded queue.

Encoders answer one request after another. Dynamic INT8 finds one activation range for a whole batch, so an answer would depend on the other texts: of
330 texts in batches all had another answer than alone, by up to 0.8 in a logit. In fp32 the last bit depended on the batch's size with one of two
models; only static INT8 gave the same bits (benchmarks/serve/batching.json), where texts are of one length, which too few that wait together are
(waiting.json). A language model, whose rows have the bits that they have alone,
answers several requests together: their jobs take turns, each until it waits for a run, and then one run serves all of them.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.serve.message import Refusal

__all__ = ["Job", "Steps", "Worker", "out_of_order"]

LONGEST_FAULT = 200
"""Characters of another library's message."""
MOST_WAITING = 256
"""Results of a job that nobody has taken yet; with more it is not worked on, so that a client who reads slowly holds up itself alone."""
POLL = 0.02
"""Seconds between two looks at whether clients that read slowly have read."""
T = TypeVar("T")
Steps: TypeAlias = Generator[T | None, None, None]
"""Work in steps, each of which yields a result, or None: without one, or until the model was run for all jobs. Between steps the worker checks
whether the job was cancelled."""
_Item: TypeAlias = tuple[Any, Exception | None]
"""(a result, or all of them; or why there are no more)."""


class Together(Protocol):
    """What runs the model once for all jobs that wait for it."""

    @property
    def slots(self) -> int:
        """Jobs that are worked on at a time."""
        ...

    def step(self) -> bool:
        """Run it; False where no job waits."""
        ...


class Job(Generic[T]):
    """Work of one request: `steps` run in the worker's thread; iterate over their results in the event loop's."""

    def __init__(self, worker: Worker, steps: Steps[T], *, whole: bool) -> None:
        """`whole`: the results are given all at once, at the end: waking the event loop costs as much as a small model's answer."""
        self.steps = steps
        self.held: list[T] | None = [] if whole else None
        """Results to be given at the end."""
        self.cancelled = False
        """Whether nobody waits for the rest; the worker stops after the current step."""
        self.began = 0.0
        """When the worker took it from the queue."""
        self.loop = asyncio.get_running_loop()
        self.results: asyncio.Queue[_Item] = asyncio.Queue()
        self.sent: list[_Item] = []
        """Made since the event loop was woken last."""
        self._worker = worker
        self._bounded = worker.together is not None  # a job that is worked on alone would hold up all others
        self._given = self._taken = 0

    @property
    def behind(self) -> bool:
        """Whether so many results wait that no more are made until some are taken."""
        return self._bounded and self._given - self._taken >= MOST_WAITING

    def __aiter__(self) -> Job[T]:
        return self

    async def __anext__(self) -> T:
        """The next result.

        Raises:
            Exception: what the steps raised.
        """
        result, fault = await self.results.get()
        self._taken += 1
        if self._given - self._taken == MOST_WAITING // 2:
            self._worker.wake()
        if fault is not None:
            raise fault
        return cast(T, result)

    async def all(self) -> list[T]:
        """All results of a job that gives them as a `whole`.

        Raises:
            Exception: what the steps raised.
        """
        result, fault = await self.results.get()
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
            self._given += 1
            self.sent.append((result, None))
        else:
            self.held.append(result)

    def finish(self) -> None:
        """There are no more results, from the worker's thread."""
        self.sent.append((None, StopAsyncIteration()) if self.held is None else (self.held, None))

    def fail(self, fault: Exception) -> None:
        """End the iteration with `fault`, from the worker's thread."""
        self.sent.append((None, fault))


class Worker:
    """A thread that does jobs in the order of their arrival, and survives whatever they raise."""

    def __init__(self, capacity: int, step_seconds: float = math.inf) -> None:
        """`capacity`: most jobs in the queue. `step_seconds`: a step that takes longer does not end."""
        self.capacity = capacity
        self.step_seconds = step_seconds
        self.together: Together | None = None
        """What jobs wait for that yield None; None: they are done one after another. It is set before there are any."""
        self._waiting: deque[Job[Any]] = deque()
        self._running: list[Job[Any]] = []
        self._change = threading.Condition()
        self._over = False
        self._mean = 0.0
        """Seconds of a job, exponentially smoothed."""
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
    def running(self) -> int:
        """Jobs that are worked on."""
        return len(self._running)

    @property
    def broken(self) -> str | None:
        """Why no further job will be done; None while all is well."""
        if self._fault is not None or (not self._over and not self._thread.is_alive()):
            return self._fault or "the model's thread has ended"
        began = self._step_began
        if began is not None and time.monotonic() - began > self.step_seconds:
            return f"a run of the model has not ended within {self.step_seconds:g} s"
        return None

    def check_room(self) -> None:
        """Whether one more job could be put in the queue now.

        Raises:
            Refusal: 503 where the queue is full, with the seconds after which there may be room, or where the worker is `broken`.
        """
        if (fault := self.broken) is not None:
            raise out_of_order(fault)
        if len(self._waiting) >= self.capacity:
            wait = min(60, max(1, math.ceil(self._mean * self.capacity / 2 / self._width)))
            raise Refusal(
                503, f"the queue of {self.capacity} requests is full", fix=f"ask again in {wait} s",
                headers={"retry-after": str(wait)},
            )  # fmt: skip

    def submit(self, steps: Steps[T], *, whole: bool = False) -> Job[T]:
        """Put work in the queue; called in an event loop. `whole`: as in `Job`.

        Raises:
            Refusal: as `check_room`.
        """
        job = Job(self, steps, whole=whole)
        with self._change:
            self.check_room()
            self._waiting.append(job)
            self._change.notify()
        return job

    def forget(self, job: Job[Any]) -> None:
        """Take `job`, which is cancelled, out of the queue, if it is still there."""
        with self._change:
            if job in self._waiting:
                self._waiting.remove(job)
            self._change.notify()

    def wake(self) -> None:
        """A job is no longer `behind`."""
        with self._change:
            self._change.notify()

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
            jobs = [*self._running, *self._waiting]
            self._waiting.clear()
        for job in jobs:
            job.fail(refusal)
        _hand_over(jobs)

    @property
    def _width(self) -> int:
        """Most jobs that are worked on."""
        return 1 if self.together is None else self.together.slots

    def _run(self) -> None:
        try:
            idle = False
            while self._more(idle=idle):
                jobs = [*self._running]
                for job in [job for job in jobs if self._work(job)]:
                    self._running.remove(job)
                    self._mean += 0.1 * (time.monotonic() - job.began - self._mean)
                _hand_over(jobs)
                if self._running and self.together is not None:
                    idle = not self._step(self.together)
        except BaseException as fault:  # not a job's: what it raises is caught where it is done
            self._fault = f"the model's thread has ended: {type(fault).__name__} {str(fault)[:LONGEST_FAULT]}".rstrip()
            self.give_up()

    def _more(self, *, idle: bool) -> bool:
        """Take jobs from the queue as far as there is room, and wait until one of them can be worked on; False at the end. `idle`: those that were
        worked on wait for others, which wait for their clients."""
        with self._change:
            if idle and not self._over:
                self._change.wait(POLL)
            while True:
                if self._over:
                    self._waiting.clear()
                    return bool(self._running)
                while self._waiting and len(self._running) < self._width:
                    job = self._waiting.popleft()
                    job.began = time.monotonic()
                    self._running.append(job)
                if any(job.cancelled or not job.behind for job in self._running):
                    return True
                self._change.wait()

    def _work(self, job: Job[T]) -> bool:
        """Do what can be done of `job` before the model runs again; True where it is over."""
        try:
            while not (job.cancelled or self._over or job.behind):
                self._step_began = time.monotonic()
                result = next(job.steps)
                if result is not None:
                    job.give(result)
                if result is None or self.together is None:
                    return False
            if not (job.cancelled or self._over):
                return False
            job.steps.close()  # closing a generation keeps its cache for a later prompt with the same beginning, or frees its row
        except StopIteration:
            job.finish()
        except Exception as fault:  # it fails this request, whatever it is; the next one is answered
            job.fail(fault)
        except BaseException as fault:  # a panic of the tokenizers library is no Exception; in this thread nothing else may be
            job.fail(_failure(fault))
        finally:
            self._step_began = None
        return True

    def _step(self, together: Together) -> bool:
        """Run the model; False where nobody waited for it. What it raises fails all that did."""
        self._step_began = time.monotonic()
        try:
            return together.step()
        except BaseException as fault:
            failed, self._running = self._running, []
            for job in failed:
                job.fail(fault if isinstance(fault, Exception) else _failure(fault))
                job.steps.close()
            _hand_over(failed)
            return True
        finally:
            self._step_began = None


def _failure(fault: BaseException) -> CheckFailed:
    return CheckFailed(f"the model's code failed on this input: {type(fault).__name__}: {str(fault)[:LONGEST_FAULT]}")


def _hand_over(jobs: Sequence[Job[Any]]) -> None:
    """Give each job's event loop what was made for it, which wakes it once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job[Any]]] = {}
    for job in jobs:
        if job.sent:
            by_loop.setdefault(job.loop, []).append(job)
    for loop, own in by_loop.items():
        parts = [(job.results, job.sent) for job in own]
        for job in own:
            job.sent = []
        try:
            loop.call_soon_threadsafe(_put, parts)
        except RuntimeError:  # the loop has ended, and with it whoever waited
            for job in own:
                job.cancelled = True


def _put(parts: list[tuple[asyncio.Queue[_Item], list[_Item]]]) -> None:
    for results, items in parts:
        for item in items:
            results.put_nowait(item)


def out_of_order(fault: str) -> Refusal:
    """The refusal of a request that can no longer be answered, because of `fault`."""
    return Refusal(
        503, f"out of order: {fault}", fix="send it to another server; this one ends", headers={"retry-after": "5"}, close=True
    )
