"""image-classification: an image to a label and its probability."""

from __future__ import annotations

from edgekit.runtime.pixels import PixelReader
from edgekit.runtime.processors import Output, Processor
from edgekit.runtime.processors.text_classification import Classification, answer, line
from edgekit.runtime.tokenise import NO_WORDS, Window

__all__ = ["PROCESSOR"]


def prepare(reader: PixelReader, item: object) -> list[Window]:
    """One window for an image, or for {"image": ...}.

    Raises:
        BadInput: as `PixelReader.pixels`.
    """
    image = item["image"] if isinstance(item, dict) and set(item) == {"image"} else item
    return [Window(NO_WORDS, None, pixels=reader.pixels(image))]


PROCESSOR: Processor[Classification] = Processor(
    prepare,
    answer,
    line,
    outputs=(
        Output("label", "BYTES", 2, lambda answer: [item["label"] for item in answer.get("scores", [answer])]),
        Output("score", "FP32", 2, lambda answer: [item["score"] for item in answer.get("scores", [answer])]),
    ),
    texts=lambda pairs: (("image",), ()),
    lists="best",
    reads="image",
)
