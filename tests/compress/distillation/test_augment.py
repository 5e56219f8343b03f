"""New texts of training rows: real changes in scripts with and without spaces, never a training text, refused where none can be made."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest

from edgekit.compress.distillation.augment import augmented, augmented_rows, new_rows
from edgekit.compress.distillation.fill import _choose
from edgekit.compress.distillation.words import characters, joined, pieces
from edgekit.data.disjoint import fold
from edgekit.errors import BadInput

TEXTS = {
    "Chinese": ["今天天气很好", "我想订一张去北京的机票", "请把客厅的灯关掉", "明天早上七点叫我起床", "播放一首轻松的音乐"],
    "Japanese": [
        "今日は天気がいいですね",
        "北京行きの航空券を予約したい",
        "リビングの電気を消してください",
        "明日の朝七時に起こして",
    ],
    "Thai": ["วันนี้อากาศดีมาก", "ฉันอยากจองตั๋วไปปักกิ่ง", "ปิดไฟในห้องนั่งเล่น", "เล่นเพลงสบายๆ"],
    "English": ["the weather is nice today", "book me a flight to Beijing", "turn the lights off", "stop"],
    "mixed": ["打开WiFi 和 bluetooth", "把iPhone 15调成静音", "play 音乐 now", "好"],
}


@pytest.mark.parametrize("language", TEXTS)
def test_every_text_is_new_and_changed_within(language: str) -> None:
    texts = TEXTS[language]
    made = augmented(texts, 20, seed=3)
    assert len(made) == 20 * len(texts) and made == augmented(texts, 20, seed=3)
    assert not {fold(text) for text in made} & {fold(text) for text in texts}
    whole = {fold(one + gap + other) for one in texts for other in texts for gap in ("", " ")}
    assert sum(fold(text) in whole for text in made) < len(made) / 5, "two texts side by side are hardly a change"
    for text in made:
        assert text == text.strip() and not unicodedata.category(text[0]).startswith("M")
        if language in ("Chinese", "Japanese", "Thai"):
            assert " " not in text


@pytest.mark.parametrize("text", [text for texts in TEXTS.values() for text in texts])
def test_pieces_are_whole_letters_that_make_the_text_again(text: str) -> None:
    assert joined(pieces(text)) == text
    assert all(not unicodedata.category(piece.text[0]).startswith("M") for piece in pieces(text))


def test_vowels_and_marks_stay_with_their_consonant() -> None:
    assert [piece.text for piece in pieces("เล่นน้ำ ไทย")] == ["เล่", "น", "น้ำ", "ไท", "ย"]
    assert [piece.text for piece in pieces("カード 2枚")] == ["カー", "ド", "2", "枚"]
    assert characters("don't") == [(0, 5)]


def test_masks_are_put_on_characters_where_no_spaces_are() -> None:
    spans = [_choose("今天天气很好", np.random.default_rng(seed)) for seed in range(20)]
    assert all(end - start == 1 for one in spans for start, end in one) and len({str(one) for one in spans}) > 5
    assert {
        end - start for one in (_choose("nice day", np.random.default_rng(seed)) for seed in range(9)) for start, end in one
    } <= {3, 4}


@pytest.mark.parametrize(
    "row",
    [
        {"text": "好", "label": "a"},
        {"tokens": ["好"], "tags": ["O"]},
        {"question": "好", "context": "好", "answers": {}},
        {"sentence1": "stop", "sentence2": "stop", "score": 1.0},
    ],
)
def test_rows_of_which_nothing_new_is_made_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="no text can be made of the training rows"):
        new_rows([row], lambda texts: [f" {text.upper()} " for text in texts])


def test_rows_keep_what_belongs_to_their_text() -> None:
    rows = [{"text": text, "text_pair": str(number), "label": "a"} for number, text in enumerate(TEXTS["Chinese"])]
    made = augmented_rows(rows, 2, seed=1)
    assert [row["text_pair"] for row in made] == ["0", "1", "2", "3", "4"] * 2 and all(row["label"] is None for row in made)
