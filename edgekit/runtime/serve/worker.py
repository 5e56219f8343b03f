"""The one thread that asks the model, and the bounded queue before it.

Each text is run by itself, so waiting to fill a batch would gain nothing: dynamic INT8 finds one activation range for a whole
batch, and an answer would depend on its neighbours. A language model keeps one cache and uses every core, so it too
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
from typing import Any

from edgekit.runtime.serve.message import Refusal

__all__ = ["Job", "Steps", "Worker"]

Steps = Generator[Any, None, None]
"""Work in pieces: after each the worker looks whether anybody still waits; None is no piece, only such a moment."""


class Job:
    """Work of one request: `steps` run in the worker's thread, what they yield arrives here, in the loop's."""

    def __init__(self, worker: Worker, steps: Steps) -> None:
        self.steps = steps
        self.gone = False
        """Whether nobody waits for the rest; the worker stops after the step it is at."""
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._made: asyncio.Queue[tuple[Any, BaseException | None]] = asyncio.Queue()

    def __aiter__(self) -> Job:
        return self

    async def __anext__(self) -> Any:
        """The next thing made.

        Raises:
            Exception: what the steps raised.
        """
        made, fault = await self._made.get()
        if fault is not None:
            raise fault
        return made

    def cancel(self) -> None:
        """Give up its place in the queue, or the rest of its steps; nothing where it is done."""
        self.gone = True
        self._worker.forget(self)

    def give(self, made: Any, fault: BaseException | None = None) -> None:
        """Hand on, from the worker's thread."""
        try:
            self._loop.call_soon_threadsafe(self._made.put_nowait, (made, fault))
        except RuntimeError:  # the loop has ended, and with it whoever waited
            self.gone = True


class Worker:
    """A thread that works on jobs in the order they came."""

    def __init__(self, places: int) -> None:
        """`places`: jobs that may wait."""
        self.places = places
        self._waiting: deque[Job] = deque()
        self._change = threading.Condition()
        self._over = False
        self._mean = 0.0
        """Seconds of a job, smoothed."""
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    def submit(self, steps: Steps) -> Job:
        """Put work in the queue; call it in an event loop.

        Raises:
            Refusal: 503 where the queue is full, with the seconds after which there may be room.
        """
        job = Job(self, steps)
        with self._change:
            if len(self._waiting) >= self.places:
                wait = min(60, max(1, math.ceil(self._mean * self.places / 2)))
                raise Refusal(
                    503, f"all {self.places} places in the queue are taken", fix=f"ask again in {wait} s",
                    headers={"retry-after": str(wait)},
                )  # fmt: skip
            self._waiting.append(job)
            self._change.notify()
        return job

    def forget(self, job: Job) -> None:
        """Take `job` out of the queue, if it is still there."""
        with self._change:
            if job in self._waiting:
                self._waiting.remove(job)

    def close(self, seconds: float) -> bool:
        """Forget what waits, and wait up to `seconds` for the step at hand; True where the thread has ended."""
        with self._change:
            self._over = True
            for job in self._waiting:
                job.gone = True
            self._change.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._waiting:
                    if self._over:
                        return
                    self._change.wait()
                job = self._waiting.popleft()
            started = time.monotonic()
            self._work(job)
            self._mean += 0.1 * (time.monotonic() - started - self._mean)

    def _work(self, job: Job) -> None:
        try:
            with closing(job.steps):  # a generation keeps its cache for the next prompt that begins alike
                while not (job.gone or self._over):
                    if (made := next(job.steps)) is not None:
                        job.give(made)
        except StopIteration:
            job.give(None, StopAsyncIteration())
        except Exception as fault:  # it belongs to the request; the next one is answered whatever it was
            job.give(None, fault)
