"""A response that comes in parts: it ends once, whole or not, and its work ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

__all__ = ["LEFT", "Stream"]

LEFT = 499
"""The status that is counted where the client left before its answer was whole."""


class Work(Protocol):
    """What makes the parts."""

    def cancel(self) -> None:
        """Give up what is left of it; nothing where it is done."""
        ...


class Stream:
    """Iterate over its parts, and close it in any case: a generator that was never begun would not clean up."""

    def __init__(self, parts: AsyncGenerator[bytes, None], work: Work, fault: Callable[[Exception], tuple[int, bytes]]) -> None:
        """`fault` gives a status and a last part for what `work` raised."""
        self._parts = parts
        self._work = work
        self._fault = fault
        self.over: Callable[[int], None] = lambda status: None
        """Called once, with the status at the end."""
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

    async def part(self, gone: asyncio.Future[None]) -> bytes:
        """The next part; empty at the end.

        Raises:
            ConnectionError: the client is `gone` before there is one.
        """
        part = asyncio.ensure_future(anext(self, b""))
        try:
            await asyncio.wait((part, gone), return_when=asyncio.FIRST_COMPLETED)
            if not part.done():
                raise ConnectionResetError("the client left")
            return part.result()
        finally:
            part.cancel()
            await asyncio.gather(part, return_exceptions=True)

    async def aclose(self) -> None:
        """End the work, where it has not ended."""
        self._work.cancel()
        await self._parts.aclose()
        self._end(LEFT)

    def _end(self, status: int) -> None:
        if not self._status:
            self._status = status
            self.over(status)
