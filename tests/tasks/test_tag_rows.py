"""Rows of tags: labels and evidence by word number, rows of another scheme than the model's, and the shipped data's dropped words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seqeval.metrics import f1_score
from seqeval.scheme import BILOU, IOBES, IOE2

from edgekit.errors import BadInput
from edgekit.runtime.processors.token_classification import first_tokens, prepare
from edgekit.runtime.tokenise import Window, load_tokeniser
from edgekit.tasks import encoder_task
from edgekit.tasks.encode import encode
from edgekit.tasks.encoders.token_classification import rows_fault

TASK = encoder_task("token-classification")


def scored(rows: list[list[str]], said: list[list[str]], names: list[str]) -> float:
    """The metric of a model that says `said` of words with the tags `rows`."""
    evidence = []
    for true, tags in zip(rows, said, strict=True):
        window = Window(np.arange(len(true)), None, np.zeros((len(true), 2), int), np.arange(len(true)), "", ready=len(true))
        logits = np.eye(len(names), dtype=np.float32)[[names.index(tag) for tag in tags]]
        evidence.append(TASK.evidence([logits[None]], [[window]], {"tags": true}, names))
    return TASK.reduce(np.asarray(evidence))


@pytest.mark.parametrize(("letters", "scheme"), [("BIES", IOBES), ("BILU", BILOU), ("IE", IOE2)])
def test_the_score_is_seqevals_in_strict_mode(letters: str, scheme: type) -> None:
    generator = np.random.default_rng(5)
    names = ["O", *(f"{letter}-{kind}" for letter in letters for kind in ("LOC", "PER"))]
    rows, said = ([[str(tag) for tag in generator.choice(names, size=12)] for _ in range(60)] for _ in range(2))
    said = [
        [tag if generator.random() < 0.8 else other for tag, other in zip(*pair, strict=True)]
        for pair in zip(rows, said, strict=True)
    ]
    wanted = f1_score(rows, said, mode="strict", scheme=scheme)
    assert 0.2 < wanted < 0.9
    assert scored(rows, said, names) == pytest.approx(wanted, abs=1e-12)


def test_plain_tags_are_scored_by_their_accuracy() -> None:
    names = ["NOUN", "VERB", "X"]
    assert scored([["NOUN", "VERB"], ["X"] * 3], [["NOUN", "X"], ["X", "X", "NOUN"]], names) == pytest.approx(3 / 5)
    assert TASK.metric_on(("tokens", "tags"), names) == "tag accuracy"
    assert TASK.metric_on(("tokens", "tags"), ["O", "B-LOC"]) == TASK.metric_on(("tokens", "tags")) == "span F1"


@pytest.mark.parametrize(
    ("tags", "labels", "fault"),
    [
        (["B-LOC", "I-LOC", "O"], ["O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"], True),
        (["I-LOC", "O"], ["O", "I-LOC", "E-LOC"], True),
        (["I-LOC", "E-LOC"], ["O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"], True),
        (["S-LOC", "O"], ["O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"], False),
        (["B-LOC", "E-LOC"], ["O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"], False),
        (["O"], ["O", "B-LOC", "E-LOC"], False),
        (["I-LOC", "O"], ["O", "B-LOC", "I-LOC"], False),
        (["NOUN"], ["NOUN", "VERB"], False),
    ],
)
def test_rows_of_another_scheme_than_the_models_are_refused(tags: list[str], labels: list[str], fault: bool) -> None:
    found = rows_fault([{"tags": tags}, {"tags": None}], labels)
    assert (found is not None) == fault
    assert found is None or ("the rows' tags are" in found and "train a new head" in found)


def test_they_are_refused_where_rows_meet_the_model(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny_model / name).read_bytes())
    config = json.loads((tiny_model / "config.json").read_text())
    labels = ["O", "B-room", "I-room", "E-room", "S-room"]
    (folder / "config.json").write_text(
        json.dumps({**config, "id2label": {str(number): name for number, name in enumerate(labels)}})
    )
    rows: list[Any] = [{"tokens": ["the", "red", "hall"], "tags": ["O", "B-room", "I-room"]}]
    with pytest.raises(BadInput, match=r"the rows' tags are BIO .* the model's labels are BIOES"):
        encode(folder, rows, TASK, 24)
    (window,) = encode(folder, [{"tokens": ["\u200d", "hall"], "tags": ["O", "S-room"]}], TASK, 24).labels
    assert window.tolist().count(4) == 1 and window.max() == 4, "the label stands at the word that is left"


def test_every_entity_of_wnut17_can_be_found(shared: Path) -> None:
    """Rows with U+FE0F as a word: a model that is always right has every entity, those behind a dropped word too."""
    folder = shared / "models" / "wnut17-minilm-l6"
    tokenise = load_tokeniser(folder / "tokenizer.json", 512)
    names = [
        name
        for _, name in sorted(
            (int(key), name) for key, name in json.loads((folder / "config.json").read_text())["id2label"].items()
        )
    ]
    for split, most in (("validation", 836), ("test", 1079)):
        total, dropped = np.zeros(3), 0
        for line in (shared / "data" / "wnut17" / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
            row = json.loads(line)
            (window,) = prepare(tokenise, row["tokens"])
            first = first_tokens(window.words)
            logits = np.zeros((len(window.ids), len(names)), dtype=np.float32)
            logits[first, [names.index(row["tags"][word]) for word in window.words[first]]] = 1
            total += TASK.evidence([logits[None]], [[window]], row, names)
            dropped += len(first) < len(row["tags"])
        assert dropped > 0 and total.tolist() == [most] * 3
