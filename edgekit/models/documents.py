"""JSON and text of a checkpoint's folder, read as what comes from outside: plain files, bounded by what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.runtime.files import check_file, read_utf8
from edgekit.runtime.strict_json import read_json

__all__ = ["check_size", "read_document", "read_text"]

LARGEST = 16_000_000
"""Bytes: an index of 100,000 tensors has 8 MB."""
LARGEST_VOCABULARY = 100_000_000
"""Bytes: the tokenizer of Gemma 3 has 33 MB."""
VOCABULARIES = (".model", ".txt", "tokenizer.json", "vocab.json")
LONGEST_INTEGER = 40
"""Digits: tokenizer_config.json says 10^30 where a text may have any length."""


def _most(path: Path) -> int:
    return LARGEST_VOCABULARY if path.name.endswith(VOCABULARIES) else LARGEST


def read_document(path: Path) -> Any:
    """The value of the JSON file `path`.

    Raises:
        BadInput: not there, no plain file, too large, or no sound JSON.
    """
    return read_json(path, most=_most(path), longest_integer=LONGEST_INTEGER)


def read_text(path: Path) -> str:
    """The text of `path`, with line feeds as the ends of its lines.

    Raises:
        BadInput: not there, no plain file, too large, or not UTF-8.
    """
    return read_utf8(path, _most(path)).replace("\r\n", "\n").replace("\r", "\n")


def check_size(path: Path) -> None:
    """Check a file that a library is going to read whole, where there is one; weights may have any size.

    Raises:
        BadInput: no plain file, or too large.
    """
    if path.exists():
        check_file(path, None if path.suffix == ".safetensors" else _most(path))
