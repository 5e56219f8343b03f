"""A model whose labels each have a score of their own, through the whole line, beside transformers' own pipeline."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from transformers import pipeline

from edgekit.runtime.bundle.verify import verify
from tests.runtime.serve.serving import served
from tests.tiny_heads import MAX_LENGTH, SHRUNK, TEXTS, export, made_model, recipe, sentence, write_rows

LABELS = ["toxic", "insult", "threat"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("multi-label")
    made_model(folder / "model", LABELS, problem_type="multi_label_classification")
    draw = np.random.default_rng(0)
    rows = [{"text": sentence(draw), "label": [name for name in LABELS if draw.random() < 0.4]} for _ in range(48)]
    write_rows(folder, rows)
    return export(recipe(folder, "text-classification", SHRUNK))


def test_scores_are_the_pipelines(made: Any) -> None:
    """What a recipe calls text-classification is what transformers' pipeline of that name does with the model's head."""
    assert made.bundle.bundle.manifest.task == "multi-label-classification"
    reference = pipeline("text-classification", str(made.folder.parents[1] / "model"), device="cpu")
    for text in TEXTS:
        wanted = {one["label"]: one["score"] for one in reference(text, top_k=None, truncation=True, max_length=MAX_LENGTH)}
        answer = made.original(text, top_k=len(LABELS))
        assert {one["label"]: one["score"] for one in answer["scores"]} == pytest.approx(wanted, abs=1e-3)
        threshold = made.bundle.bundle.manifest.threshold
        assert [one["label"] for one in answer["labels"]] == sorted(
            (name for name, score in wanted.items() if score >= threshold), key=lambda name: -wanted[name]
        )


def test_the_bundle_keeps_the_threshold_that_validation_chose(made: Any) -> None:
    manifest = made.bundle.bundle.manifest
    rows = [json.loads(line) for line in (made.folder.parents[1] / "validation.jsonl").read_text().splitlines()]
    true = np.array([[name in row["label"] for name in LABELS] for row in rows])
    scores = np.array(
        [
            [{one["label"]: one["score"] for one in made.bundle(row["text"], top_k=3)["scores"]}[name] for name in LABELS]
            for row in rows
        ]
    )
    f1 = {number / 20: f1_score(true, scores >= number / 20, average="micro", zero_division=0) for number in range(1, 20)}
    assert f1[manifest.threshold] == max(f1.values())
    assert verify(made.folder)["ok"]


def test_quality_is_scikit_learns(made: Any) -> None:
    rows = [json.loads(line) for line in (made.folder.parents[1] / "test.jsonl").read_text().splitlines()]
    true = np.array([[name in row["label"] for name in LABELS] for row in rows])
    found = [{one["label"] for one in made.bundle(row["text"])["labels"]} for row in rows]
    predicted = np.array([[name in labels for name in LABELS] for labels in found])
    quality = made.bundle.bundle.manifest.quality
    assert quality.metric == "micro F1" and quality.bundle == pytest.approx(f1_score(true, predicted, average="micro"))
    assert quality.beside["macro F1"].value == pytest.approx(f1_score(true, predicted, average="macro", zero_division=0))


def test_over_http_all_labels_are_listed_with_whether_they_apply(made: Any) -> None:
    with served(made.folder, "plain") as server:
        status, found = server.infer(["ada went to paris", "the movie was bad"])
        outputs = {one["name"]: (one["shape"], one["data"]) for one in found["outputs"]}
        answer = made.bundle("ada went to paris", top_k=3)
        assert status == 200 and [shape for shape, _ in outputs.values()] == [[2, 3]] * 3 + [[2]]
        assert outputs["label"][1][:3] == [one["label"] for one in answer["scores"]]
        assert outputs["applies"][1][:3] == [one in answer["labels"] for one in answer["scores"]]
        status, found = server.infer(["ada"], parameters={"top_k": 1})  # all that a model of one label has
        assert (status, found["outputs"][0]["shape"]) == (200, [1, 1])
        assert found["outputs"][0]["data"] == [made.bundle("ada")["scores"][0]["label"]]
