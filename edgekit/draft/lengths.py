"""How long inputs are, in tokens of the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.config.recipe import LONGEST_INPUT, UNASKED_LENGTH
from edgekit.data.columns import usable_value
from edgekit.draft.fit import Table, as_text
from edgekit.draft.seen import Seen
from edgekit.runtime.tokenise import read_tokenizer

__all__ = ["Length", "length_of"]

INPUTS = ("text", "text_pair", "tokens", "sentence1", "sentence2", "query", "passages")
"""Columns that are cut where they are too long; a context is read in windows."""
READ = 2000
"""Rows that are tokenised."""
STEP = 64
"""A length that the rows ask for is a multiple of it, so that a text somewhat longer than they are is not cut."""


@dataclass(frozen=True)
class Length:
    """At how many tokens inputs are cut."""

    tokens: int
    written: bool
    """Whether the recipe has to say it: the rows ask for more than holds where nothing is asked."""
    seen: Seen


def length_of(folder: Path, rows: Table, columns: Mapping[str, str], *, unasked: int | None, most: int | None) -> Length | None:
    """The length that the rows' inputs need, by the model's own tokenizer in `folder`; None where there is no tokenizer.json.

    What holds where nothing is asked is never made less: inputs of encoders run at their real length, so a shorter limit would save nothing,
    and would cut texts that the model reads. Where rows are longer, it is as much more as they need and the model has.
    `unasked`, `most`: by the model's files, what holds where nothing is asked, and what may be asked; None: they do not say.
    """
    lengths = _lengths(folder, rows, columns)
    if not lengths:
        return None
    count, longest, least = len(rows[:READ]), max(lengths), unasked or UNASKED_LENGTH
    tokens = max(least, min(_rounded(longest), most or LONGEST_INPUT, LONGEST_INPUT))
    known = "as the model's files say" if unasked else "as recipes have it, since the model's files do not say"
    why = f"{known}; the longest of {count:,} rows has {longest:,} tokens"
    if tokens > least:
        why = f"room for the longest of {count:,} rows, which has {longest:,} tokens; unasked it would be {least:,}"
    over = sum(length > tokens for length in lengths)
    cut = f"; {over:,} are longer and are cut" if over else ""
    return Length(tokens, tokens > least, Seen("model.max_length", str(tokens), why + cut))


def _rounded(longest: int) -> int:
    return -(-longest // STEP) * STEP


def _lengths(folder: Path, rows: Table, columns: Mapping[str, str]) -> list[int]:
    """Tokens of each input of the first rows. Texts that cannot be used count for nothing: the plan names them.

    Raises:
        BadInput: a tokenizer.json that is none.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return []
    tokenizer = read_tokenizer(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    inputs = {column: columns[column] for column in INPUTS if column in columns}
    together = bool({"text_pair", "passages"} & set(columns))
    texts = [[_part(column, row.get(name)) for column, name in inputs.items()] for row in rows[:READ]]
    flat = [" ".join(parts) for parts in texts] if together else [part for parts in texts for part in parts]
    flat = [text for text in flat if usable_value("text", text)[1] is None]
    return [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(flat)]


def _part(column: str, value: object) -> str:
    """What is read of a column: one passage, or the longest of several; words, also of a text that says them as a list; any other text."""
    if column == "passages" and isinstance(value, list):
        return max(map(as_text, value), key=len, default="")
    return as_text(usable_value("tokens", value)[0] if column == "tokens" else value)
