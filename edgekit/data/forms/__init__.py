"""Forms of rows that data sets come in beside a task's own columns: one file a form, which holds `FORM`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain

from edgekit.data.form import Form, Write
from edgekit.data.reading import Record

__all__ = ["form_of", "formed", "forms"]


@cache
def forms() -> tuple[Form, ...]:
    """Every form, by the name of its file."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return tuple(module.FORM for module in modules)


def form_of(values: Mapping[str, object], names: Mapping[str, str]) -> tuple[Form, dict[str, str]] | None:
    """(the form that rows like `values` are in, its columns -> their names there); None where they have a task's own columns, or no form.

    `names`: the task's columns -> their names in the file.
    """
    for form in forms():
        if set(form.gives) <= set(names) and (found := form.find(values, names)) is not None:
            return form, found
    return None


def formed(
    given: Iterable[Record], names: Mapping[str, str], write: Write | None = None
) -> tuple[Iterator[Record], dict[str, str], str | None]:
    """(records with a task's own columns, names of these columns, how rows are read or None); `given` itself where they are in no form.

    `names`: the task's columns -> their names in the file. `write`: as in `Form`.
    """
    records = iter(given)
    begun: list[Record] = []
    for record in records:
        begun.append(record)
        if record.fault is None:
            break
    every = chain(begun, records)
    found = form_of(begun[-1].values, names) if begun and begun[-1].fault is None else None
    if found is None:
        return every, dict(names), None
    form, columns = found
    return form.read(every, columns, write), {**names, **{name: name for name in form.gives}}, form.title
