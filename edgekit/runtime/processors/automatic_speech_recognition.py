"""automatic-speech-recognition: speech to the text of a CTC head."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

import numpy as np

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.processors import RESAMPLED, TRUNCATED, Asked, Output, Processor, audio_classification, finite
from edgekit.runtime.sound import SoundReader
from edgekit.runtime.tokenise import Window

__all__ = ["PROCESSOR", "Transcript", "heard"]


class Transcript(TypedDict):
    """The text."""

    text: str


def prepare(reader: SoundReader, item: object) -> list[Window]:
    """One window for a sound, or for {"audio": ...}.

    Raises:
        BadInput: as `SoundReader.sound`; a model that does not say how its outputs are written.
    """
    spelling = reader.settings.spelling
    if spelling is None:
        raise BadInput("the model's files do not say how its outputs are written", fix="export the bundle again")
    return [replace(window, spelling=spelling) for window in audio_classification.prepare(reader, item)]


def heard(outputs: list[np.ndarray], windows: list[Window]) -> str:
    """The text of logits float32 (1, frames, tokens) of a window.

    Raises:
        CheckFailed: they are not finite, or of another shape.
    """
    (logits,), (window,) = outputs, windows
    if logits.ndim != 3 or len(logits) != 1 or window.spelling is None:
        raise CheckFailed(f"the model gave logits of shape {logits.shape} instead of (1, frames, tokens)")
    return window.spelling.text(finite(logits, "logits")[0].argmax(axis=-1))


def answer(outputs: list[np.ndarray], windows: list[Window], asked: Asked) -> Transcript:
    """What was said.

    Raises:
        CheckFailed: as `heard`.
    """
    return {"text": heard(outputs, windows)}


PROCESSOR: Processor[Transcript] = Processor(
    prepare,
    answer,
    lambda answer: answer["text"],
    outputs=(Output("text", "BYTES", 1, lambda answer: answer["text"]), TRUNCATED, RESAMPLED),
    texts=lambda pairs: (("audio",), ()),
    decided=False,
    reads="sound",
)
