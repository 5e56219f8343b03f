"""A head of one logit: a number, or its sigmoid, as the model's own library reads it, through the whole line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sentence_transformers import CrossEncoder
from transformers import pipeline

from edgekit.models import checkpoint
from edgekit.runtime.bundle.verify import verify
from tests.tiny_heads import MAX_LENGTH, SHRUNK, TEXTS, eager_answers, export, made_model, recipe, sentence, write_rows

IDENTITY = "torch.nn.modules.linear.Identity"
PAIRS = [{"text": text, "text_pair": other} for text, other in zip(TEXTS, reversed(TEXTS), strict=True)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("regression")
    made_model(folder / "model", ["LABEL_0"], problem_type="regression")
    draw = np.random.default_rng(0)
    write_rows(folder, [{"text": sentence(draw), "label": round(float(draw.normal()) * 3, 2)} for _ in range(48)])
    return export(recipe(folder, "text-classification", SHRUNK))


def test_a_regression_is_the_pipelines(made: Any) -> None:
    assert made.bundle.bundle.manifest.task == "text-regression"
    reference = pipeline("text-classification", str(made.folder.parents[1] / "model"), device="cpu")
    for text in TEXTS:
        wanted = reference(text, truncation=True, max_length=MAX_LENGTH)[0]["score"]
        assert made.original(text)["score"] == pytest.approx(wanted, abs=1e-3)
    assert verify(made.folder)["ok"]


def test_quality_is_scipys(made: Any) -> None:
    rows = [json.loads(line) for line in (made.folder.parents[1] / "test.jsonl").read_text().splitlines()]
    true, given = [row["label"] for row in rows], [made.bundle(row["text"])["score"] for row in rows]
    quality = made.bundle.bundle.manifest.quality
    assert quality.metric == "Spearman" and quality.bundle == pytest.approx(spearmanr(true, given).statistic, abs=1e-6)
    assert quality.beside["Pearson"].value == pytest.approx(pearsonr(true, given).statistic, abs=1e-5)


@pytest.mark.parametrize(
    "config", [{}, {"sbert_ce_default_activation_function": IDENTITY}, {"sentence_transformers": {"activation_fn": IDENTITY}}]
)
def test_pairs_are_scored_as_sentence_transformers_scores_them(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = made_model(tmp_path / "model", ["LABEL_0"], **config)
    reference = CrossEncoder(str(folder), max_length=MAX_LENGTH, device="cpu")
    wanted = [float(reference.predict([(pair["text"], pair["text_pair"])])[0]) for pair in PAIRS]
    assert [answer["score"] for answer in eager_answers(folder, "text-regression", PAIRS)] == pytest.approx(wanted, abs=1e-3)
    model = checkpoint.load(folder, head="number")
    checkpoint.save(model, tmp_path / "saved", tokenizer_files_from=folder)  # settled, whatever files lie beside it
    again = eager_answers(tmp_path / "saved", "text-regression", PAIRS)
    assert [answer["score"] for answer in again] == pytest.approx(wanted, abs=1e-3)


def test_one_label_that_applies_or_not(tmp_path: Path) -> None:
    """Without `problem_type` transformers' pipeline gives one logit a sigmoid, under the name of its label."""
    folder = made_model(tmp_path / "model", ["toxic"])
    reference = pipeline("text-classification", str(folder), device="cpu")
    wanted = [reference(text, truncation=True, max_length=MAX_LENGTH)[0] for text in TEXTS]
    found = eager_answers(folder, "multi-label-classification", TEXTS, labels=["toxic"], top_k=2, threshold=0.5)
    for answer, one in zip(found, wanted, strict=True):
        assert answer["scores"] == [{"label": "toxic", "score": pytest.approx(one["score"], abs=1e-3)}]
        assert bool(answer["labels"]) == (one["score"] >= 0.5)
