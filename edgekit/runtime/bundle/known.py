"""What this user's machine knows of bundles by their digest, so that it is found out once: a file for each fact, empty or of one number.

They lie in $XDG_CACHE_HOME/edgekit/known (~/.cache), or in the folder that EDGEKIT_KNOWN names. A digest stands for every byte of a bundle;
with it goes what else a fact depends on: versions of the libraries, and of the rules here. Where nothing can be written nothing is
remembered, which costs time alone.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal

__all__ = ["KNOWN", "Fact", "is_known", "known_number", "remember", "remember_number"]

KNOWN = "EDGEKIT_KNOWN"
Fact = Literal["checked", "proven"]
"""checked: its tokenizer is one that a bundle can hold. proven: it was made here, or loaded once in a child process with limits."""
RULES = 1
"""Raise it where what is refused, or how it is tried, changes."""


def is_known(digest: str, fact: Fact) -> bool:
    """Whether `fact` was remembered of the bundle of `digest`."""
    return _marker(digest, fact).exists()


def remember(digest: str, fact: Fact) -> None:
    """Remember `fact` of the bundle of `digest`."""
    marker = _marker(digest, fact)
    with suppress(OSError):
        marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        marker.touch(mode=0o600)


def known_number(digest: str, fact: str, of: str) -> int | None:
    """The number that was remembered as `fact` of the bundle of `digest` on `of`; None where none was, or what is there is none."""
    try:
        with _marker(digest, f"{fact} {of}").open("rb") as file:
            text = file.read(8)
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def remember_number(digest: str, fact: str, of: str, number: int) -> None:
    """Remember a number of the bundle of `digest` on `of`, such as a chip."""
    marker = _marker(digest, f"{fact} {of}")
    part = marker.with_name(f"{marker.name}.{os.getpid()}")
    with suppress(OSError):
        marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.write_text(str(number))
        part.replace(marker)


def _marker(digest: str, fact: str) -> Path:
    base = os.environ.get(KNOWN)
    cached = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH118 - never raises
    key = hashlib.sha256(f"{digest}\n{fact}\n{RULES}\n{_libraries()}".encode()).hexdigest()
    return (Path(base) if base else Path(cached) / "edgekit" / "known") / key


@cache
def _libraries() -> str:
    return "\n".join(f"{name} {metadata.version(name)}" for name in ("onnxruntime", "tokenizers"))
