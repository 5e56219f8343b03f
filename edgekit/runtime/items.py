"""Inputs of a command line: its arguments, or lines of standard input."""

from __future__ import annotations

import json
import os
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from edgekit.runtime.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.reader import Reads

__all__ = [
    "answered",
    "at_terminal",
    "cut_answers",
    "cut_form",
    "cut_forms",
    "first_line",
    "terminal_line",
    "numbered",
    "of_file",
    "read_items",
    "read_texts",
    "refusals",
    "split_lines",
    "with_prompt",
]

LARGEST = 256 * 1024**2
"""Bytes of standard input at most."""
CUTS = {"length": "at the token limit", "context": "where the context is full", "stop": "at a stop text"}
"""What ends an answer -> where that cuts one that was held to a form."""
MORE = {
    "length": "give more (--max-new-tokens)",
    "context": "ask with a shorter prompt",
    "stop": "leave that text out (--stop)",
}
"""The same -> what to do."""
BOUND = "bound what may go on: maxLength and additionalProperties = false in a schema that holds not itself, {1,20} in an expression"


def at_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream is a terminal; None is one that was closed before Python began."""
    return stream is not None and stream.isatty()


def split_lines(text: str) -> list[str]:
    """The lines of `text` without their ends, which are \\n or \\r\\n alone.

    `str.splitlines` also splits at form feeds, U+0085, U+2028 and others, which are characters of a text as any.
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


def read_texts(reads: Reads = "text") -> list[str]:
    """The lines of standard input that are not blank, names of files where a model `reads` images or sounds. Bytes that are not UTF-8 come as
    lone surrogates, so that their line alone is refused.

    Raises:
        BadInput: standard input is closed, holds no text, is UTF-16, or does not end, or holds a file where it is to hold names.
    """
    given = "texts" if reads == "text" else f"names of {reads} files"
    nothing = "no text given" if reads == "text" else f"no {reads} file is named"
    fix = f"give {given} as arguments or as lines of standard input"
    if sys.stdin is None:
        raise BadInput(f"{nothing}, and standard input is closed", fix=fix)
    try:
        data = sys.stdin.buffer.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise BadInput(f"more than {LARGEST:,} bytes", where="standard input", fix="give it in several runs")
        if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            raise BadInput("is UTF-16", where="standard input", fix="turn it into UTF-8, as in iconv -f UTF-16 -t UTF-8")
        if reads != "text" and b"\0" in data:
            raise BadInput(
                f"holds bytes of a file, where names of {reads} files are read, one a line", where="standard input", fix=fix
            )
        lines = split_lines(data.decode("utf-8-sig", errors="surrogateescape"))
    except OSError as fault:
        raise BadInput(f"cannot be read: {fault.strerror}", where="standard input", fix=fix) from None
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise BadInput(nothing, where="standard input", fix=fix)
    return texts


def read_items(texts: list[str], *, reads: Reads = "text", fix: str | None = None) -> list[Any]:
    """Inputs from text: what begins with {" is read as a JSON object, for inputs of several parts; all else is text, or where a model
    `reads` images or sounds the path of one.

    `fix` is what a refusal says to do.

    Raises:
        BadInput: such a text that is no JSON object.
    """
    return [_object(text, fix) if _is_object(text) else text if reads == "text" else Path(text) for text in texts]


@contextmanager
def numbered(number: int, count: int | None) -> Iterator[None]:
    """Around the work on item `number`, from 0, of `count`, None where nobody knows: where there are several, a BadInput says which it is."""
    try:
        yield
    except BadInput as fault:
        if count == 1:
            raise
        of = "" if count is None else f" of {count}"
        where = f"item {number + 1}{of}" + (f", {fault.where}" if fault.where else "")
        raise BadInput(fault.what, where=where, fix=fault.fix, faults=fault.faults) from None


@contextmanager
def of_file(file: str | None) -> Iterator[None]:
    """Around the work on a `file`; None: on what is none. A fault names it."""
    try:
        yield
    except (BadInput, NotPossibleHere) as fault:
        if file is None:
            raise
        where = file if fault.where in (None, file, str(Path(file))) else f"{file}, {fault.where}"
        raise type(fault)(fault.what, where=where, fix=fault.fix, faults=fault.faults, see=fault.see) from None


def _check_no_folder(file: str | None, reads: Reads) -> None:
    """Refuse a folder, in whose place its files are to be named.

    Raises:
        BadInput: `file` is one.
    """
    if file is None or not os.path.isdir(file):  # noqa: PTH112 - never raises
        return
    fix = f"name its files, as {Path(file) / '*'}"
    if reads == "image":
        fix += ", or add --every 0.5s for answers as a camera would be given them"
    raise BadInput("is a folder, not a file", where=file, fix=fix)


