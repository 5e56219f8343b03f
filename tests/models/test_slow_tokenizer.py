"""Vocabularies without a tokenizer.json: converted by transformers, compared with their own tokenizer, and then as AutoTokenizer cuts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import BadInput
from edgekit.models.facts import facts_of_checkpoint
from edgekit.models.files import check_files, vocabulary_of
from edgekit.models.settle import settle
from edgekit.models.slow_tokenizer import check_conversion
from edgekit.runtime.tokenise import load_tokeniser

TEXTS = ["The cat went to Zürich, twice!", "un café naïve", "  two  spaces and HELLO ", "你好 world 10", "x" * 20]
WORDS = [
    "the",
    "cat",
    "went",
    "to",
    "zu",
    "##rich",
    "twice",
    "cafe",
    "un",
    "naive",
    "two",
    "spaces",
    "and",
    "hello",
    "world",
    "##0",
    "1",
    "x",
    "##x",
]
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, ",", "!", "你", "好"]


def folder_of(folder: Path, family: str, **settings: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": family, "vocab_size": 5000}))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def bert(folder: Path, **settings: Any) -> Path:
    made = folder_of(folder, "bert", tokenizer_class="BertTokenizer", **settings)
    (made / "vocab.txt").write_text("\n".join(BERT) + "\n", encoding="utf-8")
    return made


def roberta(folder: Path) -> Path:
    from tokenizers import ByteLevelBPETokenizer

    made = folder_of(folder, "roberta", tokenizer_class="RobertaTokenizer")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(TEXTS * 3, 320, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False)
    bpe.save_model(str(made))
    return made


def sentencepiece(folder: Path, family: str, name: str, kind: str) -> Path:
    import io

    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    made = folder_of(folder, family, tokenizer_class=kind)
    model = io.BytesIO()
    trainer.train(
        sentence_iterator=iter([text.lower() for text in TEXTS] * 20), model_writer=model, vocab_size=60, hard_vocab_limit=False,
        minloglevel=2, pad_id=0, unk_id=1, bos_id=2, eos_id=3, user_defined_symbols=["[CLS]", "[SEP]", "[MASK]"] if family == "albert" else [],
    )  # fmt: skip
    (made / name).write_bytes(model.getvalue())
    return made


KINDS = {
    "bert": bert,
    "cased": lambda folder: bert(folder, do_lower_case=False),
    "roberta": roberta,
    "xlm-roberta": lambda folder: sentencepiece(folder, "xlm-roberta", "sentencepiece.bpe.model", "XLMRobertaTokenizer"),
    "t5": lambda folder: sentencepiece(folder, "t5", "spiece.model", "T5Tokenizer"),
    "albert": lambda folder: sentencepiece(folder, "albert", "spiece.model", "AlbertTokenizer"),
    "deberta-v2": lambda folder: sentencepiece(folder, "deberta-v2", "spm.model", "DebertaV2Tokenizer"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_that_is_written_cuts_as_transformers_does(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    source, out = KINDS[kind](tmp_path / "source"), tmp_path / "out"
    out.mkdir()
    texts = [text.lower() for text in TEXTS]
    settle(source, out, inputs=True, texts=texts)
    theirs, ours = AutoTokenizer.from_pretrained(source), load_tokeniser(out / "tokenizer.json", 64)
    assert [ours.text(text).ids.tolist() for text in TEXTS] == [theirs(text)["input_ids"] for text in TEXTS]


def test_a_conversion_that_cuts_otherwise_is_refused_with_the_text(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    source, other = KINDS["xlm-roberta"](tmp_path / "source"), AutoTokenizer.from_pretrained(bert(tmp_path / "bert"))
    with pytest.raises(BadInput, match=r"sentencepiece\.bpe\.model cuts a text of the rows otherwise") as caught:
        check_conversion(source, other, ["the cat"])
    assert caught.value.faults[0] == "text: 'the cat'"
    check_conversion(source, other, [])


def test_ids_beyond_the_embedding_are_refused(tmp_path: Path) -> None:
    source, out = sentencepiece(tmp_path / "source", "t5", "spiece.model", "T5Tokenizer"), tmp_path / "out"
    out.mkdir()
    (source / "config.json").write_text('{"model_type": "t5", "vocab_size": 20}')
    with pytest.raises(BadInput, match="its embedding 20 rows"):
        settle(source, out, inputs=True)
    text = bert(tmp_path / "bert")
    (text / "config.json").write_text('{"model_type": "bert", "vocab_size": 20}')
    ids = facts_of_checkpoint(str(text)).token_ids
    assert ids is not None and "embedding 20 rows" in str(ids.fault), "what a plan can know it says"


def test_the_side_that_is_cut_is_kept(tmp_path: Path) -> None:
    source, out = bert(tmp_path / "source", truncation_side="left"), tmp_path / "out"
    out.mkdir()
    (out / "tokenizer_config.json").write_text('{"truncation_side": "left"}')
    settle(source, out, inputs=True)
    assert load_tokeniser(out / "tokenizer.json", 5).left


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["vocab.txt"], "vocab.txt"),
        (["vocab.json", "merges.txt"], "vocab.json"),
        (["vocab.json"], None),
        (["spm.model"], "spm.model"),
        (["vocab.txt", "tokenizer.json"], None),
        ([], None),
    ],
)
def test_what_a_tokenizer_can_be_made_of(tmp_path: Path, files: list[str], found: str | None) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    assert vocabulary_of(tmp_path) == found


def test_a_folder_without_any_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    for path in tiny_model.iterdir():
        if path.name != "tokenizer.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(BadInput, match="no vocabulary that transformers makes one of"):
        check_files(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(BERT))
    check_files(tmp_path)
