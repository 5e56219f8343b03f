"""How a CTC head's outputs are written, by the tokenizer of its checkpoint, for a device that has no tokenizer of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import BadInput
from edgekit.models.documents import read_document
from edgekit.models.view import view
from edgekit.runtime.bundle.names import PREPROCESSOR
from edgekit.runtime.spelling import Spelling

__all__ = ["is_ctc", "spelling_faults", "spelling_of", "told_of_texts", "vocabulary_spelling"]

TOKENIZER = "Wav2Vec2CTCTokenizer"
"""transformers' class."""
VOCABULARY, SETTINGS = "vocab.json", "tokenizer_config.json"
SAID = (SETTINGS, PREPROCESSOR, "processor_config.json")
"""Files that may name the class that reads and writes for the model (`processor_class`)."""
BEAMS = "WithLM"
"""End of the name of the class that chooses texts by a language model."""
DELIMITER = "|"
"""What stands between words, whichever token a file names: so transformers 5.17 loads it."""
MOST_UNKNOWN = 0.5
"""Share of the letters of all texts that may be none of the model's."""
NAMED = 12
"""Letters that are named."""
PROBES = 64
"""Sequences of numbers that are written both ways."""


def is_ctc(config: Mapping[str, object]) -> bool:
    """Whether a model of this configuration has a CTC head."""
    built = config.get("architectures")
    return isinstance(built, list) and any(str(name).endswith("ForCTC") for name in built)


def spelling_faults(folder: Path, config: Mapping[str, object]) -> list[str]:
    """Why it cannot be said, or is not served, how the outputs of a CTC model in `folder` are written."""
    if not is_ctc(config):
        return []
    faults = []
    said = {name: _settings(folder / name) for name in SAID}
    for name, settings in said.items():
        if str(settings.get("processor_class")).endswith(BEAMS):
            faults.append(
                f"{name}, processor_class: {settings['processor_class']} chooses texts by beam search with a language model, which no bundle does; "
                "write Wav2Vec2Processor where the likeliest tokens alone are to be written"
            )
    kind = said[SETTINGS].get("tokenizer_class", TOKENIZER)
    if kind != TOKENIZER:
        faults.append(f"{SETTINGS}, tokenizer_class: {kind} is not served, {TOKENIZER} alone")
    if said[SETTINGS].get("target_lang") is not None:
        faults.append(
            f"{SETTINGS}, target_lang: a vocabulary for each language, which goes with adapters that are not loaded here"
        )
    if not (folder / VOCABULARY).is_file():
        faults.append(
            f"no {VOCABULARY}, with which the outputs of a CTC head are written; put that of its {TOKENIZER} beside the weights"
        )
    return faults


def spelling_of(source: Path, config: Mapping[str, Any]) -> Spelling:
    """How transformers' tokenizer of checkpoint `source` writes what its model says.

    Raises:
        BadInput: as `spelling_faults`; transformers cannot load it, or writes otherwise than the runtime.
    """
    where = str(source)
    if faults := spelling_faults(source, config):
        raise BadInput(
            "what its CTC head says cannot be written",
            where=where,
            faults=faults,
            fix="use a checkpoint with its own vocabulary",
        )
    theirs = _theirs(source)
    count = max(int(config.get("vocab_size", 32)), 1)
    tokens: list[str] = theirs.convert_ids_to_tokens(list(range(count)))
    delimiter = theirs.word_delimiter_token if theirs._word_delimiter_token is not None else None
    spelling = Spelling(
        tuple(tokens), str(theirs.pad_token), str(theirs.unk_token), delimiter, str(theirs.replace_word_delimiter_char),
        bool(theirs.do_lower_case), bool(theirs.clean_up_tokenization_spaces),
    )  # fmt: skip
    if faults := spelling.faults():
        raise BadInput(
            "what its CTC head says cannot be written",
            where=where,
            faults=faults,
            fix="use the vocabulary that was saved with it",
        )
    draw = np.random.default_rng(0)
    for length in range(PROBES):
        best = draw.integers(0, count + 2, length).repeat(draw.integers(1, 4, length))
        if spelling.text(best) != theirs.decode(best, skip_special_tokens=False):
            raise BadInput(
                f"transformers' {TOKENIZER} writes {best.tolist()[:20]} as {theirs.decode(best)!r}, and the settings here {spelling.text(best)!r}",
                where=where, fix="something of its settings is not known here; please report it with the tokenizer's files",
            )  # fmt: skip
    return spelling


