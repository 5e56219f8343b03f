"""Greedy CTC decoding beside transformers' Wav2Vec2CTCTokenizer, and word errors beside known ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2CTCTokenizer

from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.models.sounds import write_wav
from edgekit.models.spelling import spelling_of, told_of_texts, vocabulary_spelling
from edgekit.plan.make import make_plan
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.runtime.spelling import Spelling
from edgekit.runtime.tokenise import NO_WORDS, Window
from edgekit.tasks.encoders.automatic_speech_recognition import TASK, edits, labels
from edgekit.tasks.losses import draw_frames, hard_ctc
from tests.tiny_images import as_text
from tests.tiny_sounds import LETTERS, RATE, made_model

SETTINGS: dict[str, dict[str, Any]] = {
    "as published": {},
    "small letters": {"do_lower_case": True},
    "closer together": {"clean_up_tokenization_spaces": True},
    "another delimiter": {"word_delimiter_token": "E", "replace_word_delimiter_char": "_"},
    "another blank": {"pad_token": "|", "word_delimiter_token": "T"},
    "tokens beside the vocabulary": {"bos_token": "<begin>", "eos_token": "<end>"},
}
VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOIN'.,?", "ch", "ß"]


def both(folder: Path, settings: dict[str, Any], size: int | None = None) -> tuple[Spelling, Any]:
    """(ours, transformers' tokenizer) of the same files."""
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(VOCABULARY)}))
    Wav2Vec2CTCTokenizer(folder / "vocab.json", **settings).save_pretrained(folder)
    config = {"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"], "vocab_size": size or len(VOCABULARY)}
    (folder / "config.json").write_text(json.dumps(config))
    return spelling_of(folder, config), Wav2Vec2CTCTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", SETTINGS)
def test_texts_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    ours, theirs = both(tmp_path, SETTINGS[name], len(VOCABULARY) + 3)
    draw = np.random.default_rng(5)
    for _ in range(300):
        frames = int(draw.integers(0, 60))
        logits = (
            draw.normal(size=(frames, len(VOCABULARY) + 3))
            + 3 * (draw.integers(0, 3, (frames, 1)) == 0) * np.eye(len(VOCABULARY) + 3)[0]
        )
        best = logits.argmax(axis=-1).repeat(draw.integers(1, 3, frames)) if frames else np.zeros(0, dtype=np.int64)
        assert ours.text(best) == theirs.decode(best, skip_special_tokens=False)


@pytest.mark.parametrize("name", ["as published", "small letters"])
def test_texts_to_learn_have_the_tokens_of_transformers(name: str, tmp_path: Path) -> None:
    ours, theirs = both(tmp_path, SETTINGS[name])
    for text in ("EAT AT TEN", "eat at ten", "NOTE TO TINA", "IT ISN'T, IS IT?", "ch TECHNO", "A  B", "TEA</s>", "ß E"):
        assert ours.encoded(text) == theirs(text)["input_ids"], text


def test_word_errors_are_those_that_are_known() -> None:
    """Counted by hand, as jiwer counts them."""
    for said, wanted, count in (
        ("the cat sat", "the cat sat", 0), ("the cat", "the cat sat", 1), ("a the cat sat", "the cat sat", 1), ("the dog sat", "the cat sat", 1),
        ("", "the cat", 2), ("the cat", "", 2), ("sat cat the", "the cat sat", 2), ("a b c d e", "b c x e f", 3),
    ):  # fmt: skip
        assert edits(said.split(), wanted.split()) == count
    assert edits("kitten", "sitting") == 3 and edits("intention", "execution") == 5
    evidence = np.array([[1.0, 4.0, 2.0, 20.0], [2.0, 2.0, 3.0, 5.0]])
    assert TASK.reduce(evidence) == pytest.approx(1 - 3 / 6)
    assert TASK.beside["word error rate"](evidence) == 0.5 and TASK.beside["character error rate"](evidence) == 0.2
    assert TASK.reduce(np.array([[5.0, 2.0, 0.0, 0.0]])) == pytest.approx(1 - 2.5), "a word error rate of 250%"
    worse, better = np.array([[5.0, 2.0, 0.0, 0.0]] * 30), np.array([[4.0, 2.0, 0.0, 0.0]] * 30)
    found = paired_difference(worse, better, 0, TASK.reduce)
    assert found["difference"] == pytest.approx(0.5) and found["ci95"] == pytest.approx([0.5, 0.5])


