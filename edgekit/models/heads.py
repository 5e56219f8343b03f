"""What a classification head's outputs mean, as the configuration says it: classes that exclude one another, or something else."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CLASSIFIER", "head_fault"]

CLASSIFIER = "AutoModelForSequenceClassification"
"""transformers' class with the head that this is about."""
MEANINGS = {
    "multi_label_classification": "each label has a score of its own (a sigmoid)",
    "regression": "its outputs are numbers and not classes",
}


def head_fault(config: Mapping[str, object]) -> str | None:
    """Why a softmax over the labels would answer something else than the model means; None where it would not, or nothing is known.

    As transformers reads them: `problem_type` first, then one label alone, which is a regression or a reranker's score.
    """
    problem, labels = config.get("problem_type"), config.get("id2label")
    advice = "text-classification answers by a softmax over labels; use a model with classes that exclude one another"
    if isinstance(problem, str) and problem in MEANINGS:
        return f'config.json, problem_type = "{problem}": {MEANINGS[problem]}, and {advice}'
    if config.get("num_labels") == 1 or (isinstance(labels, Mapping) and len(labels) == 1):
        return f"config.json, id2label: one output is a regression or a reranker's score and no class, and {advice}"
    return None
