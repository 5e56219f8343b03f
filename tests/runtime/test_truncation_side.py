"""A tokenizer whose truncation_side is left: ids, types and offsets of long texts, pairs and windows are transformers'."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from edgekit.models.checkpoint import load, save
from edgekit.models.facts import facts_of_checkpoint
from edgekit.runtime.tokenise import CHARACTERS_A_TOKEN, load_tokeniser
from tests.tiny_decoders import copied

LONG, SHORT = "turn on the red light in the kitchen is the green lamp off paint a hall white and blue " * 3, "paint the hall"


@pytest.fixture(params=["left", "right", None])
def folder(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model as the original's stage leaves it, its side said in tokenizer_config.json."""
    source = copied(tiny_model, tmp_path / "source")
    path = source / "tokenizer_config.json"
    side = {} if request.param is None else {"truncation_side": request.param}
    path.write_text(json.dumps(json.loads(path.read_text()) | side))
    save(load(source), tmp_path / "saved", tokenizer_files_from=source)
    unchanged = (tmp_path / "saved" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert unchanged == (request.param != "left"), "a tokenizer that cuts on the right stays as it is, byte for byte"
    return tmp_path / "saved"


def test_a_text_two_texts_and_windows_are_those_of_transformers(folder: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(folder)
    ours = load_tokeniser(folder / "tokenizer.json", 20, segments=True)
    for text in (SHORT, LONG):
        assert ours.text(text).ids.tolist() == theirs(text, truncation=True, max_length=20).input_ids
    for first, second in ((LONG, SHORT), (SHORT, LONG), (LONG, LONG), (LONG, LONG + " off"), (SHORT, SHORT)):
        window, wanted = ours.both(first, second), theirs(first, second, truncation=True, max_length=20)
        assert window.ids.tolist() == wanted.input_ids
        assert window.types is not None and window.types.tolist() == wanted.token_type_ids
    windows = load_tokeniser(folder / "tokenizer.json", 24).pair(SHORT, LONG, 4)
    wanted = theirs(SHORT, LONG, truncation="only_second", max_length=24, stride=4, return_overflowing_tokens=True)
    assert [window.ids.tolist() for window in windows] == wanted.input_ids
    assert ours.text(LONG).ids.tolist() == theirs(LONG, truncation=True, max_length=20).input_ids, "the limit is set again"


def test_offsets_count_in_the_whole_text_however_long(folder: Path) -> None:
    ours = load_tokeniser(folder / "tokenizer.json", 20)
    text = "light " * (20 * CHARACTERS_A_TOKEN) + "red hall"
    window = ours.text(text, placed=True)
    assert window.truncated
    low, high = window.offsets[np.flatnonzero(window.words >= 0)][-1]
    assert window.text[low:high] and (window.text[:high] == text) == ours.left


def test_the_plan_knows_the_side(folder: Path) -> None:
    assert facts_of_checkpoint(str(folder)).cuts_left == load_tokeniser(folder / "tokenizer.json", 20).left
