"""Starting one measuring process: its environment, its end, and what its death means."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.runtime.children import finish, start_module
from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError, NotPossibleHere

__all__ = ["run_child"]

MEASURE = "edgekit.runtime.bench.measure"
LAST_LINES = 6
"""Lines of a failed process' standard error that its message repeats."""


def run_child(path: Path, name: str, spec: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """The document that one process printed, started on the specification file `path` that holds `spec`; `name` is for messages.

    The process runs the module that `spec` names as "program", `edgekit.runtime.bench.measure` where it names none.

    Raises:
        CheckFailed, BadInput, NotPossibleHere: see `_fault`; also a process that takes more than `timeout` seconds.
    """
    process = start_module(
        spec.get("program", MEASURE), str(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        environment=_environment(spec["threads"]),
    )  # fmt: skip
    try:
        ended = finish(process, timeout)
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"a process of {name} took more than {timeout:.0f} s", where="bench") from None
    output, errors = (text.decode("utf-8", "replace") for text in (ended.output, ended.errors))
    if ended.code != 0:
        raise _fault(name, ended.code, errors)
    try:
        document: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise CheckFailed(f"a process of {name} printed no result", where="bench", faults=_tail(output)) from None
    return document


def _environment(threads: int) -> dict[str, str]:
    """Explicit threads everywhere, and the moment when the process was started."""
    numbers = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), str(threads))
    return {
        **numbers,
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONHASHSEED": "0",
        "EDGEKIT_SPAWNED_NS": str(time.clock_gettime_ns(time.CLOCK_MONOTONIC)),
    }


def _fault(name: str, code: int, errors: str) -> EdgekitError:
    """What a process' exit code means; a shell's 128 + n counts as signal n."""
    number = -code if code < 0 else code - 128
    if number == signal.SIGILL:
        return NotPossibleHere(
            f"{name}: this onnxruntime wheel needs a newer instruction set than this chip has",
            where="bench", fix="install an onnxruntime that was built for this chip",
        )  # fmt: skip
    if number == signal.SIGKILL:
        return NotPossibleHere(f"{name}: the process was killed, most likely out of memory", where="bench")
    kind = {2: BadInput, 3: NotPossibleHere}.get(code, CheckFailed)
    how = f"was ended by {signal.Signals(number).name}" if number in set(signal.Signals) else f"failed with exit code {code}"
    return kind(f"a process of {name} {how}", where="bench", faults=_tail(errors))


def _tail(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()[-LAST_LINES:]]
