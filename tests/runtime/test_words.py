"""Words and their tokens: ready-made words have the ids of the text that they make, in every kind of tokenizer; a word's tag is that of its
first token, whichever words the tokenizer drops; answers are those of transformers' pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast, TokenClassificationPipeline

from edgekit.errors import BadInput
from edgekit.runtime.processors import Asked
from edgekit.runtime.processors.token_classification import answer, first_tokens, prepare, word_tags
from edgekit.runtime.tokenise import Tokeniser, load_tokeniser
from tests.tiny_word_tokenizers import MADE, SPECIAL, TEXTS, WORDS

LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


AS_IT_WAS = ("WordPiece", "Unigram", "byte-level with a prefix space")
"""Kinds whose words by themselves have the ids that they have in a text."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tokenizers")
    for number, make in enumerate(MADE.values()):
        make().save(str(folder / f"{number}.json"))
    return {name: folder / f"{number}.json" for number, name in enumerate(MADE)}


def tokeniser(files: dict[str, Path], kind: str, length: int = 64) -> Tokeniser:
    return load_tokeniser(files[kind], length)


@pytest.mark.parametrize("kind", list(MADE))
@settings(max_examples=40, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=12))
def test_words_have_the_ids_of_their_text(files: dict[str, Path], kind: str, words: list[str]) -> None:
    text = " ".join(words)
    window = tokeniser(files, kind).words(words)
    assert window.ids.tolist() == Tokenizer.from_file(str(files[kind])).encode(text).ids
    assert tokeniser(files, kind).marked == (kind == "WordPiece")
    alone = Tokenizer.from_file(str(files[kind])).encode(words, is_pretokenized=True).ids
    assert kind not in AS_IT_WAS or alone == window.ids.tolist()
    assert window.ready == len(words) and window.words.max() < len(words)
    numbers = window.words[first_tokens(window.words)]
    assert (np.diff(numbers) > 0).all(), "each word once, in order"
    kept = {word for word in range(len(words)) if kind != "WordPiece" or words[word] not in ("\u200b", "\ufe0f")}
    assert set(numbers) >= kept - {word for word in kept if words[word] == "\ufe0f"}
    for word, (low, high) in zip(window.words, window.offsets, strict=True):
        assert word < 0 or 0 <= low <= high <= len(words[word])


def test_words_alone_as_text_and_first_of_a_text(files: dict[str, Path]) -> None:
    """What a byte-level tokenizer made of ready-made words before: other ids than the text has for every word but the first."""
    alone = Tokenizer.from_file(str(files["RoBERTa"])).encode(["we", "went"], is_pretokenized=True).ids
    assert (
        alone
        != tokeniser(files, "RoBERTa").words(["we", "went"]).ids.tolist()
        == tokeniser(files, "RoBERTa").text("we went").ids.tolist()
    )


@pytest.mark.parametrize("kind", list(MADE))
def test_words_are_cut_as_their_text(files: dict[str, Path], kind: str) -> None:
    words = WORDS[:10] * 3
    window, text = tokeniser(files, kind, 12).words(words), tokeniser(files, kind, 12).text(" ".join(words))
    assert window.truncated and text.truncated and window.ids.tolist() == text.ids.tolist()
    tags = word_tags(np.eye(len(LABELS), dtype=np.float32)[np.full(12, 1)], window, LABELS, len(words))
    assert len(tags) == len(words) and tags[0] == "B-LOC" and tags[-1] == "O"


@pytest.mark.parametrize("dropped", ["\u200d", "\u200b", "\ufe0f", "\x00", "\x7f", "\u00ad", "\u0301"])
def test_a_word_that_the_tokenizer_drops_keeps_its_place(files: dict[str, Path], dropped: str) -> None:
    words = [dropped, "we", "went", dropped, "london", dropped]
    (window,) = prepare(tokeniser(files, "WordPiece"), words)
    assert set(window.words) == {-1, 1, 2, 4}
    logits = np.zeros((1, len(window.ids), len(LABELS)), dtype=np.float32)
    logits[0, window.words == 4, 1] = 9
    found = answer([logits], [window], Asked(LABELS))
    assert found["tags"] == ["O", "O", "O", "O", "B-LOC", "O"]
    assert [(entity["label"], entity["start"], entity["end"]) for entity in found["entities"]] == [("LOC", 4, 5)]
    plain = answer([logits[:, :, :2]], [window], Asked(["NOUN", "VERB"]))
    assert plain["tags"][0] == "O" and plain["tags"][4] == "VERB" and len(plain["words"]) == len(plain["tags"]) == 6
    assert "entities" not in plain