def vocabulary_spelling(folder: Path) -> Spelling | None:
    """The letters and settings of the CTC tokenizer in `folder`, by its files alone; None where they do not say."""
    vocabulary, settings = _settings(folder / VOCABULARY), _settings(folder / SETTINGS)
    if not vocabulary or not all(type(number) is int for number in vocabulary.values()):
        return None

    def token(name: str, otherwise: str) -> str:
        said = settings.get(name, otherwise)
        said = said.get("content") if isinstance(said, Mapping) else said
        return said if isinstance(said, str) else otherwise

    return Spelling(
        tokens=tuple(sorted(vocabulary, key=lambda name: vocabulary[name])),
        blank=token("pad_token", "<pad>"),
        unknown=token("unk_token", "<unk>"),
        delimiter=DELIMITER if settings.get("word_delimiter_token", DELIMITER) is not None else None,
        space=token("replace_word_delimiter_char", " "),
        lower_case=bool(settings.get("do_lower_case", False)),
    )


def told_of_texts(spelling: Spelling, texts: Sequence[str]) -> list[str]:
    """What is told of `texts`, what is said in all rows, that a model of this `spelling` cannot write.

    Raises:
        BadInput: it writes none of them whole, or less than half of their letters.
    """
    missing = [spelling.unwritten(text) for text in texts]
    rows, letters = sum(map(bool, missing)), Counter(letter for several in missing for letter in several)
    if not rows:
        return []
    total = sum(1 for text in texts for letter in text if not letter.isspace())
    named = ", ".join(repr(letter) for letter, _ in letters.most_common(NAMED)) + (
        f" and {len(letters) - NAMED:,} more" if len(letters) > NAMED else ""
    )
    what = f"the model's vocabulary has not the letters {named} of the texts: {rows:,} of {len(texts):,} rows cannot be written whole"
    capitals, small = (
        any(change(letter) != letter and spelling.writes(change(letter)) for letter in letters)
        for change in (str.upper, str.lower)
    )
    asks = ["write them in capitals"] * capitals + ["write them in small letters"] * small
    if any(not spelling.writes(letter.upper()) and not spelling.writes(letter.lower()) for letter in letters):
        asks.append("take out or spell out what it has no letter for, such as marks and digits")
    fix = ", ".join(asks)
    if rows == len(texts) or letters.total() > MOST_UNKNOWN * total:
        share = f"{letters.total():,} of {total:,} letters are none of its own"
        raise BadInput(f"{what}, and {share}", where="data, text", fix=fix)
    return [f"warning: {what}, and what it cannot write counts as wrong; {fix}"]


def _settings(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = read_document(path)
    except BadInput:  # told by who reads it
        return {}
    return document if isinstance(document, dict) else {}


def _theirs(source: Path) -> Any:
    """transformers' tokenizer of checkpoint `source`."""
    from transformers import AutoTokenizer

    with view(source) as seen:
        try:
            found: Any = AutoTokenizer.from_pretrained(seen, local_files_only=True, trust_remote_code=False)
        except Exception as fault:  # transformers raises many kinds
            said = " ".join(str(fault).split())[:200]
            raise BadInput(f"transformers' AutoTokenizer cannot load it: {said}", where=str(source / VOCABULARY)) from None
    if type(found).__name__ != TOKENIZER:
        raise BadInput(
            f"its tokenizer is a {type(found).__name__}, and {TOKENIZER} alone is served", where=str(source / SETTINGS)
        )
    return found
