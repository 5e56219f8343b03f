"""Model outputs to answers: one file a task, found by its name, from a folder or from inside a zip."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from edgekit.runtime.errors import BadInput

__all__ = ["decoder"]

Decode = Callable[..., list[dict[str, Any]]]


def decoder(task: str) -> Decode:
    """`decode(outputs, labels, top_k)` of the task called `task`.

    Raises:
        BadInput: this runtime has no such task.
    """
    name = task.replace("-", "_")
    try:
        if not name.isidentifier():
            raise ModuleNotFoundError(name)
        decode: Decode = importlib.import_module(f"{__name__}.{name}").decode
    except ModuleNotFoundError:
        raise BadInput(
            f"this runtime cannot decode task {task!r}", fix="use the runner that was made with the bundle"
        ) from None
    return decode
