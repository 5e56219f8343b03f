"""audio-classification: one label for a sound. In rows a sound is the base64 text of its file."""

from __future__ import annotations

import base64
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
    """transformers' audio-classification pipeline over what its `load_audio` decodes: a sound -> {label: score} of all labels."""
    import torch
    from transformers import AutoFeatureExtractor, pipeline
    from transformers.audio_utils import load_audio

    reader = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    model: Any = str(folder)
    classify = pipeline("audio-classification", model=model, feature_extractor=reader, device="cpu", dtype=torch.float32)

    def ask(item: JsonValue) -> dict[str, float]:
        samples = load_audio(f"data:audio/wav;base64,{item}", sampling_rate=reader.sampling_rate, backend="soundfile")
        found = classify(samples, top_k=len(classify.model.config.id2label))
        return {one["label"]: one["score"] for one in found}

    return ask


def made(texts: Sequence[str], pairs: bool) -> list[JsonValue]:
    """Made sounds."""
    from edgekit.models.sounds import made_sounds

    return [base64.b64encode(data).decode() for data in made_sounds()]


TASK = EncoderTask(
    name="audio-classification",
    title="one label for a sound",
    columns=("audio", "label"),
    metric="accuracy",
    output="logits",
    auto="AutoModelForAudioClassification",
    per_token=False,
    items=lambda row: [row["audio"]],
    labels=labels,
    tensor=lambda model, output, mask: output.logits,
    hard=hard_class,
    soft=soft_class,
    draw=draw_class,
    evidence=evidence,
    reduce=accuracy,
    alone=Alone("same label", answer, columns=("audio",)),
    reference=Reference("transformers' audio-classification pipeline", pipeline_of, label_difference, inputs=made),
    reads="sound",
)
