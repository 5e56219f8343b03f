"""What the Python reference shows of functions and classes in a terminal, out of their own signatures and docstrings; the site has Sphinx for it."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["described"]

BLOCK = re.compile(r"^```\{eval-rst\}\n(.*?)^```$", re.M | re.S)
DIRECTIVE = re.compile(r"^\.\. auto(function|class|module):: (\S+)\n((?:   :\w+:.*\n)*)", re.M)


def described(text: str) -> str:
    """A page with what its directives of Sphinx stand for in their place."""
    return BLOCK.sub(lambda block: "\n".join(part for one in DIRECTIVE.finditer(block[1]) for part in _parts(one)), text)


def _parts(directive: re.Match[str]) -> Iterator[str]:
    kind, name, options = directive.groups()
    found = re.search(r":members:(.*)", options)
    listed = [] if found is None else [one.strip() for one in found[1].split(",") if one.strip()]
    try:
        what = _named(name)
    except ImportError as fault:
        yield f"### {name}\n\nis not to be had here: {fault} (`pip install 'edgekit[export]'`)\n"
        return
    if kind == "module":
        for one in listed:
            yield from _class(one, getattr(what, one), [])
    elif kind == "function":
        yield from _function(name, what)
    else:
        every = [one for one in (*vars(what), *getattr(what, "__annotations__", ())) if not one.startswith("_")]
        yield from _class(name, what, listed or (list(dict.fromkeys(every)) if found is not None else []))


def _named(name: str) -> Any:
    """The object of a dotted name."""
    place, _, last = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as fault:
        if fault.name != name:
            raise
    return getattr(importlib.import_module(place), last)


def _function(name: str, what: Any) -> Iterator[str]:
    yield f"### {name}\n\n```python\n{name.rpartition('.')[2]}{_signature(what)}\n```\n\n{inspect.getdoc(what) or ''}\n"


def _class(name: str, what: Any, members: list[str]) -> Iterator[str]:
    yield f"### {name}\n\n{inspect.getdoc(what) or ''}\n"
    for one in members:
        member = inspect.getattr_static(what, one, None)
        if inspect.isfunction(member):
            yield f"- `{one}{_signature(member)}`: {_line(inspect.getdoc(member))}"
        elif isinstance(member, property):
            yield f"- `{one}`: {_line(inspect.getdoc(member))}"
        else:
            kind = getattr(what, "__annotations__", {}).get(one)
            yield f"- `{one}`: {kind}" if kind is not None else f"- `{one}`"
    yield ""


def _signature(what: Any) -> str:
    """Of a function, with its types as they are written in the code."""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(what)))
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", text)


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
