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


class PlainGroup(TyperGroup):
    """A group of such commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, those of --help too."""
        return _plain(super().get_params(ctx))


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