def test_the_loss_is_torchs_and_padding_does_not_count() -> None:
    torch.manual_seed(0)
    output, mask = torch.randn(2, 9, 5), torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
    found = hard_ctc(output, torch.tensor([[4, 1, 2, 2], [4, 3, -1, -1]]), mask)
    alone = hard_ctc(output[1:, :6], torch.tensor([[4, 3]]), mask[1:, :6])
    assert found[1].item() == pytest.approx(alone.item(), abs=1e-6)
    theirs = torch.nn.CTCLoss(blank=4, reduction="none")(
        output[:1].log_softmax(-1).transpose(0, 1), torch.tensor([[1, 2, 2]]), [9], [3]
    )
    assert found[0].item() == pytest.approx(theirs.item() / 3, abs=1e-6)
    assert hard_ctc(output, torch.tensor([[4, *[1] * 9], [4, *[1] * 9]]), mask).tolist() == [0, 0], "more tokens than frames"
    drawn = draw_frames(output, mask, torch.Generator().manual_seed(0))
    assert (drawn[1, 7:] == -1).all() and (hard_ctc(output, drawn, mask) > 0).all()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_letters_that_come_back_are_those_that_are_written(settings: dict[str, Any], tmp_path: Path) -> None:
    """By the files alone, as transformers' tokenizer gives a letter back that it has encoded."""
    full, theirs = both(tmp_path, settings, len(VOCABULARY) + 3)
    light = vocabulary_spelling(tmp_path)
    assert light is not None and set(light.tokens) <= set(full.tokens)
    for letter in "EeTtoN|_'.3ßẞäİ<":
        back = theirs.decode(theirs(letter)["input_ids"], skip_special_tokens=False)
        assert light.writes(letter) == full.writes(letter) == (back == letter), letter
        assert light.unwritten(f"{letter} {letter}") == ([] if back == letter else [letter] * 2)
    assert light.unwritten("ch") == [], "one token"


def test_texts_that_the_model_cannot_write_are_told_or_refused() -> None:
    spelling = Spelling(("<pad>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "<pad>", "<unk>", "|")
    assert told_of_texts(spelling, ["I SAID NINE", "TEN"]) == []
    (told,) = told_of_texts(spelling, ["I SAID NINE 3 TIMES.", "TEN", "NINE"])
    assert "has not the letters '3', '.' of the texts: 1 of 3 rows" in told and told.endswith(
        "take out or spell out what it has no letter for, such as marks and digits"
    )
    assert "capitals" not in told
    for texts, what in (
        (["I said nine 3 times.", "ten", "TEN"], "2 of 3 rows cannot be written whole, and 18 of 22 letters"),
        (["TEN.", "NINE."], "2 of 2 rows cannot be written whole, and 2 of 9 letters"),
    ):
        with pytest.raises(BadInput, match=what) as caught:
            told_of_texts(spelling, texts)
        assert str(caught.value.fix).startswith("write them in capitals") == ("ten" in texts)


def test_texts_are_refused_with_the_plan(tmp_path: Path) -> None:
    made_model(tmp_path / "model", "wav2vec2", head="ForCTC", layers=1)
    data = ""
    for split in ("train", "validation", "test"):
        sounds = [as_text(write_wav(np.full(4000, 0.05 * len(split) + 0.01 * number), RATE)) for number in range(2)]
        rows = [{"audio": sound, "text": text} for sound, text in zip(sounds, ("tea", "at a tee"), strict=True)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        data += f'{split} = "{split}.jsonl"\n'
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'schema = 1\ntask = "automatic-speech-recognition"\n[model]\nid = "model"\n[data]\n{data}')
    with pytest.raises(BadInput, match="6 of 6 rows cannot be written whole") as caught:
        make_plan(str(recipe), ["x86-vnni"], detect())
    assert caught.value.fix == "write them in capitals"
    for split in ("train", "validation", "test"):
        path = tmp_path / f"{split}.jsonl"
        path.write_text(path.read_text().replace('"tea"', '"TEA"').replace("at a tee", "AT A TEE."))
    plan = make_plan(str(recipe), ["x86-vnni"], detect())
    assert len(plan.notes) == 1 and "letters '.' of the texts: 3 of 6 rows" in plan.notes[0]


def test_texts_that_the_model_cannot_write_are_refused(tmp_path: Path) -> None:
    folder = made_model(tmp_path / "model", "wav2vec2", head="ForCTC", layers=1)
    spelling = spelling_of(folder, json.loads((folder / "config.json").read_text()))
    window = Window(NO_WORDS, None, spelling=spelling)
    (found,) = labels({"text": "TEA AT"}, [window], {})
    assert [LETTERS[number] for number in found] == ["<pad>", "T", "E", "A", "|", "A", "T"]
    with pytest.raises(BadInput, match="writes no letter of 'tea'"):
        labels({"text": "tea"}, [window], {})
    assert spelling.faults() == [] and Spelling(("A",), "<pad>", "<unk>", None).faults()
