"""The library that a model of a task comes with, which a bundle's answers are compared with: transformers or sentence-transformers.

A reference reads the original's folder itself, cuts texts itself and turns outputs into answers itself; it shares with the bundle's runtime
only what no library has, the entities of tag schemes other than BIO. A difference comes as the largest distance of two numbers that should
be the same; infinite where answers differ in kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from edgekit.runtime.jsontypes import JsonValue
    from edgekit.runtime.model import Model

__all__ = [
    "Ask",
    "Reference",
    "classification_pipeline",
    "cross_encoder_scores",
    "label_difference",
    "open_pipeline",
    "whole_texts",
    "with_all_labels",
    "without_space",
]

Ask: TypeAlias = "Callable[[JsonValue], Any]"
"""An input -> the library's answer to it, in whatever form `Reference.difference` takes."""


def whole_texts(texts: Sequence[str], pairs: bool) -> list[JsonValue]:
    """Each text as an input; with `pairs` beside the one after it."""
    after = [*texts[1:], *texts[:1]]
    return [{"text": first, "text_pair": second} for first, second in zip(texts, after, strict=True)] if pairs else [*texts]


def with_all_labels(model: Model, item: JsonValue) -> Any:
    """The answer of a loaded bundle, with the score of every label."""
    (answer,) = model([item], top_k=max(2, len(model.bundle.manifest.labels)))
    return answer


@dataclass(frozen=True)
class Reference:
    """How the library answers an input, and how far the bundle's answer is from that."""

    title: str
    """The library and what of it, for people."""
    open: Callable[[Path, int], Ask]
    """(folder of the original checkpoint, longest input in tokens) -> how to ask."""
    difference: Callable[[Any, Any], float]
    """(the bundle's answer, the library's) -> the largest distance of two numbers; infinite where labels, spans or sizes differ."""
    answer: Callable[[Model, JsonValue], Any] = with_all_labels
    """(loaded bundle, input) -> its answer, with all that the library's holds."""
    inputs: Callable[[Sequence[str], bool], list[JsonValue]] = whole_texts
    """(made texts, whether the model reads pairs) -> inputs of the task."""


def open_pipeline(task: str, folder: Path, **options: Any) -> Any:
    """transformers' pipeline of `task` over the checkpoint in `folder`, in float32 on the CPU; outputs that its files name by numbers have
    those as texts."""
    import torch
    from transformers import pipeline

    model: Any = str(folder)
    opened = pipeline(task, model=model, tokenizer=model, device="cpu", dtype=torch.float32, trust_remote_code=False, **options)
    names = opened.model.config.id2label
    opened.model.config.id2label = {number: str(name) for number, name in names.items()}
    return opened


def without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """The stretch [start, end) of `text` without white space at its ends; of nothing else, an end that is not beyond the start."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())


def classification_pipeline(folder: Path, longest: int) -> Ask:
    """transformers' text-classification pipeline: an input -> {label: score} of all labels."""
    classify = open_pipeline("text-classification", folder)

    def ask(item: JsonValue) -> dict[str, float]:
        found = classify(item, top_k=None, truncation=True, max_length=longest)
        return {one["label"]: one["score"] for one in found}

    return ask


def cross_encoder_scores(folder: Path, longest: int) -> Ask:
    """sentence-transformers' CrossEncoder: a text, or a pair of texts -> its score."""
    import torch
    from sentence_transformers import CrossEncoder

    encoder = CrossEncoder(str(folder), max_length=longest, device="cpu", model_kwargs={"dtype": torch.float32})

    def ask(item: JsonValue) -> float:
        if isinstance(item, dict):
            return float(encoder.predict([(item["text"], item["text_pair"])], show_progress_bar=False)[0])
        features = encoder.tokenizer([item], truncation=True, max_length=longest, return_tensors="pt")
        with torch.inference_mode():
            return float(encoder.activation_fn(encoder.model(**features).logits)[0, 0])

    return ask


def label_difference(ours: Mapping[str, Any], theirs: Mapping[str, float]) -> float:
    """Of the scores of a classification, label by label; infinite where the labels are others, or the answer does not follow from them."""
    scores: dict[str, float] = {one["label"]: one["score"] for one in ours["scores"]}
    if scores.keys() != theirs.keys():
        return float("inf")
    if "label" in ours and scores[ours["label"]] != max(scores.values()):
        return float("inf")
    return max(abs(scores[label] - theirs[label]) for label in theirs)
