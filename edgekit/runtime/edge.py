"""The edge of a command: whatever it raises becomes one message and an exit code, and no traceback.

Set EDGEKIT_TRACEBACK to a file's name to have the traceback of what a command ends with written there, with all that it came of.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError, Interrupted, NotPossibleHere, Topic
from edgekit.runtime.streams import ReaderGone, settle
from edgekit.runtime.temporary import NO_ROOM

__all__ = ["TRACEBACK", "at_edge", "told"]

TRACEBACK = "EDGEKIT_TRACEBACK"
INTERRUPTED = 130
"""Exit code of a command that was interrupted, as of a shell's."""
LONGEST = 300
"""Characters that are shown of a message that is not edgekit's own."""


def at_edge(
    program: str, work: Callable[[], int], *, as_json: bool, prints: bool = True, more: Callable[[Topic], str] | None = None
) -> int:
    """The exit code of a command of `program`, which `work` does and returns, or leaves by SystemExit.

    What it raises is told on standard error, with `as_json` as a document on standard output too. `prints`: whether its result goes there.
    `more`: the command that tells more of a kind of fault, where there is one.
    """
    try:
        settle(prints=prints)
        try:
            code = work()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
            if code == INTERRUPTED:  # what typer makes of Ctrl-C, without a word
                print(f"{program}: interrupted", file=sys.stderr)
        if sys.stdout is not None:
            sys.stdout.flush()  # what cannot be written is told here, and not after the end
        return code
    except (Interrupted, KeyboardInterrupt):
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except ReaderGone:
        return 0
    except BaseException as raised:
        fault = told(raised)
        see = {} if more is None or fault.see is None else {"see": more(fault.see)}
        if as_json:
            with suppress(ReaderGone, NotPossibleHere):  # where it is standard output that cannot be written
                print(json.dumps({"error": fault.text(), "exit_code": fault.exit_code, **see}), flush=True)
        print("\n  see: ".join([f"{program}: {fault.text()}", *see.values()]), file=sys.stderr)
        return fault.exit_code


def told(raised: BaseException) -> EdgekitError:
    """The fault to report for what a command raised. Ctrl-C and an exit are none: they are raised again.

    Errors of the system are those of the file that they name; what no one foresaw says its type, and where its traceback can be had.
    """
    if isinstance(raised, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise raised
    _write(raised)
    if isinstance(raised, EdgekitError):
        return raised
    if isinstance(raised, OSError):
        kind = NotPossibleHere if raised.errno in NO_ROOM else BadInput
        return kind(
            raised.strerror or str(raised),
            where=raised.filename and str(raised.filename),
            see="no-room" if kind is NotPossibleHere else None,
        )
    if isinstance(raised, MemoryError):
        return NotPossibleHere("there is not enough memory for it", fix="free some, or use a machine with more")
    if isinstance(raised, ModuleNotFoundError) and (name := (raised.name or "").partition(".")[0]) not in ("", "edgekit"):
        return NotPossibleHere(
            f"{name} is not installed", fix=f"pip install '{_brought_by(name)}'", see="something-is-not-installed"
        )
    first = next(iter(str(raised).strip().splitlines()), "")[:LONGEST]
    fix = None if os.environ.get(TRACEBACK) else f"{TRACEBACK}=FILE has the traceback written to FILE; please report it"
    return CheckFailed(
        f"ended by an unforeseen {type(raised).__name__}{f': {first}' if first else ''}",
        fix=fix,
        see="ended-by-something-unforeseen",
    )


def _brought_by(module: str) -> str:
    """What is installed to have `module`: the smallest extra of edgekit that asks for it, else a package of that name."""
    from importlib import metadata  # here alone: it takes longer than all else that a command starts with

    try:
        asked = metadata.requires("edgekit") or []
    except metadata.PackageNotFoundError:  # a bundle's runner
        asked = []
    extras: dict[str, set[str]] = {}
    for line in asked:
        found = re.match(r"""([\w.-]+).*extra == ["'](\w+)["']""", line)
        if found is not None:
            extras.setdefault(found[2], set()).add(re.sub(r"[-.]", "_", found[1]).lower())
    bring = [name for name, packages in extras.items() if module.lower() in packages]
    return f"edgekit[{min(bring, key=lambda name: len(extras[name]))}]" if bring else module


def _write(raised: BaseException) -> None:
    """Write the traceback of `raised`, and of what it came of, where the environment says; a place that cannot be written is no fault."""
    name = os.environ.get(TRACEBACK)
    if not name:
        return
    one: BaseException | None = raised
    while one is not None:
        one.__suppress_context__ = False  # `from None` is for messages
        one = one.__cause__ or one.__context__
    with suppress(OSError, ValueError):
        Path(name).write_text("".join(traceback.format_exception(raised)), encoding="utf-8", errors="backslashreplace")