def test_a_lone_sign_of_a_space_is_no_word(tmp_path: Path) -> None:
    """SentencePiece writes one before what begins no piece; transformers' pipeline takes the next token for the word's first, as we do."""
    letters = [(letter, -3.0) for letter in "abc▁"]
    tokenizer = Tokenizer(models.Unigram([*((token, 0.0) for token in SPECIAL), *letters], 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokenise = load_tokeniser(tmp_path / "tokenizer.json", 32)
    assert tokenizer.encode("a bc a").tokens == ["▁", "a", "▁", "b", "c", "▁", "a"]
    for item in ("a bc a", ["a", "bc", "a"]):
        (window,) = prepare(tokenise, item)
        assert window.words.tolist() == [0, 0, -1, 1, 1, -1, 2]


def test_words_may_be_named(files: dict[str, Path]) -> None:
    tokenise = tokeniser(files, "RoBERTa")
    (named,), (listed,) = prepare(tokenise, {"words": ["we", "went"]}), prepare(tokenise, ["we", "went"])
    assert named.ids.tolist() == listed.ids.tolist()
    with pytest.raises(BadInput, match="words: words must be a list of texts, not str"):
        prepare(tokenise, {"words": "we went"})
    for odd in ({"tokens": ["we"]}, {"words": ["we"], "text": "we"}, {}):
        with pytest.raises(BadInput, match="neither a text nor words"):
            prepare(tokenise, odd)
    for empty in ({"words": []}, {"words": ["we", ""]}, {"words": ["we", 3]}):
        with pytest.raises(BadInput, match="words" if not empty["words"] else r"words\[1\]: "):
            prepare(tokenise, empty)


@pytest.fixture(scope="module")
def tagger() -> BertForTokenClassification:
    """A random one whose tags change from token to token."""
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=600, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64,
        initializer_range=1.0, id2label=dict(enumerate(LABELS)), label2id={label: number for number, label in enumerate(LABELS)},
    )  # fmt: skip
    return BertForTokenClassification(config).eval()


def by_transformers(model: BertForTokenClassification, path: Path, text: str, **options: Any) -> list[dict[str, Any]]:
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(path), unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    pipeline = TokenClassificationPipeline(model=model, tokenizer=theirs, aggregation_strategy="first", **options)
    found: list[dict[str, Any]] = pipeline(text)
    return found


def by_us(model: BertForTokenClassification, path: Path, item: object, labels: list[str] = LABELS) -> Any:
    windows = prepare(load_tokeniser(path, 64), item)
    with torch.inference_mode():
        outputs = [
            model(**{name: torch.from_numpy(array) for name, array in one.feed().items()}).logits.numpy() for one in windows
        ]
    return answer(outputs, windows, Asked(labels, item=item))


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("kind", list(MADE))
def test_entities_of_a_text_are_those_of_transformers(
    files: dict[str, Path], tagger: BertForTokenClassification, kind: str
) -> None:
    some = 0
    for text in TEXTS:
        wanted, found = by_transformers(tagger, files[kind], text), by_us(tagger, files[kind], text)["entities"]
        some += len(wanted)
        assert [(one["label"], one["end"]) for one in found] == [(one["entity_group"], one["end"]) for one in wanted], text
        # Where a tokenizer counts the space before a word to its token, transformers' entity begins with it, and ours does not.
        blanks = [len(text[one["start"] :]) - len(text[one["start"] :].lstrip()) for one in wanted]
        assert [one["start"] for one in found] == [one["start"] + blank for one, blank in zip(wanted, blanks, strict=True)], (
            text
        )
        assert [one["score"] for one in found] == pytest.approx([float(one["score"]) for one in wanted], abs=1e-4)
        assert all(one["text"] == text[one["start"] : one["end"]] == one["text"].strip() for one in found)
        words = by_us(tagger, files[kind], text.split())
        if kind not in ("WordPiece", "no words at all"):
            places = [(text.split()[one["start"] : one["end"]]) for one in words["entities"]]
            assert [one["text"].split() for one in found] == places, "ready-made words have the tags that they have in the text"
    assert some > 8


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("kind", list(MADE))
def test_plain_tags_are_those_of_transformers(files: dict[str, Path], tagger: BertForTokenClassification, kind: str) -> None:
    """Word by word: transformers joins neighbours of one tag into a group, which no tagger of parts of speech means."""
    names = ["NOUN", "VERB", "X", "ADJ", "DET"]
    for text in TEXTS:
        found = by_us(tagger, files[kind], text, names)["words"]
        wanted = by_transformers(tagger, files[kind], text, ignore_labels=[])
        grouped: list[list[Any]] = []
        for one in found:
            bio = LABELS[names.index(one["label"])]
            if grouped and bio[:1] != "B" and bio[2:] == grouped[-1][0][2:] and (bio == "O") == (grouped[-1][0] == "O"):
                grouped[-1][1] = one["end"]
            else:
                grouped.append([bio, one["end"]])
        assert [(label.split("-")[-1], end) for label, end in grouped] == [(one["entity_group"], one["end"]) for one in wanted]


def test_white_space_is_no_word(files: dict[str, Path], tagger: BertForTokenClassification) -> None:
    """Stricter than transformers, whose pipeline tags a second space as a word of its own."""
    text = "  we  went\tto \n new   york "
    for kind in MADE:
        found = by_us(tagger, files[kind], text, ["NOUN", "VERB", "X", "ADJ", "DET"])["words"]
        assert [one["text"] for one in found] == text.split(), kind
