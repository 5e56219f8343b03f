"""How long inputs are, in tokens of the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit.draft.fit import Table
from edgekit.draft.seen import Seen
from edgekit.models.sentence import transformer_folder

__all__ = ["length_for"]

SHORTEST = 32
STEP = 8
ROOM = 2
"""How many times as long as the longest row an input may be."""
READ = 2000
"""Rows that are tokenised."""


def length_for(folder: Path, rows: Table, columns: Mapping[str, str], own: int | None) -> tuple[int, Seen] | None:
    """(tokens of the longest input, what is said of it): twice those of the longest row, and at most what the model's files say (`own`).

    None where there is no tokenizer.json, or no row is much shorter than the model's own length: the plan takes that then.
    """
    from tokenizers import Tokenizer

    path = transformer_folder(folder) / "tokenizer.json"
    if not path.is_file() or own is None:
        return None
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    inputs = [columns[column] for column in ("text", "text_pair", "tokens", "sentence1", "sentence2") if column in columns]
    together = "text_pair" in columns
    texts = [[_text(row.get(name)) for name in inputs] for row in rows[:READ]]
    flat = [" ".join(parts) for parts in texts] if together else [part for parts in texts for part in parts]
    if not flat:
        return None
    longest = max(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(flat))
    length = max(SHORTEST, -(-ROOM * longest // STEP) * STEP)
    if length >= own:
        return None
    return length, Seen(
        "model.max_length",
        str(length),
        f"twice the longest of {len(rows[:READ]):,} rows ({longest} tokens); the model takes {own}",
    )


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "")
