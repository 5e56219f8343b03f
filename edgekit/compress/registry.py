"""The compression methods there are: the modules of `edgekit.compress.methods`, and what installed packages add.

A package adds one by an entry point, in its pyproject.toml

    [project.entry-points."edgekit.methods"]
    round-weights = "acme.rounding:METHOD"

where `METHOD` is an `edgekit.compress.method.Method`. It is listed, parsed, checked, planned and run like those that ship with edgekit.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from edgekit.compress import methods as package
from edgekit.compress.method import Method
from edgekit.errors import BadInput
from edgekit.tasks import Kind

__all__ = ["GROUP", "find_method", "method_names", "methods", "methods_for"]

GROUP = "edgekit.methods"
"""The entry-point group in which a package names its methods, each as `name = "module:METHOD"`."""


@cache
def methods() -> Mapping[str, Method[Any]]:
    """Every compression method by its name, in the order of names.

    Raises:
        BadInput: an installed package names a method that cannot be imported, is none, or has the name of another.
    """
    modules = [importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    found: dict[str, Method[Any]] = {module.METHOD.name: module.METHOD for module in modules}
    owners = dict.fromkeys(found, "edgekit itself")
    faults = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        loaded = _load(entry)
        if isinstance(loaded, str):
            faults.append(f"{_origin(entry)}: {loaded}")
        elif loaded.name in found:
            faults.append(f"{_origin(entry)}: a method named {loaded.name!r} is there already, of {owners[loaded.name]}")
        else:
            found[loaded.name], owners[loaded.name] = loaded, _origin(entry)
    if faults:
        raise BadInput(
            "compression methods of installed packages that cannot be used",
            where=f"entry points, {GROUP}",
            fix="mend or uninstall these packages",
            faults=faults,
        )
    return dict(sorted(found.items()))


def method_names() -> list[str]:
    """Names of the compression methods."""
    return list(methods())


def find_method(name: str) -> Method[Any]:
    """The method called `name`, which a parsed recipe has."""
    return methods()[name]


def methods_for(kind: Kind) -> list[str]:
    """Names of the methods that serve such models."""
    return [name for name, method in methods().items() if kind in method.serves]


def _load(entry: EntryPoint) -> Method[Any] | str:
    """The method that an entry point names, or why it names none."""
    try:
        loaded = entry.load()
    except Exception as fault:  # another's module is run here, which may raise whatever it likes
        return f"cannot be imported: {type(fault).__name__}: {fault}"
    return loaded if isinstance(loaded, Method) else "is no edgekit.compress.method.Method"


def _origin(entry: EntryPoint) -> str:
    package = f" of package {entry.dist.name}" if entry.dist is not None else ""
    return f"{entry.name} = {entry.value}{package}"
