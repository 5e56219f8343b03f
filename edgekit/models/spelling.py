"""How a CTC head's outputs are written, by the tokenizer of its checkpoint, for a device that has no tokenizer of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import BadInput
from edgekit.models.documents import read_document
from edgekit.models.view import view
from edgekit.runtime.bundle.names import PREPROCESSOR
from edgekit.runtime.spelling import Spelling

__all__ = ["is_ctc", "spelling_faults", "spelling_of"]

TOKENIZER = "Wav2Vec2CTCTokenizer"
"""transformers' class."""
VOCABULARY, SETTINGS = "vocab.json", "tokenizer_config.json"
SAID = (SETTINGS, PREPROCESSOR, "processor_config.json")
"""Files that may name the class that reads and writes for the model (`processor_class`)."""
BEAMS = "WithLM"
"""End of the name of the class that chooses texts by a language model."""
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
