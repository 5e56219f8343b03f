"""What a checkpoint's tokenizer files say before anything is loaded: the ids that it gives, and how long an input it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgekit.errors import BadInput

__all__ = ["TokenIds", "cuts_left", "longest_of", "same_tokens", "token_ids", "with_side"]


@dataclass(frozen=True)
class TokenIds:
    """The ids of a tokenizer beside the rows of the embedding."""

    count: int
    """Ids that the tokenizer gives, which are 0 to one less."""
    rows: int
    """Rows of the embedding (`vocab_size`)."""
    first: str
    """The token of the least id that the embedding has no row for; "" where there is none."""

    @property
    def fault(self) -> str | None:
        """What is wrong with it for a model that must read every token; None where nothing is."""
        if not self.first:
            return None
        return (
            f"its tokenizer has {self.count} token ids, its embedding {self.rows} rows (config.json, vocab_size): token {self.first!r} "
            "has none; resize the embedding and train it (resize_token_embeddings), or take the token out"
        )


def token_ids(
    tokenizer: Mapping[str, object], config: Mapping[str, object], settings: Mapping[str, object] = MappingProxyType({})
) -> TokenIds | None:
    """The ids of tokenizer.json, with the tokens that tokenizer_config.json (`settings`) adds to them as transformers does, and the rows
    of the model's embedding; None where the documents do not say."""
    model, added, rows = tokenizer.get("model"), tokenizer.get("added_tokens"), config.get("vocab_size")
    vocabulary = model.get("vocab") if isinstance(model, Mapping) else None
    if type(rows) is not int or not isinstance(vocabulary, list | dict):
        return None
    if isinstance(vocabulary, list):  # Unigram: (token, score) in order
        ids = {number: str(entry[0]) for number, entry in enumerate(vocabulary) if isinstance(entry, list) and entry}
    else:
        ids = {number: token for token, number in vocabulary.items() if type(number) is int}
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and type(token.get("id")) is int:
            ids[token["id"]] = str(token.get("content"))
    names = set(ids.values())
    for name in _added_by(settings):
        if name not in names:
            names.add(name)
            ids[max(ids, default=-1) + 1] = name
    beyond = min((number for number in ids if number >= rows), default=None)
    return TokenIds(max(ids, default=-1) + 1, rows, "" if beyond is None else ids[beyond])


def _added_by(settings: Mapping[str, object]) -> list[str]:
    """Tokens that a tokenizer_config.json adds, special ones that it only gives a part to aside, in the order of their ids."""
    listed = settings.get("added_tokens_decoder")
    numbered = {int(key): token for key, token in listed.items() if key.isdecimal()} if isinstance(listed, dict) else {}
    found = [numbered[number] for number in sorted(numbered)]
    for key in ("extra_special_tokens", "additional_special_tokens"):
        more = settings.get(key)
        found += more if isinstance(more, list) else []
    names = [token.get("content") if isinstance(token, dict) else token for token in found]
    return [name for name in names if isinstance(name, str)]


def cuts_left(tokenizer: Mapping[str, object], settings: Mapping[str, object]) -> bool:
    """Whether a text that is too long loses its beginning: `truncation_side` of tokenizer_config.json, else what tokenizer.json says."""
    truncation = tokenizer.get("truncation")
    said = truncation.get("direction") if isinstance(truncation, Mapping) else None
    return str(settings.get("truncation_side", said)).lower() == "left"


def with_side(tokenizer: Mapping[str, object], *, left: bool) -> dict[str, object]:
    """A copy of tokenizer.json that says itself which side is cut, as a device reads no other file; the length is a bundle's own."""
    cut = {"direction": "Left" if left else "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0}
    return {**tokenizer, "truncation": cut}


def longest_of(settings: Mapping[str, object]) -> int | None:
    """Tokens that transformers' tokenizer cuts a text to (`model_max_length` of tokenizer_config.json); None where it does not."""
    longest = settings.get("model_max_length")
    return longest if type(longest) is int and 0 < longest < 1_000_000 else None


def same_tokens(draft: Path, model: Path) -> None:
    """Check that the checkpoint `draft` can say every token that `model` says, under the same number.

    Raises:
        BadInput: another tokenizer, or an embedding without a row for each of its tokens.
    """
    from tokenizers import Tokenizer

    theirs, own = (Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab() for folder in (draft, model))
    if theirs != own:
        raise BadInput(
            "its tokenizer is another one, so that its tokens are not this model's", where="draft, id",
            fix="use a smaller model with the same tokenizer",
        )  # fmt: skip
    rows = int(json.loads((draft / "config.json").read_text(encoding="utf-8"))["vocab_size"])
    if rows <= max(own.values()):
        raise BadInput(
            f"its embedding of {rows} rows lacks tokens of this model", where="draft, id", fix="use another small model"
        )
