"""The standard streams of a command, in whatever state it was started: closed, a full disk, a reader that has gone.

What cannot be written to standard error changes nothing of what a command does. A result that cannot be written ends it.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from edgekit.runtime.errors import BadInput, NotPossibleHere

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["ReaderGone", "settle"]


class ReaderGone(Exception):
    """Nobody reads standard output any more, as after `| head`: no fault, and no reason to go on."""


def settle(*, prints: bool) -> None:
    """Make the standard streams fit for a command, once, before it opens any file. `prints`: whether its result goes to standard output.

    Raises:
        BadInput: standard output is closed, and the result goes there.
    """
    _take_closed_numbers()
    if sys.stderr is None:  # print would write to standard output instead
        sys.stderr = _Nowhere()
    if sys.stdout is None and prints:
        raise BadInput(
            "standard output is closed, and the result goes there",
            fix="send it to a file, or to /dev/null where it is not wanted",
        )
    if sys.__stderr__ is not None and sys.stderr is sys.__stderr__:
        sys.stderr = _renewed(sys.__stderr__, lambda fault: None)
    if sys.__stdout__ is not None and sys.stdout is sys.__stdout__:
        sys.stdout = _renewed(sys.__stdout__, _refuse)


def _take_closed_numbers() -> None:
    """Open the null device in the place of closed standard streams: the next file would get their number, and whatever a library prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free


def _refuse(fault: OSError) -> None:
    if isinstance(fault, BrokenPipeError):
        raise ReaderGone from None
    raise NotPossibleHere(
        f"cannot be written: {fault.strerror}", where="standard output", fix="free some space there, or send it somewhere else"
    ) from None


def _renewed(stream: TextIO, lost: Callable[[OSError], None]) -> TextIO:
    """A stream that writes where `stream` does; `lost` hears of what cannot be written, and all that follows is dropped.

    A character that its encoding does not have is written as an escape, rather than ending the command.
    """
    with suppress(OSError):
        stream.flush()
    errors = "backslashreplace" if stream.errors == "strict" else stream.errors
    written = io.BufferedWriter(_Descriptor(stream.fileno(), lost))
    lines = stream.isatty() or stream is sys.__stderr__
    return io.TextIOWrapper(written, stream.encoding, errors, line_buffering=lines, write_through=stream is sys.__stderr__)


class _Nowhere(io.TextIOBase):
    """Takes whatever is written."""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        return len(text)


class _Descriptor(io.RawIOBase):
    """A descriptor for writing that another owns."""

    def __init__(self, number: int, lost: Callable[[OSError], None]) -> None:
        self._number = number
        self._lost = lost
        self._dropped = False

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        while not self._dropped:
            try:
                return os.write(self._number, data)
            except BlockingIOError:  # whoever shares it made it so
                select.select([], [self._number], [])
            except OSError as fault:
                self._dropped = True
                self._lost(fault)
        return memoryview(data).nbytes
