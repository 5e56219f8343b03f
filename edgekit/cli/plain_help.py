"""`--help` without the names of Python's types: a flag is its name alone, and what takes a value says in its own word what that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

__all__ = ["PlainCommand", "PlainGroup"]


class PlainCommand(TyperCommand):
    """A command as typer makes it, but for its help."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, those of --help too."""
        return _plain(super().get_params(ctx))


MEANT = {
    **dict.fromkeys(("chat", "infer", "inference", "predict", "generate", "ask", "complete", "classify", "embed", "transcribe"), "run"),
    **dict.fromkeys(
        ("convert", "quantize", "quantise", "compile", "compress", "optimize", "optimise", "prune", "distill", "make", "build"), "export"
    ),
    **dict.fromkeys(("benchmark", "measure", "time", "profile", "latency"), "bench"),
    **dict.fromkeys(("test", "check", "validate"), "verify"),
    **dict.fromkeys(("evaluate", "eval", "score", "results", "show", "summary"), "report"),
    **dict.fromkeys(("compare", "difference"), "diff"),
    **dict.fromkeys(("search", "sweep", "autotune"), "tune"),
    **dict.fromkeys(("list", "recipes", "targets", "tasks", "methods"), "ls"),
    **dict.fromkeys(("package", "pack", "archive", "sign", "ship", "publish"), "artifacts"),
    **dict.fromkeys(("server", "api"), "serve"), **dict.fromkeys(("new", "draft", "create"), "init"),
    **dict.fromkeys(("download", "fetch"), "mirror"),
    **dict.fromkeys(("info", "env", "system"), "doctor"), "dry-run": "plan", "version": "--version", "help": "--help",
}  # fmt: skip
"""What people type -> the command, or the option, that does it."""


class PlainGroup(TyperGroup):
    """A group of such commands, which says what a word is called here that is none."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, those of --help too."""
        return _plain(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` begin with; of a word that has another name here the message says which."""
        if args and args[0] not in self.commands and (meant := MEANT.get(args[0].casefold().replace("_", "-"))) is not None:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {meant!r}?")
        return super().resolve_command(ctx, args)


def _plain(parameters: Sequence[Any]) -> list[Any]:
    """`parameters` without what typer says of their types; an argument has its name alone."""
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = _nothing
        elif getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return list(parameters)


def _nothing(ctx: Any) -> None:
    """Beside the name of an argument."""
