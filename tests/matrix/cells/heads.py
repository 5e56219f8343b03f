"""Heads: what the outputs of a classifier, a regression or a cross-encoder mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.matrix.cells.cell import LABELS, Cell, Make, of_task, rows_of
from tests.matrix.made import CORPUS, encoder, recipe, write_json, write_rows

__all__ = ["heads"]


def of_number(family: str, task: str, *, pairs: bool = False, activation: dict[str, Any] | None = None, **config: Any) -> Make:
    """A head of one logit: a regression, or a cross-encoder over pairs or ranked passages."""

    def make(folder: Path) -> Path:
        encoder(family, folder / "model", num_labels=1, **config)
        if activation:
            path = folder / "model" / "config.json"
            write_json(path, json.loads(path.read_text()) | activation)
        texts = [f"{text} {number}" for number, text in enumerate(CORPUS * 2)]
        if task == "text-ranking":
            rows: list[dict[str, Any]] = [
                {
                    "query": text,
                    "passages": texts[number : number + 3] or texts[:3],
                    "relevance": [1, 0, 0][: len(texts[number : number + 3]) or 3],
                }
                for number, text in enumerate(texts)
            ]
        else:
            rows = [
                {"text": text, "label": number / 10} | ({"text_pair": CORPUS[number % 5]} if pairs else {})
                for number, text in enumerate(texts)
            ]
        write_rows(folder, rows)
        return recipe(folder, task)

    return make


def of_pairs(family: str) -> Make:
    """A classifier of two texts."""

    def make(folder: Path) -> Path:
        encoder(family, folder / "model", labels=LABELS)
        rows = [{**row, "text_pair": CORPUS[number % 5]} for number, row in enumerate(rows_of("text-classification", LABELS))]
        write_rows(folder, rows)
        return recipe(folder, "text-classification")

    return make


def heads() -> Iterator[Cell]:
    yield Cell("two labels without names", of_task("bert", "text-classification", labels=["LABEL_0", "LABEL_1"]))
    yield Cell("nine labels", of_task("bert", "text-classification", labels=[f"kind {number}" for number in range(9)]))
    yield Cell(
        "single_label_classification said", of_task("bert", "text-classification", problem_type="single_label_classification")
    )
    for family in ("bert", "roberta", "deberta-v2"):
        yield Cell(f"pairs of texts, {family}", of_pairs(family))
    plain = of_task("bert", "text-classification")

    def as_labels(folder: Path) -> Path:
        path = plain(folder)
        write_rows(folder, rows_of("multi-label-classification", LABELS))
        path.write_text(path.read_text().replace('"text-classification"', '"multi-label-classification"'))
        return path

    yield Cell("classes, asked for multi-label", as_labels, refused="text-classification")

    def one_label(folder: Path) -> Path:
        path = of_number("bert", "text-regression")(folder)
        write_rows(folder, rows_of("multi-label-classification", ["LABEL_0"]))
        path.write_text(path.read_text().replace('"text-regression"', '"text-classification"'))
        return path

    yield Cell("one logit that transformers calls text-classification", one_label)

    def several(folder: Path) -> Path:
        path = of_task("roberta", "multi-label-classification")(folder)
        path.write_text(path.read_text().replace('"multi-label-classification"', '"text-classification"'))
        return path

    yield Cell("multi-label that transformers calls text-classification", several)
    yield Cell("regression said", of_number("bert", "text-regression", problem_type="regression"))
    yield Cell("regression said, distilbert", of_number("distilbert", "text-regression", problem_type="regression"))
    yield Cell("one logit", of_number("bert", "text-regression"))
    yield Cell("one logit of pairs", of_number("roberta", "text-regression", pairs=True))
    for family in ("bert", "roberta", "xlm-roberta", "electra", "modernbert"):
        yield Cell(f"cross-encoder, {family}", of_number(family, "text-ranking"))
    identity = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "5.0.0"}}
    yield Cell("cross-encoder of raw logits", of_number("bert", "text-ranking", activation=identity))
    sigmoid = {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}
    yield Cell("cross-encoder of an older release", of_number("bert", "text-ranking", activation=sigmoid))
    other = {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}
    yield Cell("cross-encoder of another function", of_number("bert", "text-ranking", activation=other), refused="Tanh")
    own = {"sentence_transformers": {"activation_fn": "my_package.Scale"}}
    yield Cell(
        "cross-encoder of its author's function", of_number("bert", "text-ranking", activation=own), refused="my_package.Scale"
    )
