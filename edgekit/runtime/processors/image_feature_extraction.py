"""image-feature-extraction: the embedding of an image, which the graph gives whole."""

from __future__ import annotations

from edgekit.runtime.processors import Output, Processor
from edgekit.runtime.processors.feature_extraction import Embedding, answer, line
from edgekit.runtime.processors.image_classification import prepare

__all__ = ["PROCESSOR"]

PROCESSOR: Processor[Embedding] = Processor(
    prepare,
    answer,
    line,
    outputs=(Output("embedding", "FP32", 2, lambda answer: answer["embedding"]),),
    texts=lambda pairs: (("image",), ()),
    reads="image",
)
