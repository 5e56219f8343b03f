"""Compression keeps what follows the encoder: poolings, modules, prompts, lower case; a narrower student reads fewer numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import modules as st

from edgekit.compress.method import Work
from edgekit.compress.registry import find_method
from edgekit.data.sources import SPLITS, Place, Sources
from edgekit.data.splits import prepare
from edgekit.models.checkpoint import load
from edgekit.models.facts import facts_of_checkpoint
from edgekit.models.sentence import Dense, LayerNorm, Sentence, read_sentence
from edgekit.plan.recipes import recipe_model
from edgekit.tasks import encoder_task
from edgekit.tasks.encode import encode
from edgekit.train.evaluate import outputs_of
from tests.plan.faults import faults_in
from tests.tiny_sentences import HIDDEN, LONGEST, bundled, imported, reference, write_sentences, write_transformer

TASK = encoder_task("feature-extraction")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_transformer(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def model(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    modules = [st.Pooling(HIDDEN, ["cls", "mean"]), st.LayerNorm(2 * HIDDEN), st.Dense(2 * HIDDEN, 16), st.Dense(16, 12)]
    return write_sentences(
        base, tmp_path_factory.mktemp("model") / "model", modules, do_lower_case=True,
        prompts={"query": "query: ", "house": "house "}, default_prompt_name="query",
    )  # fmt: skip


@pytest.fixture(scope="module")
def work(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    place = tmp_path_factory.mktemp("work")
    words = ["cat", "dog", "garden", "light", "london", "very", "good"]
    texts = [f"the {one} is in the {other}" for one in words for other in words]
    for number, split in enumerate(SPLITS):
        rows = [
            {"sentence1": one, "sentence2": two, "score": len(set(one) & set(two))}
            for one, two in zip(texts[number::3], texts[number + 1 :: 3], strict=False)
        ]
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "rows").mkdir()
    prepare(Sources(*(Place(str(place / f"{split}.jsonl")) for split in SPLITS)), TASK.columns, place / "rows")
    checkpoint = imported(model, place / "original")
    return Work(
        checkpoint, checkpoint, checkpoint, place / "rows", place / "out", place / "scratch", TASK.name, LONGEST, 7,
        lambda done, total, text: None,
    )  # fmt: skip


def step(work: Work, source: Path, out: Path, **settings: Any) -> Path:
    method = find_method(settings["method"])
    (out / "made").mkdir(parents=True)
    (out / "scratch").mkdir()
    asked = method.settings.model_validate(settings)
    method.run(replace(work, source=source, out=out / "made", scratch=out / "scratch"), asked)
    return out / "made"


def embedded(folder: Path, texts: list[str]) -> np.ndarray:
    rows: list[Any] = [{"text": text} for text in texts]
    return np.concatenate(outputs_of(load(folder, TASK.auto), TASK, encode(folder, rows, TASK, LONGEST)))


def sentence_of(folder: Path) -> Sentence:
    sentence, faults = read_sentence(folder)
    assert sentence is not None and not faults
    return sentence


def test_a_line_of_steps_keeps_the_modules(work: Work, model: Path, tmp_path: Path) -> None:
    before = sentence_of(work.source)
    texts = ["The CAT is in the garden", "the light is very good", "a dog in London"]
    assert np.abs(embedded(work.source, texts) - reference(model).encode(texts)).max() < 1e-4
    narrow = step(
        work,
        work.source,
        tmp_path / "1",
        method="distill",
        layers=1,
        width=24,
        epochs=8,
        batch=8,
        learning_rate=3e-3,
        hidden="none",
    )
    after = sentence_of(narrow)
    assert [module.inputs for module in after.modules if isinstance(module, Dense | LayerNorm)] == [48, 48, 16]
    assert replace(after, modules=before.modules) == before and after.size(24) == 12
    pruned = step(work, narrow, tmp_path / "2", method="prune-structured", keep=0.8, multiple_of=8)
    sparse = step(work, pruned, tmp_path / "3", method="prune-unstructured", sparsity=0.3, how="magnitude")
    small = step(work, sparse, tmp_path / "4", method="prune-vocabulary")
    assert sentence_of(small) == sentence_of(pruned) == after
    answers = bundled(small, tmp_path / "bundle")([{"text": text, "prompt_name": "query"} for text in texts])
    ours = np.asarray([answer["embedding"] for answer in answers])
    assert np.abs(ours - embedded(small, texts)).max() < 1e-4
    for text in ("query: ", "house "):  # no row has them
        (row,) = encode(small, [{"text": text + "cat"}], TASK, LONGEST).windows
        assert 1 not in row.ids


def test_distillation_nears_embeddings_of_any_length(work: Work, tmp_path: Path) -> None:
    texts = ["the cat is in the garden", "the light is in the house", "very good light"]
    wanted = embedded(work.source, texts)
    assert np.abs(np.linalg.norm(wanted, axis=1) - 1).max() > 0.3, "or this says nothing"
    start = step(work, work.source, tmp_path / "start", method="distill", layers=1, epochs=1, learning_rate=1e-9, hidden="none")
    taught = step(
        work,
        work.source,
        tmp_path / "taught",
        method="distill",
        layers=1,
        epochs=25,
        batch=8,
        learning_rate=3e-3,
        hidden="none",
    )
    far, near = (np.linalg.norm(embedded(folder, texts) - wanted, axis=1).mean() for folder in (start, taught))
    assert near < 0.95 * far


def test_a_dense_module_that_adds_its_input_is_not_narrowed(base: Path, tmp_path: Path) -> None:
    """And the plan says so, as of a teacher whose embeddings are not computed."""
    modules = [st.Pooling(HIDDEN, "mean"), st.Dense(HIDDEN, HIDDEN, use_residual=True)]
    folder = write_sentences(base, tmp_path / "model", modules)
    other = write_sentences(base, tmp_path / "other", [st.Pooling(HIDDEN, "mean"), st.Normalize()])
    listed = json.loads((other / "modules.json").read_text())
    (other / "modules.json").write_text(json.dumps([*listed, {"type": "sentence_transformers.models.LSTM", "path": "3_LSTM"}]))
    asked = {
        "schema": 1, "task": "feature-extraction", "model": {"id": str(folder), "max_length": LONGEST},
        "data": {split: f"{split}.jsonl" for split in ("train", "validation", "test")},
        "compress": [{"method": "distill", "width": 24, "teachers": [str(other)], "hidden": "none"}],
    }  # fmt: skip
    faults = faults_in(
        recipe_model().model_validate(asked), str(folder), checkpoints={str(other): facts_of_checkpoint(str(other))}
    )
    assert any("width = 24: 2_Dense adds its input" in fault for fault in faults)
    assert any("teachers: " in fault and "LSTM" in fault for fault in faults)
