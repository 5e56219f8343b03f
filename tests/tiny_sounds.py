"""Tiny encoders of sounds with random weights, and rows of made sounds for them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers

from edgekit.models.sounds import write_wav
from tests.tiny_images import as_text

__all__ = ["FAMILIES", "LABELS", "RATE", "made_model", "noise", "rows_of"]

LABELS = ("high", "hiss", "low")
FAMILIES = ("audio-spectrogram-transformer",)
RATE = 8000
BINS, FRAMES = 16, 24


def made_model(folder: Path, family: str = FAMILIES[0], *, layers: int = 2, stride: int = 8, **preprocessing: Any) -> Path:
    """An AST of two layers that reads 24 frames of 16 bins in patches of 8 x 8, half a second at 8 kHz, and its feature extractor."""
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=32, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=64, patch_size=8, frequency_stride=stride,
        time_stride=stride, max_length=FRAMES, num_mel_bins=BINS, id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )  # fmt: skip
    assert config.model_type == family
    model = transformers.ASTForAudioClassification(config).eval()
    with torch.no_grad():
        for parameter in model.base_model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        model.classifier.dense.weight *= 10
    model.save_pretrained(folder)
    given = {"sampling_rate": RATE, "num_mel_bins": BINS, "max_length": FRAMES, "mean": -5.0, "std": 3.0, **preprocessing}
    transformers.ASTFeatureExtractor(**given).save_pretrained(folder)
    return folder


def noise(label: str, draw: np.random.Generator, rate: int = RATE) -> np.ndarray:
    """float64 (n,): noise, or a tone that the label names, of a third to three quarters of a second."""
    count = int(draw.integers(rate // 3, 3 * rate // 4))
    samples = draw.normal(0, 0.02, count)
    if label != "hiss":
        samples += 0.4 * np.sin(2 * np.pi * (300 if label == "low" else 2500) * np.arange(count) / rate)
    return samples


def rows_of(folder: Path, counts: Sequence[int] = (24, 8, 8)) -> Path:
    """Three files of rows in `folder`: training rows as base64 text, validation rows as paths, some of FLAC, test rows as Parquet of datasets."""
    import pyarrow
    from pyarrow import parquet

    draw = np.random.default_rng(0)
    rows = [(noise(LABELS[number % len(LABELS)], draw), LABELS[number % len(LABELS)]) for number in range(sum(counts))]
    train, validation, test = np.split(np.arange(len(rows)), np.cumsum(counts)[:-1])
    lines = [json.dumps({"audio": as_text(write_wav(rows[number][0], RATE)), "label": rows[number][1]}) for number in train]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "sounds").mkdir()
    listed = []
    for number in validation:
        name = f"sounds/{number}.{'flac' if number % 2 else 'wav'}"
        soundfile.write(folder / name, rows[number][0], RATE)
        listed.append(f"{name},{rows[number][1]}")
    (folder / "validation.csv").write_text("audio,label\n" + "\n".join(listed) + "\n")
    held = [{"audio": {"bytes": write_wav(rows[number][0], RATE), "path": None}, "label": rows[number][1]} for number in test]
    parquet.write_table(pyarrow.Table.from_pylist(held), folder / "test.parquet")
    return folder


def flac(samples: np.ndarray, rate: int = RATE) -> bytes:
    """The FLAC file of samples."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC")
    return file.getvalue()