def answered(texts: Sequence[str], answer: Callable[[str], JsonObject], *, reads: Reads = "text") -> Iterator[JsonObject]:
    """The answer to each of `texts`; of one that cannot be used, where there are others, {"error"} with its number. Where a model `reads`
    images or sounds texts are names of files, which every fault says, and of several files every answer, as "file".

    Raises:
        BadInput: one alone that cannot be used.
    """
    for number, text in enumerate(texts):
        file = None if reads == "text" or _is_object(text) else text
        try:
            with numbered(number, len(texts)), of_file(file):
                _check_no_folder(file, reads)
                made = answer(text)
        except BadInput as fault:
            if len(texts) == 1:
                raise
            made = {"error": fault.text()}
        yield made if file is None or len(texts) == 1 else {"file": file, **made}


def refusals(answers: Sequence[JsonObject]) -> BadInput | None:
    """What is to be said at the end of `answers` of which some are refusals; None where none is."""
    faults = [str(answer["error"]) for answer in answers if "error" in answer]
    if not faults:
        return None
    return BadInput(f"{len(faults)} of {len(answers)} inputs cannot be used; the others are answered", faults=faults)


def cut_form(answer: JsonObject) -> str | None:
    """Where the form that `answer` was held to, or its call of a tool, was cut; None where it is complete, or Ctrl-C ended it."""
    return CUTS.get(str(answer.get("ended"))) if answer.get("complete") is False else None


def cut_answers(answers: Sequence[JsonObject]) -> str | None:
    """A line for a person at a terminal that some of `answers`, of no form, were cut; None where none was."""
    cuts = dict.fromkeys(str(answer["ended"]) for answer in answers if answer.get("ended") in ("length", "context"))
    if not cuts:
        return None
    which = "the answer was" if len(answers) == 1 else "answers were"
    return f"{which} cut " + " and ".join(f"{CUTS[one]}: {MORE[one]}" for one in cuts)


def cut_forms(answers: Sequence[JsonObject]) -> CheckFailed | None:
    """What is to be said at the end of `answers` of which some were cut before their form was complete; None where none was."""
    cuts = {number: cut for number, answer in enumerate(answers, 1) if (cut := cut_form(answer)) is not None}
    if not cuts:
        return None
    fix = "; ".join([*dict.fromkeys(MORE[str(answers[number - 1]["ended"])] for number in cuts), BOUND])
    if len(answers) == 1:
        return CheckFailed(f"the answer was cut {cuts[1]}, before its form, or its call of a tool, was complete", fix=fix)
    faults = [f"answer {number}: cut {cut}" for number, cut in cuts.items()]
    what = f"{len(cuts)} of {len(answers)} answers were cut before their form, or their call of a tool, was complete"
    return CheckFailed(what, faults=faults, fix=fix)


def first_line(answer: JsonObject) -> str:
    """The line of a terminal that stands for a refused input, so that every input has one."""
    return f"({str(answer['error']).partition(chr(10))[0]})"


def terminal_line(answer: JsonObject, line: Callable[[JsonObject], str]) -> str:
    """The line of a terminal for an answer, which its task's `line` shows: after the name of its file, if it has one, with a word where the input
    was cut, and for a refused input why."""
    file = f"{answer['file']}  " if "file" in answer else ""
    if "error" in answer:
        return file + first_line(answer)
    cut = "  (the input is longer than the model reads, and was cut)" if answer.get("truncated") else ""
    rate = f"  (resampled from {answer['resampled_from']} Hz)" if "resampled_from" in answer else ""
    return file + line(answer) + cut + rate


def with_prompt(items: list[Any], name: str | None, task: str) -> list[Any]:
    """`items` of an embedding with the prompt called `name` before them; None: as they are.

    Raises:
        BadInput: another task, or an item that names a prompt itself.
    """
    if name is None:
        return items
    if task != "feature-extraction":
        raise BadInput(f"--prompt-name: only for embeddings, and this is {task}", fix="leave it out")
    if not all(isinstance(item, str) for item in items):
        raise BadInput("--prompt-name beside an object, which names its own", fix="leave it out, or give texts alone")
    return [{"text": item, "prompt_name": name} for item in items]


def _is_object(text: str) -> bool:
    return text.lstrip().startswith('{"')


def _object(text: str, fix: str | None) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise BadInput(f"begins as a JSON object and is none: {fault}", where=text[:60], fix=fix) from None
    if not isinstance(read, dict):
        raise BadInput("not a JSON object", where=text[:60], fix=fix)
    return read
