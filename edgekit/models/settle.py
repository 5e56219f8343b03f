"""A model's tokenizer.json as transformers reads its folder.

transformers rebuilds some tokenizers by what tokenizer_config.json says (`do_lower_case`, `strip_accents`, `add_bos_token`) and adds the
tokens that it names (`added_tokens_decoder`, `extra_special_tokens`). A device reads tokenizer.json alone, so that the file has to say all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit.errors import BadInput
from edgekit.models.files import read_json
from edgekit.models.preprocessing import settle_pixels
from edgekit.models.sentence import transformer_folder, with_lower_case
from edgekit.models.slow_tokenizer import check_conversion
from edgekit.models.sounds import settle_sound
from edgekit.models.tokens import cuts_left, token_ids, with_side
from edgekit.models.view import view

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["settle", "settle_reader"]

PROBES = (
    "Hello World, isn't it 3.5% of $1,000.00?", "HÉLLO élan naïve Ångström Straße İstanbul ﬁne", "你好世界 こんにちは 안녕하세요 привет мир",
    "  two  spaces\tand a tab\nand a line ", "e-mail: a_b.c@d.org https://x.org/?q=1#2", "[CLS] [SEP] [MASK] <s> </s> <mask> <pad>", "🙂👍🏽 ½ ² …",
    "supercalifragilisticexpialidocious",
)  # fmt: skip
"""Texts that tokenizers of different settings cut differently."""

MOST_TOKENS = 40_000
"""Tokens of a vocabulary that are tried, evenly over all."""


def settle_reader(reads: Literal["image", "sound"], source: Path, out: Path) -> None:
    """Write `out`/preprocessor_config.json as transformers reads images or sounds by folder `source`, in full.

    Raises:
        BadInput, NotPossibleHere: as `settle_pixels` and `settle_sound`.
    """
    (settle_pixels if reads == "image" else settle_sound)(source, out)


def settle(
    source: Path, out: Path, *, inputs: bool, trim: bool = True, lower_case: bool = False, texts: Iterable[str] = ()
) -> None:
    """Make `out`/tokenizer.json cut texts as transformers' AutoTokenizer of folder `source` does; a file that does stays as it is, and where
    there is none it is written.

    `trim`: leave out tokens that are named but that the embedding has no row for. `lower_case`: as sentence-transformers makes it
    lower-case first (`do_lower_case`). `inputs`: say in `out`/tokenizer_config.json too, where transformers' tokenizer gives no token
    types, that the model gets none. `texts`: what a tokenizer is compared on that transformers makes of a vocabulary alone.

    Raises:
        BadInput: transformers cannot load the tokenizer, or cuts `texts` otherwise than the vocabulary's own tokenizer; its ids leave the
            model's embedding.
        NotPossibleHere: a vocabulary of a package that is not installed.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    try:
        with view(source) as seen:
            theirs = AutoTokenizer.from_pretrained(transformer_folder(seen), local_files_only=True, trust_remote_code=False)
    except Exception as fault:  # tokenizers raises plain Exception, transformers many kinds
        raise BadInput(
            f"transformers' AutoTokenizer cannot load it: {str(fault).strip().splitlines()[0][:200] if str(fault).strip() else type(fault).__name__}",
            where=str(source), fix="correct tokenizer.json and tokenizer_config.json, which must belong together",
        ) from None  # fmt: skip
    rows = read_json(source / "config.json").get("vocab_size")
    path = out / "tokenizer.json"
    document = json.loads(theirs.backend_tokenizer.to_str())
    if trim and isinstance(
        rows, int
    ):  # tokens that are named but that no model has read; transformers fails where a text holds one
        document["added_tokens"] = [token for token in document["added_tokens"] if token["id"] < rows]
    ours = read_json(path) if path.is_file() else None
    if ours is None:
        check_conversion(source, theirs, texts)
        settings_here = out / "tokenizer_config.json"
        cut = cuts_left({}, read_json(settings_here) if settings_here.is_file() else {})
        ours = with_side({}, left=True) if cut else {}
        if trim and (ids := token_ids(document, read_json(source / "config.json"))) is not None and ids.fault is not None:
            raise BadInput(ids.fault, where=str(source))
    if lower_case:
        document = with_lower_case(document)
    document |= {"truncation": ours.get("truncation"), "padding": ours.get("padding")}
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    added = [token["content"] for token in document["added_tokens"]][:100]
    probes = [*PROBES, *(f"a {token} B{token}c" for token in added), *_of_vocabulary(theirs.backend_tokenizer)]
    if not path.is_file() or _cut(Tokenizer.from_file(str(path)), probes) != _cut(Tokenizer.from_str(text), probes):
        path.write_text(text, encoding="utf-8")
    if inputs and "token_type_ids" not in theirs.model_input_names:
        named = out / "tokenizer_config.json"
        settings = read_json(named) if named.is_file() else {}
        if (read_json(source / "config.json").get("type_vocab_size") or 0) > 1 and "model_input_names" not in settings:
            settings["model_input_names"] = theirs.model_input_names
            named.write_text(json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _of_vocabulary(tokenizer: Tokenizer) -> list[str]:
    """Texts of the tokenizer's own tokens, side by side and with spaces between them, where a word split otherwise shows."""
    numbers = sorted(set(tokenizer.get_vocab().values()))
    tokens = [tokenizer.decode([number]).strip() for number in numbers[:: -(-len(numbers) // MOST_TOKENS)]]
    parts = [[token for token in tokens[start : start + 40] if token] for start in range(0, len(tokens), 40)]
    return [joint.join(part) for part in parts if part for joint in ("", " ")]


def _cut(tokenizer: Tokenizer, texts: list[str]) -> list[tuple[list[int], list[int]]]:
    """Ids and types of each text, and of each beside the first."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = [tokenizer.encode(text) for text in texts] + [tokenizer.encode(texts[0], text) for text in texts]
    return [(one.ids, one.type_ids) for one in found]
