"""What Python and the runner make of the same inputs, and where they part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.errors import EdgekitError
from edgekit.runtime.model import Model, opened
from edgekit.runtime.processors import processor
from edgekit.runtime.tokenise import Window
from lanes.rows import COLOURS, ROOMS
from lanes.web.texts import comparison_texts

__all__ = ["Here", "faults_of", "here", "jobs_of"]

WORDS = [*COLOURS, *ROOMS, "turn", "on", "off", "the", "lamp", "in", "is", "paint", "what", "colour", "old", "dining"]
CLOSE = 2e-6
"""Scores are rounded to six decimals: the last may differ."""


@dataclass(frozen=True)
class Here:
    """What Python makes of one input; `fault`: the name of its refusal."""

    item: Any
    windows: list[Window]
    outputs: list[np.ndarray]
    answer: Any
    fault: str | None = None


def here(bundle: Path, count: int) -> list[Here]:
    """`count` inputs for the task of `bundle`, with windows, outputs and answers."""
    model = opened(open_bundle(bundle), 1)  # not `load`, which refuses what is for browsers on this chip
    manifest = model.bundle.manifest
    longest = manifest.text.max_length
    texts = comparison_texts(WORDS, longest=min(longest, 64), count=count)
    return [_one(model, item) for item in _items(manifest.task, texts, pairs=bool(model.bundle.config.text_pairs))]


def _items(task: str, texts: list[str], *, pairs: bool) -> list[Any]:
    after = [*texts[1:], texts[0]]
    if pairs:
        return [{"text": text, "text_pair": other[:60]} for text, other in zip(texts, after, strict=True)]
    if task == "text-ranking":
        return [{"query": text[:60], "passages": [other, "a lamp"]} for text, other in zip(texts, after, strict=True)]
    if task == "zero-shot-classification":
        return [
            {"text": text, "labels": ["red", other[:20]], "multi_label": number % 2 == 1}
            for number, (text, other) in enumerate(zip(texts, after, strict=True))
        ]
    if task == "question-answering":
        return [{"question": before[:40], "context": text} for before, text in zip([texts[-1], *texts], texts, strict=False)]
    if task == "token-classification":
        return [{"words": text.split()} if number % 4 == 3 else text for number, text in enumerate(texts)]
    return list(texts)


def _one(model: Model, item: Any) -> Here:
    task = processor(model.bundle.manifest.task)
    try:
        windows = task.prepare(model.reader, item)
        outputs = model.outputs(windows)
        answer = task.answer(outputs, windows, model.asked(item, 3))
    except EdgekitError as fault:
        return Here(item, [], [], None, type(fault).__name__)
    return Here(item, windows, outputs, answer)


def jobs_of(every: list[Here]) -> list[dict[str, Any]]:
    """What `compare` of answers.mjs reads."""
    return [
        {
            "item": one.item,
            "outputs": None
            if one.fault
            else [{"data": output.ravel().tolist(), "dims": list(output.shape)} for output in one.outputs],
        }
        for one in every
    ]


def _plain(output: np.ndarray) -> dict[str, Any]:
    return {"data": output.ravel().tolist(), "dims": list(output.shape)}


def faults_of(
    every: list[Here], found: dict[str, Any], tolerance: float, *, generates: bool
) -> tuple[list[str], dict[str, Any]]:
    """(where the runner parts from Python, figures): windows and answers must be the same, outputs within the tolerance of golden inputs."""
    faults, worst, other = [], 0.0, 0
    for one, there in zip(every, found["found"], strict=True):
        if one.fault is not None or "error" in there:
            if one.fault != there.get("error"):
                faults.append(
                    f"{ascii(one.item)[:80]}: {one.fault or 'an answer'} in Python, {there.get('what', 'an answer')} there"
                )
            continue
        parts = [name for left, right in zip(one.windows, there["windows"], strict=True) for name in _parting(left, right)]
        if len(one.windows) != len(there["windows"]) or parts:
            faults.append(f"{ascii(one.item)[:80]}: other {', '.join(sorted(set(parts)))}")
            continue
        if not generates and not _alike(one.answer, there["answer"]):
            faults.append(f"{ascii(one.item)[:80]}: {str(one.answer)[:120]} in Python, {str(there['answer'])[:120]} there")
        difference = float("inf") if there["difference"] is None else there["difference"]
        worst = max(worst, difference)
        other += not there["same"]
        if difference > tolerance:
            faults.append(f"{ascii(one.item)[:80]}: its outputs differ by {difference:.3g}, more than {tolerance:.3g}")
    if not found["verified"].get("ok"):
        faults.append(f"golden inputs: {found['verified'].get('text')}")
    verified = found["verified"]
    figures = {
        "texts": len(every),
        "refused_by_both": sum(one.fault is not None for one in every),
        "golden": verified.get("golden", 0),
        "golden_difference": verified.get("difference"),
        "difference": worst,
        "tolerance": tolerance,
        "other_answers_by_rounding": other,
        "milliseconds_of_a_run": found["milliseconds"],
    }
    return faults, figures


def _parting(here: Window, there: Any) -> list[str]:
    """Names of what two windows do not have in common."""
    parts = {
        "ids": here.ids.tolist() == there["ids"],
        "types": there["types"] == (None if here.types is None else here.types.tolist()),
    }
    parts["truncated"] = here.truncated == there["truncated"]
    if len(here.words):
        inside = (here.words >= 0).tolist()
        parts["places"] = [pair for pair, of_word in zip(here.offsets.tolist(), inside, strict=True) if of_word] == [
            [start, end] for start, end, of_word in zip(there["starts"], there["ends"], inside, strict=True) if of_word
        ]
        parts["words"] = _runs(here.words.tolist()) == _runs(there["words"])
    return [name for name, same in parts.items() if not same]


def _runs(words: list[int]) -> list[int]:
    """Numbers of words in the order in which they come, -1 as it is."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(word, len(numbers)) if word >= 0 else -1 for word in words]


def _alike(one: Any, other: Any) -> bool:
    """Whether two answers are the same but for the last decimal of a score."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return abs(float(one) - float(other)) <= CLOSE
    return bool(one == other)
