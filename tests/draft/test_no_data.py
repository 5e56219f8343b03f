"""A model and nothing else: texts that are shipped, agreement with the original, and what cannot be done so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import edgekit as ek
from edgekit.cli.app import app
from edgekit.draft import Asked, Budget, draft
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.plan.make import make_plan
from edgekit.runtime.jsontypes import JsonValue
from edgekit.tasks import encoder_task
from tests.tiny_heads import made_model

NAME = "agreement with the original, no labels"
TEXTS = 'schema = 1\ntask = "{}"\n[model]\nid = "{}"\n[data]\nbuiltin = "texts"\n'


def planned(text: str, folder: Path) -> None:
    (folder / "r.toml").write_text(text)
    make_plan(str(folder / "r.toml"), ["x86-avx2"], detect())


@pytest.fixture(scope="module")
def result(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nodata")
    made = CliRunner().invoke(
        app,
        ["export", "--model", str(tiny_model), "--max-length", "24", "-t", "x86-avx2", "--no-bench", "--build", str(folder)],
    )
    assert made.exit_code == 0, made.output
    assert NAME in " ".join(made.output.split())
    (found,) = folder.glob("*-x86-avx2")
    assert found.name == f"{tiny_model.name}-x86-avx2"
    return found


def test_one_line_ends_in_a_verified_bundle_that_says_what_its_quality_is(result: Path) -> None:
    manifest = json.loads((result / "bundle" / "manifest.json").read_text())["edgekit"]
    assert manifest["quality"]["metric"] == f"{NAME} (same label)"
    assert manifest["quality"]["original"] == 1 and manifest["quality"]["n"] >= 120
    assert ek.load(result / "bundle")("turn the lamp off")["label"] in manifest["labels"]
    for page in ("report.md", "report.html", "bundle/README.md"):
        text = (result / page).read_text()
        assert NAME in text and "accuracy" not in text and "texts that edgekit ships" in text
    variants = json.loads((result / "lineage.json").read_text())["variants"]
    assert {variant["quality"]["metric"] for variant in variants.values()} == {f"{NAME} (same label)"}
    assert CliRunner().invoke(app, ["verify", str(result)]).exit_code == 0


def test_the_original_agrees_with_itself_and_shows_what_rounding_changes(result: Path) -> None:
    variants = json.loads((result / "lineage.json").read_text())["variants"]
    assert variants["ort-fp32"]["quality"]["value"] == 1
    assert 0.5 < variants["bundle"]["quality"]["value"] <= 1


def test_training_on_what_is_shipped_is_refused_when_it_is_planned(tiny_model: Path, tmp_path: Path) -> None:
    head = TEXTS.format("text-classification", tiny_model)
    with pytest.raises(BadInput) as fault:
        planned(head + '[[compress]]\nmethod = "distill"\nlayers = 1\n', tmp_path)
    assert "compress 1, distill" in fault.value.text() and "give rows" in fault.value.text()
    with pytest.raises(BadInput) as fault:
        planned(head.replace("[data]", "[model.finetune]\n[data]"), tmp_path)
    assert "nothing to train on" in fault.value.text()
    with pytest.raises(BadInput) as fault:
        draft(Asked(str(tiny_model), budget=Budget(faster=30)), tmp_path)
    assert "--data FILE" in fault.value.text()
    assert "[[compress]]" not in draft(Asked(str(tiny_model), budget=Budget(faster=2)), tmp_path).text


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("question-answering", "question, context, answers"),
        ("text-ranking", "query, passages, relevance"),
        ("zero-shot-classification", "text, label"),
    ],
)
def test_tasks_that_texts_ask_nothing_of_are_refused_with_what_to_give(
    task: str, says: str, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as fault:
        planned(TEXTS.format(task, tiny_model), tmp_path)
    assert "texts alone ask nothing" in fault.value.text() and says in fault.value.text()


def test_a_model_of_pairs_is_refused_and_one_of_single_texts_is_told_by_its_labels(tmp_path: Path) -> None:
    nli = made_model(tmp_path / "nli", ["contradiction", "neutral", "entailment"])
    with pytest.raises(BadInput) as fault:
        draft(Asked(str(nli)), tmp_path)
    assert "zero-shot-classification: needs rows" in fault.value.text() and "--task text-classification" in fault.value.text()
    assert 'task = "text-classification"' in draft(Asked(str(nli), task="text-classification"), tmp_path).text
    number = made_model(tmp_path / "number", ["LABEL_0"], problem_type="regression")
    assert 'task = "text-regression"' in draft(Asked(str(number)), tmp_path).text
    several = made_model(tmp_path / "several", ["a", "b"], problem_type="multi_label_classification")
    assert 'task = "multi-label-classification"' in draft(Asked(str(several)), tmp_path).text


def test_steps_that_learn_from_labels_are_refused_for_texts_of_ones_own(tiny_model: Path, tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.txt").write_text(f"one {split}\ntwo {split}\nthree {split}\n")
    text = TEXTS.format("text-classification", tiny_model).replace(
        'builtin = "texts"', 'train = "train.txt"\nvalidation = "validation.txt"\ntest = "test.txt"\nanswers = "original"'
    )
    planned(text, tmp_path)
    with pytest.raises(BadInput) as fault:
        planned(text + '[[compress]]\nmethod = "distill"\nlayers = 1\n', tmp_path)
    assert "learns from labels" in fault.value.text()


@pytest.mark.parametrize(
    ("task", "row", "output", "other"),
    [
        ("text-classification", {"text": "a"}, [[1.0, 2.0]], [[2.0, 1.0]]),
        ("multi-label-classification", {"text": "a"}, [[-1.0, -2.0]], [[-1.0, 2.0]]),
        ("feature-extraction", {"text": "a"}, [[1.0, 2.0]], [[2.0, -1.0]]),
    ],
)
def test_the_originals_own_answer_agrees_and_another_does_not(
    task: str, row: dict[str, JsonValue], output: list[list[float]], other: list[list[float]]
) -> None:
    kind, names = encoder_task(task), ["x", "y"]
    assert kind.alone is not None
    answered = {**row, **kind.alone.answer([np.array(output)], [], row, names)}
    same, changed = (kind.reduce(np.array([kind.evidence([np.array(one)], [], answered, names)])) for one in (output, other))
    assert same == pytest.approx(1, abs=1e-6) and changed == pytest.approx(0, abs=1e-6)


def test_columns_are_of_a_file(tiny_model: Path) -> None:
    made = CliRunner().invoke(app, ["export", "--model", str(tiny_model), "--column", "text=a", "--dry-run"])
    assert made.exit_code == 2 or "--data names" in str(made.exception)
