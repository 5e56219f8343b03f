"""The flags of `run` for language models. A light module, because every call of the command line imports it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

from edgekit.runtime.errors import BadInput

if TYPE_CHECKING:
    import argparse

__all__ = ["FLAGS", "SPECULATE", "SPECULATE_HELP", "Speculate", "add_flags", "given_flags", "parse_speculate"]

Speculate = Literal["lookup", "off"]
"""Where guesses of the next tokens come from, which are read with each one: what stood after the same tokens before; or nowhere."""
SPECULATE: tuple[Speculate, ...] = get_args(Speculate)
SPECULATE_HELP = "language models: guess the next tokens from the text so far (the default), or not; it changes no answer"

FLAGS: dict[str, tuple[Callable[[str], int | float], str]] = {
    "max_new_tokens": (int, "most tokens of an answer"),
    "temperature": (float, "0: always the most probable token"),
    "top_p": (float, "only the most probable tokens whose probabilities sum to this"),
    "min_p": (float, "only tokens with this fraction of the highest probability"),
    "repetition_penalty": (float, "above 1: fewer repetitions"),
    "seed": (int, "of the random choices"),
}
"""Fields of Sampling; beside them --top-k, which other tasks have too, and those of FURTHER."""
FILES = {
    "json_schema": ("--json-schema", "the answer is a JSON document of this schema"),
    "grammar": ("--grammar", "the answer is a text of this grammar, in Lark's syntax"),
}
"""Flags that name a file with the value -> (flag, help)."""
FURTHER = {
    "stop": "--stop", "stop_token_ids": "--stop-token-id", "chat": "--chat", "prefix_cache": "--prefix-cache", "regex": "--regex",
    "choice": "--choice", "speculate": "--speculate", **{name: flag for name, (flag, _) in FILES.items()},
}  # fmt: skip
"""Flags of another kind, by the name of their value."""
OFF = {"chat": "--raw", "prefix_cache": "--no-prefix-cache"}
"""The names of those that say no."""


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add the flags to `command`; their default is None."""
    group = command.add_argument_group("language models")
    for name, (kind, text) in FLAGS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    group.add_argument("--stop", action="append", help="the answer ends before this text; may be given again")
    group.add_argument(
        "--stop-token-id",
        dest="stop_token_ids",
        type=int,
        action="append",
        help="the answer ends before this token; may be given again",
    )
    for name, (flag, text) in FILES.items():
        group.add_argument(flag, dest=name, metavar="FILE", help=text)
    group.add_argument("--regex", help="the answer fits this regular expression as a whole")
    group.add_argument("--choice", action="append", help="the answer is this text, or another that is given so")
    group.add_argument(
        "--no-prefix-cache",
        dest="prefix_cache",
        action="store_false",
        default=None,
        help="read every prompt from its first token",
    )
    group.add_argument("--speculate", choices=SPECULATE, help=SPECULATE_HELP)
    mode = group.add_mutually_exclusive_group()
    mode.add_argument(
        "--chat",
        action="store_true",
        default=None,
        help="texts are messages of a user (the default where there is a chat template)",
    )
    mode.add_argument("--raw", dest="chat", action="store_false", help="texts are prompts to be continued")


def parse_speculate(given: object) -> Speculate:
    """`speculate` as callers give it; None for the default.

    Raises:
        BadInput: another word.
    """
    if given is None:
        return SPECULATE[0]
    for word in SPECULATE:
        if given == word:
            return word
    raise BadInput(f"{str(given)[:40]!r} is none of {', '.join(SPECULATE)}", where="speculate")


def given_flags(values: Mapping[str, object], task: str) -> dict[str, object]:
    """Those flags among the command line's `values` that an answer depends on and that were given, with `top_k`; of files, what they hold.

    Raises:
        BadInput: one that has no meaning for `task`, or a file that cannot be read.
    """
    flags = {name: values[name] for name in (*FLAGS, *FURTHER) if values.get(name) is not None}
    if flags and task != "text-generation":
        names = {name: f"--{name.replace('_', '-')}" for name in FLAGS} | FURTHER
        given = ", ".join(OFF[name] if flags[name] is False else names[name] for name in flags)
        raise BadInput(f"{given}: only for language models, and this is {task}", fix="leave it out")
    if values.get("top_k") is not None and not ranks(task):
        raise BadInput(f"--top-k: only for tasks that rank labels or answers, and this is {task}", fix="leave it out")
    flags.pop("prefix_cache", None)
    flags.pop("speculate", None)
    for name in FILES:
        if name in flags:
            flags[name] = _read(str(flags[name]), as_json=name == "json_schema")
    return flags if values.get("top_k") is None else {**flags, "top_k": values["top_k"]}


def ranks(task: str) -> bool:
    """Whether how many are listed, or drawn from, can be asked of `task`."""
    from edgekit.runtime.processors import processor  # here alone: every call of the command line imports this module

    return task in ("text-generation", "question-answering") or processor(task).lists != "nothing"


def _read(path: str, *, as_json: bool) -> str:
    """The text of a file, which `parse_constraint` bounds; a megabyte of it at most.

    Raises:
        BadInput: it cannot be read, or is no JSON where it is to be.
    """
    from pathlib import Path

    from edgekit.runtime.files import read_utf8
    from edgekit.runtime.strict_json import strict_json

    text = read_utf8(Path(path), 1_000_000)
    if as_json:
        strict_json(text.encode(), path)
    return text
