"""One cell of the matrix, and the rows and makers that several groups share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.matrix.made import CORPUS, decoder, encoder, recipe, write_json, write_rows

__all__ = ["BIO", "LABELS", "OUTPUTS", "TASKS", "Cell", "Make", "edited", "of_language", "of_task", "rows_of"]

Make = Callable[[Path], Path]
"""(an empty folder) -> the recipe in it."""


@dataclass(frozen=True)
class Cell:
    """One model that somebody might bring."""

    name: str
    make: Make
    refused: str = ""
    """Words of the refusal; empty where answers must be the library's."""
    loaded: bool = False
    """Whether it is refused only once the weights are read, which no plan does."""


TASKS = {
    "text-classification": "AutoModelForSequenceClassification",
    "multi-label-classification": "AutoModelForSequenceClassification",
    "text-regression": "AutoModelForSequenceClassification",
    "text-ranking": "AutoModelForSequenceClassification",
    "zero-shot-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "feature-extraction": "AutoModel",
}
LABELS = ["Billing", "weather", "Other things"]
BIO = ["O", "B-LOC", "I-LOC"]
OUTPUTS = {
    "token-classification": BIO,
    "text-regression": ["LABEL_0"],
    "text-ranking": ["LABEL_0"],
    "zero-shot-classification": ["entailment", "neutral", "contradiction"],
}
"""Names of a model's outputs, where they are not `LABELS`."""


def rows_of(task: str, labels: list[str]) -> list[dict[str, Any]]:
    """Rows of the task over the corpus; labels are as good as any, since nothing is trained."""
    rows: list[dict[str, Any]] = []
    for number, text in enumerate(CORPUS * 2):
        text = f"{text} {number}"
        if task == "token-classification":
            words = text.split()
            rows.append({"tokens": words, "tags": [labels[position % len(labels)] for position, _ in enumerate(words)]})
        elif task == "question-answering":
            rows.append(
                {"question": f"what is {number}", "context": text, "answers": {"text": [text[:3]], "answer_start": [0]}}
            )
        elif task == "feature-extraction":
            rows.append({"sentence1": text, "sentence2": CORPUS[number % 7], "score": float(number % 5)})
        elif task == "text-regression":
            rows.append({"text": text, "label": float(number % 5)})
        elif task == "text-ranking":
            passages = [CORPUS[number % 7], CORPUS[(number + 3) % 7]]
            rows.append({"query": text, "passages": passages, "relevance": [number % 2, 1]})
        elif task == "multi-label-classification":
            rows.append({"text": text, "label": labels[: number // 3 % (len(labels) + 1)]})
        else:
            rows.append({"text": text, "label": labels[number // 3 % len(labels)]})
    return rows


def of_task(family: str, task: str, *, labels: list[str] | None = None, more: str = "", **options: Any) -> Make:
    """An encoder with the task's head."""
    if labels is None:
        labels = OUTPUTS.get(task, LABELS if "classification" in task else [])
    if task == "multi-label-classification":
        options["problem_type"] = "multi_label_classification"
    if task == "text-regression":
        options["problem_type"] = "regression"

    def make(folder: Path) -> Path:
        encoder(family, folder / "model", auto=TASKS[task], labels=labels, **options)
        write_rows(folder, rows_of(task, labels or ["a"]))
        return recipe(folder, task, more=more, longest=48 if task in ("question-answering", "zero-shot-classification") else 24)

    return make


def of_language(family: str, *, generation: dict[str, Any] | None = None, **options: Any) -> Make:
    def make(folder: Path) -> Path:
        decoder(family, folder / "model", **options)
        path = folder / "model" / "generation_config.json"
        if generation:
            write_json(path, (json.loads(path.read_text()) if path.is_file() else {}) | generation)
        write_rows(folder, [{"text": f"{text} {number}"} for number, text in enumerate(CORPUS * 2)])
        return recipe(folder, "text-generation", longest=48)

    return make


def edited(name: str, **changes: Any) -> Callable[[Path], None]:
    """Keys of a JSON file of the folder, changed; None takes one out."""

    def edit(folder: Path) -> None:
        path = folder / name
        document = json.loads(path.read_text()) if path.is_file() else {}
        write_json(path, {key: value for key, value in {**document, **changes}.items() if value is not None})

    return edit
