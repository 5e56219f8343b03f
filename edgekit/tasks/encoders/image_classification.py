"""image-classification: one label for an image. In rows an image is the base64 text of its file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.tasks.encoders.text_classification import accuracy, answer, evidence, labels
from edgekit.tasks.losses import draw_class, hard_class, soft_class
from edgekit.tasks.reference import Ask, Reference, label_difference
from edgekit.tasks.task import Alone, EncoderTask

if TYPE_CHECKING:
    from edgekit.runtime.jsontypes import JsonValue

__all__ = ["TASK"]


def pipeline_of(folder: Path, longest: int) -> Ask:
    """transformers' image-classification pipeline: an image -> {label: score} of all labels."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, pipeline

    reader = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False, backend="pil")
    model: Any = str(folder)
    classify = pipeline("image-classification", model=model, image_processor=reader, device="cpu", dtype=torch.float32)

    def ask(item: JsonValue) -> dict[str, float]:
        with Image.open(io.BytesIO(base64.b64decode(str(item)))) as image:
            found = classify(image, top_k=len(classify.model.config.id2label))
        return {one["label"]: one["score"] for one in found}

    return ask


def made(texts: Sequence[str], pairs: bool) -> list[JsonValue]:
    """Made images."""
    from edgekit.models.preprocessing import made_images

    return [base64.b64encode(data).decode() for data in made_images()]


TASK = EncoderTask(
    name="image-classification",
    title="one label for an image",
    columns=("image", "label"),
    metric="accuracy",
    output="logits",
    auto="AutoModelForImageClassification",
    per_token=False,
    items=lambda row: [row["image"]],
    labels=labels,
    tensor=lambda model, output, mask: output.logits,
    hard=hard_class,
    soft=soft_class,
    draw=draw_class,
    evidence=evidence,
    reduce=accuracy,
    alone=Alone("same label", answer, columns=("image",)),
    reference=Reference("transformers' image-classification pipeline", pipeline_of, label_difference, inputs=made),
    reads="image",
)
