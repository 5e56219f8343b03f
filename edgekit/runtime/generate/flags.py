"""The flags of `run` that are for language models alone; light, because every call of the command line reads it."""

from __future__ import annotations

import argparse
from typing import Any

from edgekit.runtime.errors import BadInput

__all__ = ["FLAGS", "add_flags", "given_flags"]

FLAGS: dict[str, tuple[Any, str]] = {
    "max_new_tokens": (int, "most tokens of an answer"),
    "temperature": (float, "0: always the likeliest token"),
    "top_p": (float, "only the likeliest tokens with this much probability together"),
    "min_p": (float, "only tokens this likely, as a share of the likeliest one"),
    "repetition_penalty": (float, "above 1: less of what was said already"),
    "seed": (int, "of the random choices"),
}
"""Fields of Sampling; beside them --top-k, which other tasks have too, --stop, --chat and --raw."""


def add_flags(command: argparse.ArgumentParser) -> None:
    """Give `command` the flags, None where they are not given."""
    group = command.add_argument_group("language models")
    for name, (kind, text) in FLAGS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    group.add_argument("--stop", action="append", help="the answer ends before this text; may be given again")
    mode = group.add_mutually_exclusive_group()
    mode.add_argument(
        "--chat", action="store_true", default=None, help="texts are messages (so wherever there is a chat template)"
    )
    mode.add_argument("--raw", dest="chat", action="store_false", help="texts are beginnings, to be gone on with")


def given_flags(values: dict[str, Any], task: str) -> dict[str, Any]:
    """Of the command line's `values` those flags that were given, with `top_k`.

    Raises:
        BadInput: one that has no meaning for `task`.
    """
    found = {name: values[name] for name in (*FLAGS, "stop", "chat") if values.get(name) is not None}
    if found and task != "text-generation":
        names = ", ".join("--raw" if found[name] is False else f"--{name.replace('_', '-')}" for name in found)
        raise BadInput(f"{names}: only for language models, and this is {task}", fix="leave it out")
    return found if values.get("top_k") is None else {**found, "top_k": values["top_k"]}
