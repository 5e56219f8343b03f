"""The contract of every task: what all stages rely on, whichever task it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import edgekit.tasks
from edgekit.errors import BadInput
from edgekit.runtime.processors import processor
from edgekit.runtime.spelling import Spelling
from edgekit.runtime.tokenise import Window
from edgekit.tasks import DecoderTask, EncoderTask, decoder_task, encoder_task, find_task, task_names

FOLDER = Path(edgekit.tasks.__file__).parent
LABELS = ["O", "B-a"]
ROWS: dict[str, dict[str, Any]] = {
    "text-classification": {"text": "a b", "label": "O"},
    "multi-label-classification": {"text": "a b", "label": ["O"]},
    "zero-shot-classification": {"text": "a b", "label": "b", "labels": ["b"]},
    "text-ranking": {"query": "a", "passages": ["b"], "relevance": [1.0]},
    "text-regression": {"text": "a b", "label": 0.5},
    "token-classification": {"tokens": ["a", "b"], "tags": ["O", "B-a"]},
    "question-answering": {"question": "a", "context": "a b", "answers": {"text": ["b"], "answer_start": [2]}},
    "feature-extraction": {"sentence1": "a", "sentence2": "b", "score": 0.5},
    "text-generation": {"text": "a b"},
    "image-classification": {"image": "aW1hZ2U=", "label": "O"},
    "image-feature-extraction": {"image": "aW1hZ2U=", "embedding": [0.6, 0.8]},
    "audio-classification": {"audio": "c291bmQ=", "label": "O"},
    "automatic-speech-recognition": {"audio": "c291bmQ=", "text": "a"},
}
WINDOW = Window(
    ids=np.array([1, 2, 3, 4]),
    types=None,
    offsets=np.array([[0, 0], [0, 1], [2, 3], [0, 0]]),
    words=np.array([-1, 0, 1, -1]),
    text="a b",
    spelling=Spelling(("-", "a"), "-", "?", None),
)
MASK = torch.ones(1, 4, dtype=torch.int64)


def shape_of(name: str) -> tuple[int, ...]:
    """Shape of an output for `WINDOW`: one number, two classes, a start and an end, an embedding of two numbers, or a vocabulary of five."""
    if find_task(name).head in ("number", "score"):
        return 1, 1
    if not find_task(name).per_token:
        return 1, 2
    return 1, 4, 5 if find_task(name).kind == "decoder" else 2


def test_a_task_is_one_file() -> None:
    files = {kind: sorted(path.stem for path in (FOLDER / f"{kind}s").glob("[!_]*.py")) for kind in ("encoder", "decoder")}
    found = {kind: sorted(name.replace("-", "_") for name in task_names() if find_task(name).kind == kind) for kind in files}
    assert found == files
    assert sorted(ROWS) == task_names(), "a new task gets a row here"


@pytest.mark.parametrize("name", task_names())
def test_its_facts_are_stated(name: str) -> None:
    task = find_task(name)
    assert task.name == name and task.title and task.metric and task.output
    assert set(task.columns) <= set(ROWS[name]) and not set(task.columns) & set(task.optional)
    assert hasattr(transformers, task.auto)
    assert processor(name).prepare and processor(name).reads == task.reads, "the runtime answers every task"
    assert task.metric_on(task.columns) == task.metric
    assert task.alone is None or "accuracy" not in task.alone.metric
    assert task.metric_on(list(task.alone.columns) if task.alone else ["text"]) == (
        task.alone.metric if task.alone else task.metric
    )


@pytest.mark.parametrize("name", task_names())
def test_a_row_is_read_labelled_learned_and_scored(name: str) -> None:
    task, row = find_task(name), ROWS[name]
    items = task.items(row)
    assert items and all(isinstance(item, str | list | dict) for item in items)
    labels = task.labels(row, [WINDOW], {label: index for index, label in enumerate(LABELS)})
    assert len(labels) == 1
    wanted = torch.from_numpy(np.stack([np.asarray(label) for label in labels]))
    output = torch.randn(shape_of(name))
    output = output if task.supervised else torch.nn.functional.normalize(output, dim=-1)
    assert task.hard(output, wanted, MASK).shape == (1,)
    assert task.soft(output, output, wanted, MASK, 2.0).item() == pytest.approx(0, abs=1e-5)
    names = ["O", "entailment"] if task.head == "entailment" else LABELS
    evidence = task.evidence([output.numpy()] * len(items), [[WINDOW]] * len(items), row, names)
    assert all(isinstance(number, float) for number in evidence)
    assert -1 <= task.reduce(np.array([evidence])) <= 1


@pytest.mark.parametrize("name", [name for name in task_names() if find_task(name).kind == "encoder"])
def test_drawn_labels_are_what_the_hard_loss_takes(name: str) -> None:
    task = encoder_task(name)
    output = torch.randn(shape_of(name))
    drawn = task.draw(output, MASK, torch.Generator().manual_seed(0))
    assert task.hard(output, drawn, MASK).shape == (1,)


def test_kinds_are_told_apart() -> None:
    for name in task_names():
        task = find_task(name)
        right, wrong = (encoder_task, decoder_task) if task.kind == "encoder" else (decoder_task, encoder_task)
        assert right(name) is task and isinstance(task, EncoderTask if task.kind == "encoder" else DecoderTask)
        with pytest.raises(BadInput, match="is needed"):
            wrong(name)
    with pytest.raises(BadInput, match="did you mean 'text-classification'"):
        find_task("text-clasification")


def test_listing_tasks_imports_no_torch() -> None:
    probe = (
        "import sys, edgekit.tasks; edgekit.tasks.task_names(); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "False False\n"
