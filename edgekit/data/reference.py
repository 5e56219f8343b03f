"""The built-in corpus `python-reference`: the Python language reference that ships with CPython (`pydoc_data.topics`), in pieces.

Text for small language models, with no download. Its words change a little from one Python to the next, so its version is a
digest of the text itself.
"""

from __future__ import annotations

import hashlib

from edgekit.data.rows import Row
from edgekit.errors import BadInput

__all__ = ["VERSION", "generate"]

LONGEST = 700
"""Characters that paragraphs are gathered to."""
EVERY = 10
"""Of so many pieces one goes to validation and one to test."""


def _topics() -> dict[str, str]:
    from pydoc_data.topics import topics

    return dict(topics)


def _version() -> str:
    text = "\0".join(f"{name}\0{text}" for name, text in sorted(_topics().items()))
    return f"1-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


VERSION = _version()


def generate(seed: int, rows: int | None) -> dict[str, list[Row]]:
    """The three splits, rows of one `text` each: whole paragraphs in order, each paragraph once, whatever the seed.

    Raises:
        BadInput: a number of rows was asked for; the reference is as long as it is.
    """
    if rows is not None:
        raise BadInput("the corpus python-reference has a length of its own", where="data, rows", fix="leave `rows` out")
    seen: set[str] = set()
    pieces: list[str] = []
    for _, text in sorted(_topics().items()):
        piece = ""
        for paragraph in text.split("\n\n"):
            if not paragraph.strip() or paragraph in seen:
                continue
            seen.add(paragraph)
            if piece and len(piece) + len(paragraph) > LONGEST:
                pieces.append(piece)
                piece = ""
            piece = f"{piece}\n\n{paragraph}" if piece else paragraph
        pieces += [piece] if piece else []
    split = {0: "test", EVERY // 2: "validation"}
    splits: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
    for number, piece in enumerate(pieces):
        splits[split.get(number % EVERY, "train")].append({"text": piece})
    return splits
