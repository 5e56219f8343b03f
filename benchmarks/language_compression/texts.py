"""The rows that models are trained on, and the windows that they are scored on."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from edgekit.data.splits import RECORD

__all__ = ["CHOOSING", "LENGTH", "documents", "make_rows", "windows_of"]

LENGTH = 512
"""Tokens of a row, at most, and of a window."""
CHOOSING = 40
"""The first validation documents, on which epochs and learning rates are compared; models are scored on the others."""


def documents(path: Path) -> Iterator[str]:
    """Texts of a file of JSON lines, packed by xz."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield str(json.loads(line)["text"])


def _pieces(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[tuple[str, int]]:
    """(a stretch of at most LENGTH tokens, how many it has), of every document in turn."""
    for text in texts:
        offsets = tokenizer.encode(text, add_special_tokens=False).offsets
        for start in range(0, len(offsets), LENGTH):
            part = offsets[start : start + LENGTH]
            if len(part) >= 32:
                yield text[part[0][0] : part[-1][1]], len(part)


def make_rows(tokenizer: Tokenizer, data: Path, out: Path, tokens: int) -> dict[str, int]:
    """Write a rows artifact of the first `tokens` tokens of the training documents, and of the first validation documents, to `out`; returns
    how many rows and tokens are trained on."""
    out.mkdir(parents=True, exist_ok=True)
    train, total = list[str](), 0
    for text, count in _pieces(tokenizer, documents(data / "train.jsonl.xz")):
        train.append(text)
        total += count
        if total >= tokens:
            break
    chosen = [text for text, _ in _pieces(tokenizer, islice(documents(data / "validation.jsonl.xz"), CHOOSING))]
    for split, texts in {"train": train, "validation": chosen, "test": chosen}.items():
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (out / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    (out / RECORD).write_text(json.dumps({"columns": ["text"]}), encoding="utf-8")
    return {"rows": len(train), "tokens": total}


def windows_of(tokenizer: Tokenizer, data: Path, most: int) -> dict[str, np.ndarray]:
    """By text, windows of token ids int64 (n, LENGTH), documents joined by the end token; at most so many of each."""
    wikitext = (data / "wikitext2" / "test.txt").read_text(encoding="utf-8")
    texts = {
        "Wikipedia, validation": islice(documents(data / "wikipedia" / "validation.jsonl.xz"), CHOOSING, None),
        "Wikitext-2, test": [wikitext],
    }
    found = {}
    for name, each in texts.items():
        ids = np.concatenate([np.asarray([*tokenizer.encode(text).ids, 0], dtype=np.int64) for text in each])
        found[name] = ids[: len(ids) // LENGTH * LENGTH].reshape(-1, LENGTH)[:most]
    return found
