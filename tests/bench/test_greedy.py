"""Greedy agreement: counted by hand, and by a real model that is held against itself and against a spoilt one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.bench.greedy import CONTINUED, PREDICTED, agreement
from edgekit.bench.score import TextScores, score_texts, windows
from edgekit.config.quantize import WeightOnly
from edgekit.errors import BadInput
from edgekit.exporter.decoder import export_decoder
from edgekit.quantize.decoder import quantize_decoder
from edgekit.tasks.decoders.text_generation import mean_probability
from tests.tiny_decoders import checkpoint


def keep(folder: Path, found: TextScores) -> Path:
    folder.mkdir()
    for name, array in (("evidence.npy", found.evidence), (PREDICTED, found.predicted), (CONTINUED, found.continued)):
        np.save(folder / name, array)
    return folder


def scores(lengths: list[int], predicted: list[int], answers: list[list[int]]) -> TextScores:
    evidence = np.array([[-1.0, length] for length in lengths])
    return TextScores(evidence, np.array(predicted, dtype=np.int32), np.array(answers, dtype=np.int32))


def test_counted_by_hand(tmp_path: Path) -> None:
    first = keep(tmp_path / "a", scores([3, 1, 2], [5, 6, 7, 8, 9, 9], [[1, 2, 3, 4], [1, 2, 3, 4], [7, 7, 7, 7]]))
    other = keep(tmp_path / "b", scores([3, 1, 2], [5, 6, 0, 8, 0, 0], [[1, 2, 0, 4], [1, 2, 3, 4], [0, 7, 7, 7]]))
    found = agreement(first, other, "evidence.npy", 1)
    assert found["agreement"]["value"] == pytest.approx(3 / 6) and found["agreement"]["tokens"] == 6
    assert found["agreement"]["ci95"] == [0.0, 1.0]  # a draw of the last text alone, or of the second alone
    assert found["prefix"]["value"] == pytest.approx((2 + 4 + 0) / 3)
    assert (found["prefix"]["prompts"], found["prefix"]["tokens"]) == (3, 4)
    with pytest.raises(ValueError, match="not the same texts"):
        agreement(first, keep(tmp_path / "c", scores([2, 1, 3], [5, 6, 7, 8, 9, 9], [[1]])), "evidence.npy", 1)


def test_intervals_hold_a_known_share(tmp_path: Path) -> None:
    held = 0
    for trial in range(60):
        random = np.random.default_rng(trial)
        lengths = random.integers(20, 60, 80)
        same = random.random(int(lengths.sum())) < 0.8
        answers = [[1, 1]] * 4
        first = keep(tmp_path / f"a{trial}", scores(list(lengths), [1] * len(same), answers))
        other = keep(tmp_path / f"b{trial}", scores(list(lengths), list(same.astype(int)), answers))
        low, high = agreement(first, other, "evidence.npy", trial)["agreement"]["ci95"]
        held += low <= 0.8 <= high
    assert held >= 50  # of 60, 95% wanted


@pytest.mark.parametrize(("bos", "sizes"), [(None, [8, 8, 4]), (1, [8, 8, 6]), (9, [8, 8, 4])])
def test_windows_cover_a_long_text(bos: int | None, sizes: list[int]) -> None:
    ids = np.arange(1, 21)
    found = windows(ids, 8, bos)
    assert [len(part) for part in found] == sizes
    assert np.concatenate([part[number > 0 and bos == 1 :] for number, part in enumerate(found)]).tolist() == ids.tolist()
    assert all(part[0] == 1 for part in found) == (bos == 1)


def test_windows_leave_out_a_last_one_of_one_id() -> None:
    assert [len(part) for part in windows(np.arange(2, 19), 8, 1)] == [8, 8]
    assert [len(part) for part in windows(np.array([5]), 8, 1)] == [1]


def test_a_real_model_agrees_with_itself_and_less_with_a_spoilt_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = checkpoint("llama, tied", tmp_path / "model")
    exported, coarse = tmp_path / "exported", tmp_path / "coarse"
    exported.mkdir()
    coarse.mkdir()
    export_decoder(source, exported, max_length=32, progress=lambda *_: None)
    quantize_decoder(exported, coarse, WeightOnly(format="int4-weights", block=128))
    (coarse / "generation.json").write_bytes((exported / "generation.json").read_bytes())
    random = np.random.default_rng(2)
    texts = [" ".join(f"w{number}" for number in random.integers(3, 300, length)) for length in (5, 30, 90, 12)]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    whole = score_texts(exported, source, rows)
    assert whole.evidence[:, 1].tolist() == [4, 29, 31 + 31 + 25, 11]  # 90 ids are read as 32, 32 and 26
    assert len(whole.predicted) == whole.evidence[:, 1].sum() and whole.continued.shape == (4, 16)
    assert wanted(source, texts) == (whole.predicted.tolist(), whole.continued[0].tolist())
    for cores in (1, 3):  # windows at once, and threads of each
        monkeypatch.setattr("edgekit.bench.score.own_cores", lambda cores=cores: cores)
        again = score_texts(exported, source, rows)
        np.testing.assert_allclose(again.evidence, whole.evidence, rtol=1e-6)
        assert again.predicted.tolist() == whole.predicted.tolist()
    kept = keep(tmp_path / "whole", whole)
    assert agreement(kept, kept, "evidence.npy", 1)["agreement"]["value"] == 1.0
    spoilt = score_texts(coarse, source, rows)
    assert spoilt.evidence.shape == whole.evidence.shape and mean_probability(spoilt.evidence) > 0
    assert 0 < agreement(kept, keep(tmp_path / "spoilt", spoilt), "evidence.npy", 1)["agreement"]["value"] < 1


def wanted(source: Path, texts: list[str]) -> tuple[list[int], list[int]]:
    """The same by transformers: the likeliest tokens of every window, and the first text's greedy answer."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(source).eval()
    likeliest: list[int] = []
    with torch.inference_mode():
        for text in texts:
            ids = torch.tensor([int(word[1:]) for word in text.split()])
            for start in range(0, len(ids), 32):
                likeliest += model(ids[None, start : start + 32]).logits[0, :-1].argmax(-1).tolist()
        answer = [int(word[1:]) for word in texts[0].split()][:2]
        for _ in range(16):
            answer.append(int(model(torch.tensor([answer])).logits[0, -1].argmax()))
    return likeliest, answer[2:]


def test_a_text_of_one_token_is_left_out_and_counted(tmp_path: Path) -> None:
    source = checkpoint("llama, tied", tmp_path / "model")
    exported, rows = tmp_path / "exported", tmp_path / "rows.jsonl"
    exported.mkdir()
    export_decoder(source, exported, max_length=32, progress=lambda *_: None)
    said: list[str] = []
    texts = ["w5", "w6 w7 w8", "w11", "w9 w10"]
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    found = score_texts(exported, source, rows, progress=lambda done, total, text: said.append(text))
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in (texts[1], texts[3])))
    same = score_texts(exported, source, rows)
    assert (found.skipped, same.skipped) == (2, 0) and found.evidence[:, 1].tolist() == [2, 1]
    assert np.array_equal(found.evidence, same.evidence) and np.array_equal(found.continued, same.continued)
    assert "2 of fewer than two tokens left out" in said[-1]
    rows.write_text('{"text": "w5"}\n')
    with pytest.raises(BadInput, match="none of the 1 texts has two tokens"):
        score_texts(exported, source, rows)
    rows.write_text("")
    with pytest.raises(BadInput, match="no rows to score"):
        score_texts(exported, source, rows)
