"""tokenizer.json beside a tokenizer_config.json that says otherwise: ids are those of transformers' AutoTokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from edgekit.errors import BadInput
from edgekit.models.facts import facts_of_checkpoint
from edgekit.models.files import input_names
from edgekit.models.settle import settle
from edgekit.runtime.tokenise import load_tokeniser
from tests.tiny_decoders import copied

CORPUS = [
    "Turn ON the Red light",
    "häll in the KITCHEN",
    "你好 light",
    "is it [MASK] off?",
    "the [SEP] hall",
    "paint  it\twhite",
]


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [{}, {"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}, {"mask_token": "[ELSE]"},
     {"tokenizer_class": "PreTrainedTokenizerFast"}, {"truncation_side": "left"}],
    ids=str,
)  # fmt: skip
def test_ids_are_those_of_transformers(changes: dict[str, Any], tiny_model: Path, tmp_path: Path) -> None:
    source = copied(tiny_model, tmp_path / "source")
    edited(source / "tokenizer_config.json", **changes)
    edited(source / "config.json", type_vocab_size=2)
    out = copied(source, tmp_path / "out")
    settle(source, out, inputs=True)
    ours, theirs = load_tokeniser(out / "tokenizer.json", 64, segments=True), AutoTokenizer.from_pretrained(source)
    for text in CORPUS:
        assert ours.text(text).ids.tolist() == theirs(text).input_ids
        assert ours.both(text, CORPUS[0]).ids.tolist() == theirs(text, CORPUS[0]).input_ids
    kept = (out / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert kept == (not set(changes) & {"do_lower_case", "strip_accents", "tokenize_chinese_chars"})
    given = "token_type_ids" in input_names(out, pairs=True)
    assert given == ("token_type_ids" in theirs.model_input_names)
    again = copied(out, tmp_path / "again")
    settle(out, again, inputs=True)
    assert (again / "tokenizer.json").read_bytes() == (out / "tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [{"added_tokens_decoder": {"200": {"content": "[NEW]", "special": True}}}, {"additional_special_tokens": ["[NEW]"]}],
    ids=str,
)
def test_tokens_that_the_configuration_adds_beyond_the_embedding_are_seen_by_the_plan(
    changes: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    source = copied(tiny_model, tmp_path / "source")
    edited(source / "tokenizer_config.json", **changes)
    found = facts_of_checkpoint(str(source)).token_ids
    assert found is not None and found.first == "[NEW]" and found.count == len(AutoTokenizer.from_pretrained(source))


def test_a_tokenizer_that_transformers_cannot_load(tiny_model: Path, tmp_path: Path) -> None:
    source = copied(tiny_model, tmp_path / "source")
    (source / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match="AutoTokenizer cannot load it"):
        settle(source, copied(tiny_model, tmp_path / "out"), inputs=True)


def test_a_decoder_keeps_tokens_beyond_its_embedding(tiny_model: Path, tmp_path: Path) -> None:
    source = copied(tiny_model, tmp_path / "source")
    edited(source / "tokenizer_config.json", added_tokens_decoder={"500": {"content": "[IMAGE]", "special": True}})
    out = copied(source, tmp_path / "out")
    settle(source, out, inputs=False, trim=False)
    theirs = AutoTokenizer.from_pretrained(source)
    assert load_tokeniser(out / "tokenizer.json", 64).text("a [IMAGE] here").ids.tolist() == theirs("a [IMAGE] here").input_ids
