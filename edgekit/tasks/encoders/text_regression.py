"""text-regression: a number for a text, or for a pair of texts where rows have a `text_pair`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from edgekit.models.cross_encoder import cross_encoder_of
from edgekit.models.files import read_json
from edgekit.models.heads import ACTIVATION
from edgekit.tasks.encoders.feature_extraction import spearman
from edgekit.tasks.encoders.text_classification import items
from edgekit.tasks.losses import draw_number, hard_number, soft_number
from edgekit.tasks.reference import Ask, Reference, classification_pipeline, cross_encoder_scores
from edgekit.tasks.task import Alone, EncoderTask

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import SequenceClassifierOutput

    from edgekit.runtime.jsontypes import JsonObject
    from edgekit.runtime.processors.text_regression import Number
    from edgekit.runtime.tokenise import Window

__all__ = ["TASK"]


def labels(row: JsonObject, windows: Sequence[Window], index: dict[str, int]) -> list[np.ndarray]:
    """The row's number, float32; NaN where it has none."""
    label = cast("float | None", row["label"])
    return [np.array(np.nan if label is None else label, dtype=np.float32)]


def tensor(model: PreTrainedModel, output: SequenceClassifierOutput, mask: torch.Tensor) -> torch.Tensor:
    """The number (b, 1): the logit, or its sigmoid where the model's own library applies one."""
    logits: torch.Tensor = output.logits
    return logits.sigmoid() if getattr(model.config, ACTIVATION, None) == "sigmoid" else logits


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """The number that is given, and the row's own."""
    return [float(outputs[0][0, 0]), cast("float", row["label"])]


def pearson(evidence: np.ndarray) -> float:
    """Correlation of the two columns of (rows, 2); 0 where one of them never varies, 1 where neither does: they agree that all are alike."""
    same = (evidence == evidence[0]).all(axis=0)
    if same.any():
        return float(same.all())
    return float(np.corrcoef(evidence.T)[0, 1])


def library(folder: Path, longest: int) -> Ask:
    """An input -> its number: by sentence-transformers where the folder says what a cross-encoder applies to its score, else by transformers'
    pipeline, which decides by `problem_type` and the number of labels."""
    if cross_encoder_of(read_json(folder / "config.json"), folder).activation is not None:
        return cross_encoder_scores(folder, longest)
    classify = classification_pipeline(folder, longest)
    return lambda item: next(iter(classify(item).values()))


def number_difference(ours: Number, theirs: float) -> float:
    """Distance of two numbers, of large ones as a share."""
    return abs(ours["score"] - theirs) / max(1.0, abs(theirs))


TASK = EncoderTask(
    name="text-regression",
    title="a number for a text, or for a pair of texts",
    columns=("text", "label"),
    optional=("text_pair",),
    kinds={"label": "score"},
    metric="Spearman",
    output="score",
    auto="AutoModelForSequenceClassification",
    per_token=False,
    items=items,
    labels=labels,
    tensor=tensor,
    hard=hard_number,
    soft=soft_number,
    draw=draw_number,
    evidence=evidence,
    reduce=spearman,
    alone=Alone("Spearman", lambda outputs, inputs, row, names: {"label": float(outputs[0][0, 0])}),
    named=False,
    head="number",
    beside={"Pearson": pearson},
    reference=Reference("transformers' pipeline, or sentence-transformers' CrossEncoder", library, number_difference),
)
