"""audio-classification: a sound to a label and its probability."""

from __future__ import annotations

from edgekit.runtime.processors import RESAMPLED, TRUNCATED, Output, Processor
from edgekit.runtime.processors.text_classification import Classification, answer, line
from edgekit.runtime.sound import SoundReader
from edgekit.runtime.tokenise import NO_WORDS, Window

__all__ = ["PROCESSOR", "prepare"]


def prepare(reader: SoundReader, item: object) -> list[Window]:
    """One window for a sound, or for {"audio": ...}.

    Raises:
        BadInput: as `SoundReader.sound`.
    """
    sound = reader.sound(item["audio"] if isinstance(item, dict) and set(item) == {"audio"} else item)
    return [Window(NO_WORDS, None, sound=sound, truncated=sound.truncated)]


PROCESSOR: Processor[Classification] = Processor(
    prepare,
    answer,
    line,
    outputs=(
        Output("label", "BYTES", 2, lambda answer: [item["label"] for item in answer.get("scores", [answer])]),
        Output("score", "FP32", 2, lambda answer: [item["score"] for item in answer.get("scores", [answer])]),
        TRUNCATED,
        RESAMPLED,
    ),
    texts=lambda pairs: (("audio",), ()),
    lists="best",
    reads="sound",
)
