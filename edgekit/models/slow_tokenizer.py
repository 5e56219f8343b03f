"""Tokenizers that are kept as a vocabulary alone (vocab.txt, vocab.json with merges.txt, SentencePiece), which transformers converts.

What it makes of them is compared with the tokenizer that the vocabulary was written by: BERT's own of Python, and SentencePiece.
Byte-level BPE has none but transformers'.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import BadInput, NotPossibleHere
from edgekit.models.documents import read_text
from edgekit.models.files import SENTENCEPIECE, VOCAB_JSON, VOCAB_TXT, read_json, vocabulary_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["check_conversion", "numbered_tokens"]

SHOWN = 60


def numbered_tokens(folder: Path) -> dict[str, int] | None:
    """Tokens and their ids as the vocabulary of `folder` says them; None where it has none, or SentencePiece's, which is not read here."""
    name = vocabulary_of(folder)
    try:
        if name == VOCAB_TXT:
            lines = read_text(folder / name).split("\n")
            return {line.removesuffix("\r"): number for number, line in enumerate(lines) if line}
        return read_json(folder / name) if name == VOCAB_JSON else None
    except BadInput:
        return None


def check_conversion(folder: Path, converted: PreTrainedTokenizerBase, texts: Iterable[str]) -> None:
    """Check that `converted` cuts every one of `texts` as the vocabulary's own tokenizer does.

    Raises:
        BadInput: it cuts one otherwise; the first is named.
        NotPossibleHere: the package of that tokenizer is not installed.
    """
    own = _own(folder, converted)
    if own is None:
        return
    for text in texts:
        expected, found = own(text), converted.tokenize(text)
        if expected != found:
            raise BadInput(
                f"transformers' conversion of {vocabulary_of(folder)} cuts a text of the rows otherwise than the tokenizer that it was made for",
                where=str(folder),
                faults=[f"text: {text[:SHOWN]!r}", f"own: {expected[:SHOWN]}", f"converted: {found[:SHOWN]}"],
                fix="use a folder with the tokenizer.json that the model was trained with",
            )


def _own(folder: Path, converted: PreTrainedTokenizerBase) -> Callable[[str], list[str]] | None:
    """text -> tokens by the tokenizer that the vocabulary of `folder` is for; None where transformers' is the only one."""
    name, settings = vocabulary_of(folder), converted.init_kwargs
    if name == VOCAB_TXT:
        from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

        legacy = BertTokenizerLegacy(
            str(folder / name), do_lower_case=settings.get("do_lower_case", True), strip_accents=settings.get("strip_accents"),
            tokenize_chinese_chars=settings.get("tokenize_chinese_chars", True), unk_token=str(converted.unk_token),
        )  # fmt: skip
        return lambda text: list(legacy.tokenize(text))
    if name not in SENTENCEPIECE:
        return None
    try:
        import sentencepiece
    except ImportError:
        raise NotPossibleHere(
            "a SentencePiece model needs the `sentencepiece` package", where=str(folder), fix='pip install "edgekit[export]"'
        ) from None
    try:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / name))
    except (OSError, RuntimeError) as fault:
        raise BadInput(f"not a SentencePiece model: {fault}", where=str(folder / name)) from None
    if read_json(folder / "config.json").get("model_type") != "albert":
        return lambda text: list(processor.encode(text, out_type=str))
    lower = settings.get("do_lower_case", True)
    accents = settings.get("keep_accents", False)
    return lambda text: list(processor.encode(_as_albert(text, lower=lower, accents=accents), out_type=str))


def _as_albert(text: str, *, lower: bool, accents: bool) -> str:
    """`text` as ALBERT's authors prepare it for SentencePiece (albert/tokenization.py, preprocess_text)."""
    text = text.replace("``", '"').replace("''", '"')
    if not accents:
        text = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return text.lower() if lower else text
