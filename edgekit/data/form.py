"""The contract of forms: rows of a data set made to a task's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from edgekit.data.reading import Record

__all__ = ["Form", "Write"]

Write: TypeAlias = Callable[[object, Mapping[str, object]], tuple[str | None, str | None]]
"""(a conversation, as [{"role", "content"}] with what else its messages hold, what else of the row a template may read by its name) -> (the text
that the model reads, what is wrong or None)."""


@dataclass(frozen=True)
class Form:
    """A form that rows come in."""

    title: str
    """How they are read, for people."""
    gives: tuple[str, ...]
    """Columns of a task that they give."""
    find: Callable[[Mapping[str, object], Mapping[str, str]], dict[str, str] | None]
    """(values of a row, the task's columns -> their names there) -> parts of the form -> names of columns; None for another form."""
    read: Callable[[Iterable[Record], Mapping[str, str], Write | None], Iterator[Record]]
    """(rows, what `find` says, what writes conversations as the model reads them) -> rows with the task's columns under their own names."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Column of the task -> the kind of the values that stand there in this form, where they stand under the task's own names."""
    beside: tuple[str, ...] = ()
    """Names of columns that it may read beside those that are named for the task."""
    conversations: bool = False
    """Whether it is the model that says how rows are written as text."""
