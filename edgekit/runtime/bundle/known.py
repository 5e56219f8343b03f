"""What this user's machine knows of bundles by their digest, so that it is found out once: an empty file for each fact.

They lie in $XDG_CACHE_HOME/edgekit/known (~/.cache), or in the folder that EDGEKIT_KNOWN names. A digest stands for every byte of a bundle;
with it goes what else a fact depends on: versions of the libraries, and of the rules here. Where nothing can be written nothing is
remembered, which costs time alone.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal

from edgekit.runtime.files import cache_folder

__all__ = ["KNOWN", "Fact", "is_known", "remember", "runtime_version"]

KNOWN = "EDGEKIT_KNOWN"
Fact = Literal["checked", "proven", "joined", "alone"]
"""checked: its files are such as a bundle can hold. proven: it was made here, or loaded once in a child process with limits. joined: texts may
share a run of its graph; alone: they may not."""
RULES = 4
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


def _marker(digest: str, fact: Fact) -> Path:
    base = os.environ.get(KNOWN)
    key = hashlib.sha256(f"{digest}\n{fact}\n{RULES}\n{_libraries()}".encode()).hexdigest()
    return (Path(base) if base else cache_folder() / "known") / key


def runtime_version() -> str:
    """ONNX Runtime's, whichever package brought it."""
    from edgekit.runtime.providers.ort import onnxruntime  # here alone: whoever imports this module may need none

    version: str = onnxruntime.__version__
    return version


@cache
def _libraries() -> str:
    import tokenizers

    return f"onnxruntime {runtime_version()}\ntokenizers {tokenizers.__version__}"
