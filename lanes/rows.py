"""Rows for the lanes' small models: one grammar of lamps in rooms, told in the columns of each task that reads texts; pictures, sounds."""

from __future__ import annotations

from itertools import product
from typing import Any

from lanes.pictures import picture_rows
from lanes.sounds import sound_rows

__all__ = ["SPLITS", "rows_of"]

COLOURS = ("red", "green", "blue", "white", "black", "yellow")
ROOMS = ("kitchen", "hall", "bedroom", "garden", "office", "dining room")
ASKS = {"on": "turn on the", "off": "turn off the", "ask": "is the", "paint": "paint the"}
WITHOUT_TEXT = {"image-classification": picture_rows, "audio-classification": sound_rows}
"""Task that reads no text -> what makes its rows."""
SPLITS = {"train": slice(0, None, 3), "validation": slice(1, None, 6), "test": slice(4, None, 6)}
"""Which rows go where; no row is in two."""


def rows_of(task: str) -> list[dict[str, Any]]:
    """Distinct rows of `task`, in a fixed order in which neighbours differ."""
    made = WITHOUT_TEXT.get(task)
    every = [_row(task, *words) for words in product(COLOURS, ROOMS, ASKS.items())] if made is None else made()
    return [every[(number * 61) % len(every)] for number in range(len(every))]  # 61 and 144 share no divisor


def _row(task: str, colour: str, room: str, ask: tuple[str, str]) -> dict[str, Any]:
    label, start = ask
    text = f"{start} {colour} lamp in the {room}"
    if task == "text-classification":
        return {"text": text, "label": label}
    if task == "entailment":
        other = COLOURS[(COLOURS.index(colour) + len(room)) % len(COLOURS)]
        said = {
            "entailment": f"the lamp is {colour}",
            "contradiction": f"the lamp is not {colour}",
            "neutral": f"the garden is {other}",
        }
        kind = list(said)[(len(text) + len(label)) % len(said)]
        return {"text": text, "text_pair": said[kind], "label": kind}
    if task == "multi-label-classification":
        return {"text": text, "label": [label, *([colour] if len(colour) > 4 else [])]}
    if task == "text-regression":
        return {"text": text, "label": len(colour) / 2 + len(room) / 10}
    if task == "text-ranking":
        passages = [f"the {colour} lamp", f"a lamp in the {room}", "nothing at all"]
        return {"query": text, "passages": passages, "relevance": [2, 1, 0]}
    if task == "zero-shot-classification":
        return {"text": text, "label": colour}
    if task == "token-classification":
        named = {colour: "B-colour", **dict(zip(room.split(), ("B-room", "I-room"), strict=False))}
        return {"tokens": text.split(), "tags": [named.get(word, "O") for word in text.split()]}
    if task == "question-answering":
        context = f"the {label} is old . the lamp in the {room} is {colour} ."
        answer = {"text": [colour], "answer_start": [context.rindex(colour)]}
        return {"question": f"what colour is the lamp in the {room} ?", "context": context, "answers": answer}
    if task == "feature-extraction":
        return {"sentence1": text, "sentence2": f"a {colour} lamp", "score": float(len(colour))}
    return {"text": f"{text} . it is {label} there , and the {room} is {colour} all day long ."}
