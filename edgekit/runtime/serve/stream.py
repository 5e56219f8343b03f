"""A response in parts. It ends once, complete or not, and then the work that makes its parts is cancelled."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

__all__ = ["LEFT", "Stream"]

LEFT = 499
"""The status that the metrics count where the client left before the response was complete."""


class Work(Protocol):
    """The work that makes the parts."""

    def cancel(self) -> None:
        """Skip the rest; no effect on work that is done."""
        ...


class Stream:
    """Iterate over its parts; close it in any case, because a generator that was never started does not clean up."""

    def __init__(self, parts: AsyncGenerator[bytes, None], work: Work, fault: Callable[[Exception], tuple[int, bytes]]) -> None:
        """`fault` gives the status and the last part for an exception of `work`."""
        self._parts = parts
        self._work = work
        self._fault = fault
        self.over: Callable[[int], None] = lambda status: None
        """Called once, at the end, with the status."""
        self._status = 0

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        """The next part."""
        if self._status:
            raise StopAsyncIteration
        try:
            return await anext(self._parts)
        except StopAsyncIteration:
            self._end(200)
            raise
        except Exception as fault:
            status, part = self._fault(fault)
            self._end(status)
            return part

    async def part(self) -> bytes:
        """The next part; empty at the end."""
        return await anext(self, b"")

    async def aclose(self) -> None:
        """Cancel the work where it is not done."""
        self._work.cancel()
        await self._parts.aclose()
        self._end(LEFT)

    def _end(self, status: int) -> None:
        if not self._status:
            self._status = status
            self.over(status)
