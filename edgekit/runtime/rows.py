"""`run --jsonl`: a row of JSON in, a row of JSON out, for as many rows as there are, with a few of them in memory."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from codecs import BOM_UTF8
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, BinaryIO, TextIO, TypeVar

from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError
from edgekit.runtime.generate.command import chat_and_sampling
from edgekit.runtime.generate.model import as_prompt
from edgekit.runtime.items import at_terminal, cut_form, with_prompt
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.many import attempted, each_answered
from edgekit.runtime.model import Model
from edgekit.runtime.processors import processor
from edgekit.runtime.progress import Progress, silent
from edgekit.runtime.strict_json import strict_json
from edgekit.runtime.threads import Threads

__all__ = ["LONGEST_ROW", "answer_rows", "check_flags", "counter", "input_of", "parts_of", "run_rows"]

W = TypeVar("W")
LONGEST_ROW = 16 * 1024**2
"""Bytes of a line, at most."""
BLOCK = 64 * 1024
"""Bytes that are read at once."""
TOLD = 20
"""Faults that the end names; every row has its own."""
PROGRESS_SECONDS = 0.1
BAR, WIDTH = 20, 72
"""Characters of the bar, and of a whole line of progress."""


def run_rows(
    model: Model,
    flags: Mapping[str, object],
    *,
    workers: Threads,
    top_k: int | None = None,
    prompt_name: str | None = None,
    progress: Progress,
) -> EdgekitError | None:
    """Answer the rows of standard input on standard output by so many `workers`; see `answer_rows`. `flags`: of a language model, as given.

    Raises:
        BadInput: standard input is closed, or an argument that cannot be used.
    """
    if sys.stdin is None:
        raise BadInput("standard input is closed", fix="give rows of JSON there, one a line")
    task = model.bundle.manifest.task
    with_prompt([], prompt_name, task)
    if model.language is None:
        asked = model.asks(top_k)

        def answer(worker: Model, items: Sequence[Any]) -> list[JsonObject | EdgekitError]:
            given = [attempted(lambda item: with_prompt([item], prompt_name, task)[0], item) for item in items]
            sound = iter(worker.answer_all([item for item in given if not isinstance(item, EdgekitError)], asked))
            return [item if isinstance(item, EdgekitError) else next(sound) for item in given]
    else:
        chat, sampling = chat_and_sampling(model.language, flags)

        def alone(worker: Model, item: Any) -> JsonObject:
            assert worker.language is not None, "a worker is what the model is"
            prompt = as_prompt(item, chat=chat)
            return worker.language.with_calls(worker.language.generate([prompt], sampling)[0], prompt).document()

        def answer(worker: Model, items: Sequence[Any]) -> list[JsonObject | EdgekitError]:
            return [attempted(alone, worker, item) for item in items]

    joins = model.joined is not None
    return answer_rows(model.crew(workers), answer, parts_of(model), sys.stdin.buffer, sys.stdout, progress, joins=joins)


def check_flags(*, jsonl: bool, texts: Sequence[str] | None, as_json: bool, threads: str | None) -> None:
    """Refuse what has no meaning beside --jsonl, or --workers without it.

    Raises:
        BadInput: names it.
    """
    if not jsonl:
        raise BadInput("rows alone are shared out to workers", where="--workers", fix="give --jsonl and rows as standard input")
    if texts:
        raise BadInput("rows come as standard input", where="--jsonl", fix="leave the texts out, or leave --jsonl out")
    if as_json:
        raise BadInput("every row is a JSON document already", where="--json", fix="leave --json out")
    if threads is not None:
        raise BadInput("rows have a core each", where="--threads", fix="give --workers instead")


@contextmanager
def counter(stream: TextIO | None) -> Iterator[Progress]:
    """Progress as one line of the terminal `stream`, which is gone at the end; nothing where that is none."""
    if stream is None or not at_terminal(stream) or at_terminal(sys.stdout):
        yield silent
        return

    def update(done: float, total: float, text: str) -> None:
        share = min(1.0, done / total) if total else 0.0
        bar = f"[{'#' * round(share * BAR):{BAR}}] {share:4.0%} " if total else ""
        print(f"\r{bar}{text}".ljust(WIDTH), end="", file=stream, flush=True)

    try:
        yield update
    finally:
        print("\r" + " " * WIDTH, end="\r", file=stream, flush=True)


def parts_of(model: Model) -> frozenset[str]:
    """Names of what a row may hold that the model reads; whatever else a row holds is for its owner."""
    if model.language is not None:
        return frozenset({"text", "messages", "tools", "documents"})
    task = processor(model.bundle.manifest.task)
    needed, optional = task.texts(model.reader.pairs)
    further = (["prompt_name"] if any(model.reader.prompts.texts.values()) else []) + (["words"] if task.words else [])
    return frozenset([*needed, *optional, *task.flags, *further])


def input_of(row: object, parts: frozenset[str]) -> Any:
    """The input in a row: a text, or an object's `parts`, of which "text" alone is a text too.

    Raises:
        BadInput: neither a text nor an object, or an object without any of the parts.
    """
    if isinstance(row, str):
        return row
    wanted = ", ".join(f'"{name}"' for name in sorted(parts - {"tools", "documents"}))
    if not isinstance(row, dict):
        raise BadInput("neither a text nor an object", fix=f"give a JSON string, or an object with {wanted}")
    found = {name: row[name] for name in parts & row.keys()}
    if not found:
        raise BadInput(f"an object without {wanted}", fix="give what the model reads under that name")
    return found["text"] if len(found) == 1 and "text" in found else found


def answer_rows(
    workers: Sequence[W],
    answer: Callable[[W, Sequence[Any]], list[JsonObject | EdgekitError]],
    parts: frozenset[str],
    source: BinaryIO,
    out: TextIO,
    progress: Progress,
    *,
    joins: bool = False,
) -> EdgekitError | None:
    """Write the answer to each line of `source`, a text or an object as JSON, as a line of `out`, in their order.

    Blank lines are no rows. A row that cannot be used, or that the model fails on, has {"error"}; what is returned then says how many, which
    and why, and which answers were cut before their form was complete. `answer` makes the answers of one of `workers` to several of what
    `input_of` gives; whether it `joins` some of them is for `each_answered`. `progress` gets the bytes read, and all where that is known.

    Raises:
        OSError: `source` cannot be read, or `out` not be written.
    """
    count = failed = incomplete = 0
    faults: list[str] = []
    broken = False
    lines = Lines(source, before_waiting=out.flush)
    begun = told = time.monotonic()

    def read(line: bytes | EdgekitError) -> Any:
        return (
            line if isinstance(line, EdgekitError) else input_of(strict_json(line, "standard input", most=LONGEST_ROW), parts)
        )

    def answered(worker: W, chunk: Sequence[bytes | EdgekitError]) -> list[JsonObject | EdgekitError]:
        items = [attempted(read, line) for line in chunk]
        sound = iter(answer(worker, [item for item in items if not isinstance(item, EdgekitError)]))
        return [item if isinstance(item, EdgekitError) else next(sound) for item in items]

    with closing(each_answered(workers, answered, lines, joins=joins, ready=lines.ready)) as answers:
        for found in answers:
            count += 1
            if isinstance(found, EdgekitError):
                failed += 1
                broken = broken or not isinstance(found, BadInput)
                if len(faults) < TOLD:
                    faults.append(f"row {count:,}: {found.text()}")
                found = {"error": found.text()}
            elif (cut := cut_form(found)) is not None:
                incomplete += 1
                if len(faults) < TOLD:
                    faults.append(f"row {count:,}: cut {cut}, before its form, or a call of a tool, was complete")
            out.write(json.dumps(found) + "\n")
            if (now := time.monotonic()) - told > PROGRESS_SECONDS:
                told = now
                progress(lines.read, lines.size, f"{count:,} answered, {count / (now - begun):,.0f} a second")
    out.flush()
    if not count:
        return BadInput("no rows given", where="standard input", fix="give a text or an object on each line, as JSON")
    if not failed and not incomplete:
        return None
    if failed + incomplete > len(faults):
        faults.append(f"and {failed + incomplete - len(faults):,} more, which say so in their rows")
    if not failed:
        return CheckFailed(f"{incomplete:,} of {count:,} answers were cut before their form was complete", faults=faults)
    kind = CheckFailed if broken else BadInput
    cuts = f", {incomplete:,} of them cut before their form was complete" if incomplete else ""
    return kind(f"{failed:,} of {count:,} rows have no answer; the others are answered{cuts}", faults=faults)


class Lines:
    """The lines of a stream that are not blank, or why one cannot be read; it says whether reading on would wait for whoever writes."""

    def __init__(self, source: BinaryIO, before_waiting: Callable[[], object]) -> None:
        """`before_waiting` is called before a read that waits."""
        self.read = 0
        """Bytes so far."""
        self.size = 0
        """Bytes of a plain file; 0 of a pipe, whose end nobody knows."""
        self._source, self._before_waiting = source, before_waiting
        self._ended = False
        self._lines: deque[bytes] = deque()
        self._number: int | None = None
        with suppress(OSError):  # a stream in memory has no number
            self._number = source.fileno()
            self.size = os.fstat(self._number).st_size

    def ready(self) -> bool:
        """Whether there is a line, or the end, without waiting."""
        return bool(self._lines) or self._ended or self._number is None or bool(select.select([self._number], [], [], 0)[0])

    def __iter__(self) -> Iterator[bytes | EdgekitError]:
        rest, mark = b"", BOM_UTF8  # of a line whose end has not come; what may stand before the first
        while not self._ended:
            if not self.ready():
                self._before_waiting()
            data = self._source.read(BLOCK) if self._number is None else os.read(self._number, BLOCK)
            self.read, self._ended = self.read + len(data), not data
            whole, end, begun = data.rpartition(b"\n") if data else (b"", b"\n", b"")
            if end:
                self._lines.extend((rest + whole).split(b"\n"))
            rest = begun if end else (rest + data)[: LONGEST_ROW + 1]
            while self._lines:
                line, mark = self._lines.popleft().removeprefix(mark), b""
                if len(line) > LONGEST_ROW:
                    yield BadInput(f"longer than {LONGEST_ROW:,} bytes", where="row", fix="split it")
                elif line and not line.isspace():
                    yield line
