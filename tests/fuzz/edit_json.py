"""Mutations of JSON by its structure; what cannot be parsed any more is left to mutations of text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

__all__ = ["edit_json"]

TWICE = "\ue000twice"
"""A key that becomes the one before it when the text is written, so that it stands there twice."""


def _deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 255, 2**31, 2**53 + 1, 2**63, 10**30, -(2**63) - 1, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", " ", "a",
    "\0", "\ud800", "../x", "/etc/passwd", "a" * 300, "é", "\U0001f600", "\x1b[2J", [], {}, [[]], {"": None}, ["a", 1, None], {"a": {"b": []}},
    [0] * 2000, _deep(30), _deep(200), "(a+)+$", "0", "1", "null", "float32", "string",
)  # fmt: skip


def edit_json(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Values exchanged for those of other kinds, moved, left out, nested, repeated; keys left out, renamed, given twice."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    holders = _holders(document)
    if not holders:
        return _written(random.choice(VALUES))
    holder, key = random.choice(holders)
    choice = random.randrange(12)
    if choice <= 2:
        holder[key] = random.choice(VALUES)
    elif choice == 3:
        del holder[key]
    elif choice == 4:
        other, at = random.choice(holders)
        if not _within(other[at], holder):
            holder[key] = other[at]
    elif choice == 5 and isinstance(holder, dict):
        holder[random.choice((f"{key}x", "", "name", key.upper(), f"{key}\0", "id"))] = holder.pop(key)
    elif choice == 6 and isinstance(holder, dict):
        holder[f"{key}{TWICE}"] = random.choice((holder[key], random.choice(VALUES)))
    elif choice == 7:
        holder[key] = [holder[key]] * random.choice((1, 2, 500))
    elif choice == 8:
        holder[key] = {"": holder[key]} if random.random() < 0.5 else str(holder[key])
    elif choice == 9 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = random.choice(
            (holder[key] + 1, holder[key] - 1, -holder[key], holder[key] * 2, holder[key] * 1e9, float(holder[key]))
        )
    elif choice == 10 and others:
        try:
            found = _holders(json.loads(random.choice(others)))
        except (ValueError, RecursionError):
            found = []
        if found:
            from_, at = random.choice(found)
            holder[key] = from_[at]
    elif isinstance(holder[key], str):
        text = holder[key]
        at = random.randrange(len(text) + 1)
        holder[key] = (
            text[:at]
            + str(random.choice(("", "\0", "\u0301", "\u202e", "x", "{}", "((((", "[^", text, text * 20)))
            + text[at + 1 :]
        )
    else:
        holder[key] = random.choice(VALUES)
    return _written(document)


def _holders(document: Any) -> list[tuple[Any, Any]]:
    """(list or object, index or key) of every value within; of long lists the first hundred."""
    found: list[tuple[Any, Any]] = []
    left = [document]
    while left and len(found) < 20_000:
        holder = left.pop()
        items = (
            list(holder.items())
            if isinstance(holder, dict)
            else list(enumerate(holder[:100]))
            if isinstance(holder, list)
            else []
        )
        found += [(holder, key) for key, _ in items]
        left += [value for _, value in items if isinstance(value, dict | list)]
    return found


def _within(value: Any, holder: Any) -> bool:
    """Whether `holder` is `value` or lies in it, so that to put it there would have no end."""
    return value is holder or any(
        inner is holder or found is holder for inner, key in _holders(value) for found in (inner[key],)
    )


def _written(document: Any) -> bytes:
    text = json.dumps(document)
    return text.replace(json.dumps(TWICE)[1:-1], "").encode()
