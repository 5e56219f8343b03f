"""Tokenizers that no bundle holds are refused before the tokenizers library reads them; golden inputs are read as what they are."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from edgekit.errors import BadInput, CheckFailed, EdgekitError
from edgekit.runtime.bundle.golden import parse_golden
from edgekit.runtime.bundle.tokenizer_file import COMPONENTS, check_tokenizer_file, tokenizer_faults
from tests.tiny_manifest import tiny_manifest

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "ab", "##b"]
Change = Callable[[dict[str, Any]], object]


def sound() -> dict[str, Any]:
    made = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    made.add_special_tokens(WORDS[:4])
    document: dict[str, Any] = json.loads(made.to_str())
    return document


def replaced(part: str, **values: Any) -> Change:
    return lambda document: document.update({part: values})


def several(part: str, inner: str, *parts: dict[str, Any]) -> Change:
    return lambda document: document.update({part: {"type": "Sequence", inner: list(parts)}})


def model(**values: Any) -> Change:
    return lambda document: document["model"].update(values)


def template(**values: Any) -> Change:
    return lambda document: document["post_processor"].update(values)


DOUBLE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
TRIE = base64.b64encode((4).to_bytes(4, "little") + b"\0\0\0\0" + b"x" * 70 + b"\0").decode()
A, B = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
HOSTILE: dict[str, tuple[Change, str]] = {
    "thirty-four doublings": (several("normalizer", "normalizers", *[DOUBLE] * 34), "makes more than 64"),
    "seven doublings": (several("normalizer", "normalizers", *[DOUBLE] * 7), "makes more than 64"),
    "doublings within others": (several("normalizer", "normalizers", *[{"type": "Sequence", "normalizers": [DOUBLE] * 4}] * 2), "makes more than 64"),
    "one long replacement": (replaced("normalizer", type="Replace", pattern={"String": "a"}, content="b" * 99), "makes more than 64"),
    "a replacement of nothing": (replaced("normalizer", type="Replace", pattern={"String": ""}, content="b"), "matches everywhere"),
    "insertions between all": (several("normalizer", "normalizers", *[{"type": "Replace", "pattern": {"Regex": "x*"}, "content": "b"}] * 7),
                               "makes more than 64"),
    "bytes of bytes": (several("normalizer", "normalizers", *[{"type": "ByteLevel"}] * 4), "makes more than 64"),
    "bytes of bytes, disguised": (several("normalizer", "normalizers", *[{"type": "ByteLevel", "x": True}] * 4), "makes more than 64"),
    "bytes of bytes, later": (several("pre_tokenizer", "pretokenizers", *[{"type": "ByteLevel", "use_regex": False}] * 4), "makes more than 64"),
    "long compiled rules": (replaced("normalizer", type="Precompiled", precompiled_charsmap=TRIE), "makes more than 64"),
    "compiled rules of none": (replaced("normalizer", type="Precompiled", precompiled_charsmap="AAAA"), "not one of SentencePiece"),
    "compiled rules in no base64": (replaced("normalizer", type="Precompiled", precompiled_charsmap="?"), "not one of SentencePiece"),
    "compiled rules of another type": (replaced("normalizer", type="Precompiled", precompiled_charsmap=[1]), "not what Precompiled takes"),
    "doublings of what is said": (several("decoder", "decoders", *[DOUBLE] * 34), "decoder: makes more than 64"),
    "catastrophic": (replaced("pre_tokenizer", type="Split", pattern={"Regex": "(q+)+Z"}, behavior="Isolated", invert=False), "may take forever"),
    "catastrophic, within": (several("pre_tokenizer", "pretokenizers", {"type": "Split", "pattern": {"Regex": "(a|a)*b"}, "behavior": "Isolated",
                                     "invert": False}), "may take forever"),
    "catastrophic, normalizing": (replaced("normalizer", type="Replace", pattern={"Regex": "(a*)*$"}, content=""), "may take forever"),
    "catastrophic, decoding": (replaced("decoder", type="Replace", pattern={"Regex": "(a*)*$"}, content=""), "may take forever"),
    "a pattern of no kind": (replaced("pre_tokenizer", type="Split", pattern={"Glob": "*"}, behavior="Isolated", invert=False),
    "not what Split takes"),
    "two patterns": (replaced("normalizer", type="Replace", pattern={"String": "a", "Regex": "b"}, content=""), "not what Replace takes"),
    "no pattern": (replaced("normalizer", type="Replace", content="x"), "pattern: missing"),
    "pieces of no length": (replaced("pre_tokenizer", type="FixedLength", length=0), "'FixedLength' is of no known kind"),
    "a part of no kind": (replaced("normalizer", type="Exec", command="rm"), "'Exec' is of no known kind"),
    "a part without a kind": (replaced("normalizer", lowercase=True), "None is of no known kind"),
    "a part that is a list": (lambda d: d.update(normalizer=[]), "None is of no known kind"),
    "a kind that is a list": (replaced("normalizer", type=["NFC"]), "is of no known kind"),
    "a decoder as a normalizer": (replaced("normalizer", type="Fuse"), "'Fuse' is of no known kind"),
    "a hundred parts": (several("normalizer", "normalizers", *[{"type": "NFC"}] * 100), "not a list of parts|not what Sequence takes"),
    "parts of parts": (several("normalizer", "normalizers", *[{"type": "Sequence", "normalizers": [{"type": "NFC"}] * 20}] * 20),
    "more than 64 parts"),
    "a nest": (lambda d: d.update(normalizer=nested(20)), "within too many others"),
    "a list for a flag": (replaced("normalizer", type="BertNormalizer", lowercase=[True]), "lowercase: not what BertNormalizer takes"),
    "an object that nobody reads": (replaced("normalizer", type="NFC", more={}), "more: not what NFC takes"),
    "a replacement of two letters": (replaced("pre_tokenizer", type="Metaspace", replacement="__"), "not what Metaspace takes"),
    "WordPiece without its unknown token": (model(unk_token="[NOPE]"), "'[NOPE]' is not in its vocabulary"),
    "WordPiece without any": (lambda d: d["model"].pop("unk_token"), "None is not in its vocabulary"),
    "endless words": (model(max_input_chars_per_word=10**9), "is not within 1 to 1,000"),
    "words of no letter": (model(max_input_chars_per_word=0), "is not within 1 to 1,000"),
    "an id twice": (lambda d: d["model"]["vocab"].update(c=4), "two tokens have one id"),
    "an id beyond the model's": (lambda d: d["model"]["vocab"].update(c=8), "token id 8 is beyond the model's vocabulary of 8"),
    "an added one beyond it": (lambda d: d["added_tokens"].append({**d["added_tokens"][0], "id": 99}), "token id 99 is beyond"),
    "a negative id": (lambda d: d["model"]["vocab"].update(c=-1), "not an object of tokens with their ids"),
    "an id in words": (lambda d: d["model"]["vocab"].update(c="9"), "not an object of tokens with their ids"),
    "no vocabulary": (model(vocab={}), "not an object of tokens with their ids"), "a list as vocabulary": (model(vocab=["a"]),
    "not an object of tokens"),
    "a model of no kind": (model(type="Oracle"), "'Oracle' is of no known kind"), "no model": (lambda d: d.pop("model"), "model: missing"),
    "BPE with dropout": (model(type="BPE", merges=[], dropout=0.1), "other tokens each time"),
    "BPE with an unknown token of none": (model(type="BPE", merges=[], unk_token="x"), "'x' is not in its vocabulary"),
    "WordLevel without an unknown token": (model(type="WordLevel", unk_token="x"), "'x' is not in its vocabulary"),
    "Unigram without an unknown token": (model(type="Unigram", vocab=[["a", 0.0]], unk_id=None), "None is not among its 1 tokens"),
    "Unigram with one beyond": (model(type="Unigram", vocab=[["a", 0.0]], unk_id=1), "1 is not among its 1 tokens"),
    "Unigram without scores": (model(type="Unigram", vocab=["a"], unk_id=0), "not a list of tokens with their scores"),
    "Unigram with nothing": (model(type="Unigram", vocab=[], unk_id=0), "not a list of tokens with their scores"),
    "a prefix that is a number": (model(continuing_subword_prefix=1), "not a short text"),
    "an added token without text": (lambda d: d["added_tokens"][0].pop("content"), "added_tokens[0]"),
    "an added token as long as a book": (lambda d: d["added_tokens"][0].update(content="x" * 10**6), "added_tokens[0]"),
    "added tokens that are an object": (lambda d: d.update(added_tokens={"a": 1}), "added_tokens or model"),
    "a text a thousand times": (template(single=[A] * 1000), "not a list of at most 32 pieces"), "a text twice": (template(single=[A, A]),
    "not A once"),
    "no text": (template(single=[]), "not A once"), "one of two texts": (template(pair=[A]), "not A and B once"),
    "special tokens without end": (template(special_tokens={"[CLS]": {"id": "[CLS]", "ids": [2] * 99, "tokens": ["[CLS]"] * 99}}), "has no ids"),
    "a special token of nobody": (template(single=[A, {"SpecialToken": {"id": "[X]", "type_id": 0}}]), "neither a text nor a known special token"),
    "a piece of no kind": (template(single=[A, {}]), "neither a text nor a known special token"),
    "a huge type": (template(single=[{"Sequence": {"id": "A", "type_id": 2**40}}]), "neither a text nor a known special token"),
    "BERT's frame without ids": (replaced("post_processor", type="BertProcessing", sep=["[SEP]"], cls=["[CLS]", 2]), "not what BertProcessing takes"),
    "a further key": (lambda d: d.update(plugin="x"), "plugin: unknown"),
}  # fmt: skip


def nested(depth: int) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": [nested(depth - 1)]} if depth else {"type": "NFC"}


def write(folder: Path, document: object) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def check(path: Path, vocabulary: int = len(WORDS)) -> None:
    check_tokenizer_file(path, tiny_manifest(labels="ab", vocabulary=vocabulary, golden=1))


def test_a_sound_tokenizer(tmp_path: Path) -> None:
    check(write(tmp_path, sound()))
    with pytest.raises(BadInput, match="token id 7 is beyond the model's vocabulary of 7"):
        check(write(tmp_path, sound()), 7)


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(name: str, tmp_path: Path) -> None:
    change, what = HOSTILE[name]
    document = sound()
    change(document)
    path = write(tmp_path, document)
    with pytest.raises(BadInput) as fault:
        check(path)
    assert str(fault.value).startswith(f"{path}: not a tokenizer that a bundle can hold")
    assert any(one in str(fault.value) for one in what.split("|")), str(fault.value)
    assert len(str(fault.value)) < 4000


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "3", '"x"', '{"model": 1}', '{"added_tokens": [1], "model": {}}', "{" * 99, '{"a":1,"a":2}', "\0"],
)
def test_what_is_no_tokenizer(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        check(write(tmp_path, text))


MADE = {
    "normalizer": [
        normalizers.BertNormalizer(), normalizers.ByteLevel(), normalizers.Lowercase(), normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(),
        normalizers.NFKD(), normalizers.Nmt(), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁"), normalizers.Strip(),
        normalizers.StripAccents(),
        normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()]),
    ],
    "pre_tokenizer": [
        pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(), pre_tokenizers.CharDelimiterSplit("-"), pre_tokenizers.Digits(True),
        pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(), pre_tokenizers.Split(" ", "isolated"), pre_tokenizers.UnicodeScripts(),
        pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Sequence([pre_tokenizers.Digits(),
        pre_tokenizers.Whitespace()]),
    ],
    "post_processor": [
        processors.BertProcessing(("b", 1), ("a", 2)), processors.RobertaProcessing(("b", 1), ("a", 2)), processors.ByteLevel(),
        processors.TemplateProcessing("$A"), processors.Sequence([processors.ByteLevel()]),
    ],
    "decoder": [
        decoders.BPEDecoder(), decoders.ByteFallback(), decoders.ByteLevel(), decoders.CTC(), decoders.Fuse(), decoders.Metaspace(),
        decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0), decoders.WordPiece(), decoders.Sequence([decoders.Fuse(), decoders.ByteFallback()]),
    ],
}  # fmt: skip


def test_every_part_of_the_library_is_taken_as_it_writes_it() -> None:
    """All parts that the installed library makes, but for pieces of a fixed length: a new one is looked at before it is taken."""
    for part, made in MADE.items():
        seen = set()
        for one in made:
            tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
            setattr(tokenizer, part, one)
            document = json.loads(tokenizer.to_str())
            assert list(tokenizer_faults(document, 1)) == [], document
            seen.add(document[part]["type"])
        assert set(COMPONENTS[part]) - seen <= {"Precompiled"}


ROW: dict[str, Any] = {"input": "a", "input_ids": [[1, 2]], "outputs": [[0.5, 1]], "answer": "x", "margin": 0.5}
NO_ROWS: dict[str, object] = {
    "nothing": {}, "a list": [], "text": "x", "rows and more": {"rows": [ROW], "more": 1}, "rows of another type": {"rows": {"0": ROW}},
    "a row of another type": {"rows": ["a"]}, "a row without ids": {"rows": [{key: ROW[key] for key in ROW if key != "input_ids"}]},
    "a further field": {"rows": [{**ROW, "more": 1}]}, "a number as input": {"rows": [{**ROW, "input": 3}]},
    "ids that are texts": {"rows": [{**ROW, "input_ids": [["1"]]}]}, "ids that are no lists": {"rows": [{**ROW, "input_ids": [1]}]},
    "ids that are flags": {"rows": [{**ROW, "input_ids": [[True]]}]}, "outputs of texts": {"rows": [{**ROW, "outputs": [["1"]]}]},
    "outputs of different lengths": {"rows": [{**ROW, "outputs": [[[1.0], [1.0, 2.0]]]}]}, "outputs of flags": {"rows": [{**ROW,
    "outputs": [[True]]}]},
    "outputs of nothing": {"rows": [{**ROW, "outputs": [None]}]}, "a number as outputs": {"rows": [{**ROW, "outputs": 1.0}]},
    "fewer outputs than windows": {"rows": [{**ROW, "outputs": []}]}, "three axes": {"rows": [{**ROW, "outputs": [[[[1.0]]]]}]},
    "an object as answer": {"rows": [{**ROW, "answer": {}}]}, "a text as margin": {"rows": [{**ROW, "margin": "1"}]}, "no rows": {"rows": []},
    "two rows": {"rows": [ROW, ROW]}, "NaN": {"rows": [{**ROW, "margin": float("nan")}]},
}  # fmt: skip


@pytest.mark.parametrize("name", NO_ROWS)
def test_no_golden_inputs(name: str, tmp_path: Path) -> None:
    (tmp_path / "golden.json").write_text(json.dumps(NO_ROWS[name]))
    with pytest.raises(EdgekitError, match=r"golden\.json: ") as fault:
        parse_golden(tmp_path, tiny_manifest(labels="ab", vocabulary=9, golden=1))
    assert isinstance(fault.value, BadInput | CheckFailed)


def test_golden_inputs(tmp_path: Path) -> None:
    """A text, words, an object; an output for each label and for each token."""
    rows = [
        ROW,
        {**ROW, "input": ["a"], "outputs": [[[1.0], [2.0]]], "answer": None, "margin": None},
        {**copy.deepcopy(ROW), "input": {"text": "a"}},
    ]
    (tmp_path / "golden.json").write_text(json.dumps({"rows": rows}))
    first, second, third = parse_golden(tmp_path, tiny_manifest(labels="ab", vocabulary=9, golden=3))
    assert (first.input, first.ids, first.answer, first.margin) == ("a", [[1, 2]], "x", 0.5)
    assert first.outputs[0].tolist() == [0.5, 1.0] and second.outputs[0].shape == (2, 1) and third.input == {"text": "a"}
