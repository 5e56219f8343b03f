"""How long inputs are, in tokens of the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit.data.columns import usable_value
from edgekit.draft.fit import Table, as_text
from edgekit.draft.seen import Seen

__all__ = ["length_of"]

INPUTS = ("text", "text_pair", "tokens", "sentence1", "sentence2", "query", "passages")
"""Columns that are cut where they are too long; a context is read in windows."""
READ = 2000
"""Rows that are tokenised."""


def length_of(folder: Path, rows: Table, columns: Mapping[str, str], own: int | None) -> Seen | None:
    """What is said of the longest input of the model, which its files say (`own`), beside the rows; None where there is no tokenizer.json.

    Inputs of encoders run at their real length, so a shorter limit would save nothing, and would cut texts that the model reads.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file() or own is None:
        return None
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    inputs = {column: columns[column] for column in INPUTS if column in columns}
    together = bool({"text_pair", "passages"} & set(columns))
    texts = [[_part(column, row.get(name)) for column, name in inputs.items()] for row in rows[:READ]]
    flat = [" ".join(parts) for parts in texts] if together else [part for parts in texts for part in parts]
    if not flat:
        return None
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(flat)]
    over = sum(length > own for length in lengths)
    cut = f"; {over:,} are longer and are cut" if over else ""
    return Seen(
        "model.max_length",
        str(own),
        f"as the model's files say; the longest of {len(rows[:READ]):,} rows has {max(lengths)} tokens{cut}",
    )


def _part(column: str, value: object) -> str:
    """What is read of a column: one passage, or the longest of several; words, also of a text that says them as a list; any other text."""
    if column == "passages" and isinstance(value, list):
        return max(map(as_text, value), key=len, default="")
    return as_text(usable_value("tokens", value)[0] if column == "tokens" else value)
