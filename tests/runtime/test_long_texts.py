"""The tokens that are kept of a very long text are those of the whole text, though not all of it is tokenised where that cannot matter.

transformers' pipelines tokenise all of a text and then cut it; so does `whole` here, by the same tokenizers library.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from edgekit.runtime import tokenise
from edgekit.runtime.tokenise import Tokeniser, load_tokeniser
from tests.tiny_word_tokenizers import CORPUS, MADE, SPECIAL, bpe, framed

LIMIT, FIRST, MARGIN = 12, 400, 60


def stripping() -> Tokenizer:
    """Takes space off both ends, and joins runs of it: a cut makes other ends."""
    normal = normalizers.Sequence([normalizers.NFC(), normalizers.Strip(), normalizers.Replace("  ", " ")])
    return bpe(pre_tokenizers.Metaspace(prepend_scheme="first"), normal)


def pairs_of_a() -> Tokenizer:
    """Of a run of a letter its last token depends on how long the run is."""
    return framed(
        Tokenizer(models.BPE({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "aa": 4, " ": 5}, [("a", "a")], unk_token="<unk>"))
    )


def whole_unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    )
    return framed(tokenizer)


def with_long_tokens() -> Tokenizer:
    """Added tokens that hold spaces, and one that takes those beside it."""
    tokenizer = bpe(pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.add_tokens([AddedToken("new york city", single_word=False), AddedToken("we", lstrip=True, rstrip=True)])
    return tokenizer


EVERY = {**MADE, "stripping": stripping, "pairs": pairs_of_a, "unigram of the whole": whole_unigram, "added": with_long_tokens}
LONG = {
    "words": "we went to new york city . " * 80,
    "one word": "a" * 2001,
    "words of hundreds of letters": ("x" * 150 + " ") * 20 + "we went to new york",
    "space": "we" + " " * 1500 + "went to" + "\n" * 800 + "new york city" + " \t" * 300,
    "marks": "cafe\u0301 " * 300,
    "zero-width": "we\u200b\ufe0f went\u200d " * 150,
    "no spaces": "東京へ行きました" * 200,
    "one token among nothing": "\u200b" * 900 + "we" + "\u200b" * 900,
}


@dataclass
class Counting:
    """A tokenizer that counts the characters that it is given."""

    inner: Any
    lengths: list[int] = field(default_factory=list)

    def encode(self, text: str, *more: object) -> object:
        self.lengths.append(len(text))
        return self.inner.encode(text, *more)


def made(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, left: bool) -> Tokeniser:
    monkeypatch.setattr(tokenise, "FEWEST_READ", FIRST)
    monkeypatch.setattr(tokenise, "CHARACTERS_A_TOKEN", 8)
    monkeypatch.setattr(tokenise, "MARGIN", MARGIN)
    EVERY[name]().save(str(folder / "tokenizer.json"))
    return load_tokeniser(folder / "tokenizer.json", LIMIT, left=left)


def whole(folder: Path, text: str, *, left: bool) -> tuple[list[int], list[tuple[int, int]]]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LIMIT, direction="left" if left else "right")
    encoding = tokenizer.encode(text)
    return encoding.ids, [pair for pair, part in zip(encoding.offsets, encoding.sequence_ids, strict=True) if part == 0]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_tokens_and_places_are_those_of_the_whole_text(
    name: str, left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = made(name, tmp_path, monkeypatch, left=left)
    for kind, text in LONG.items():
        for further in range(3):  # cuts fall on other places of a word
            window, (ids, offsets) = (
                ours.text(text + "w" * further, placed=True),
                whole(tmp_path, text + "w" * further, left=left),
            )
            assert window.ids.tolist() == ids, (kind, further)
            assert [tuple(pair) for pair in window.offsets[window.words >= 0]] == offsets, (kind, further)


@pytest.mark.parametrize("left", [False, True])
def test_of_plain_text_a_fixed_part_is_tokenised(left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = made("WordPiece", tmp_path, monkeypatch, left=left)
    counting = Counting(ours.tokenizer)
    replace(ours, tokenizer=counting).text("we went to london " * 5000)  # type: ignore[arg-type]
    assert counting.lengths == [FIRST]


def test_two_texts_are_tokenised_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longer one loses tokens first, and which that is only their tokens tell."""
    ours = made("WordPiece", tmp_path, monkeypatch, left=False)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for limit in (LIMIT, LIMIT + 1):
        tokenizer.enable_truncation(limit)
        for first, second in (
            (LONG["words"], LONG["space"]),
            (LONG["space"], LONG["words"]),
            (LONG["words"], LONG["words"] + " we"),
        ):
            assert replace(ours, max_length=limit).both(first, second).ids.tolist() == tokenizer.encode(first, second).ids


def test_a_language_model_reads_all_of_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = replace(made("WordPiece", tmp_path, monkeypatch, left=False), cuts=False)
    assert len(ours.text(LONG["words"]).ids) == len(ours.tokenizer.encode(LONG["words"]))
    assert not np.any(ours.text(LONG["words"]).truncated)
