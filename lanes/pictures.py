"""The lanes' small model of images, and rows of made pictures for it: sizes odd, as those of the models of texts are."""

from __future__ import annotations

import base64
import io
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["LABELS", "make_model", "picture_rows"]

LABELS = ("across", "down", "plain")
COLOURS = np.array([[200, 30, 40], [20, 180, 60], [30, 50, 210], [220, 210, 40], [120, 120, 120], [240, 240, 240]])
SIDE, PATCH = 24, 6
"""Pixels: 16 patches and one token more, of which 17 no kernel's block is a divisor."""


def make_model(folder: Path) -> Path:
    """A ViT of the sizes of the models of texts, with random weights and its image processor.

    Raises:
        ImportError: transformers has no image processor that Pillow serves.
    """
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=72, num_hidden_layers=2, num_attention_heads=4, intermediate_size=104, image_size=SIDE, patch_size=PATCH,
        id2label=dict(enumerate(LABELS)), label2id={label: number for number, label in enumerate(LABELS)},
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        for parameter in model.base_model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        model.classifier.weight *= 30
    model.save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}, resample=3).save_pretrained(folder)
    return folder


def picture_rows() -> list[dict[str, Any]]:
    """144 distinct pictures as PNG files in base64: a colour and stripes across, down, or none, under noise, in two sizes that are resized."""
    from PIL import Image

    draw, rows = np.random.default_rng(0), []
    for number, (colour, label, width) in enumerate(product(COLOURS, LABELS, (2, 3, 4, 5, 6, 7, 8, 9))):
        high, wide = (31, 45) if number % 2 else (20, 17)
        stripes = {"across": np.arange(high)[:, None], "down": np.arange(wide)[None]}.get(label, np.zeros((1, 1)))
        shade = np.broadcast_to((stripes // width % 2)[:, :, None], (high, wide, 1))
        pixels = np.clip(colour * (1 - 0.8 * shade) + draw.normal(0, 12, (high, wide, 3)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        rows.append({"image": base64.b64encode(file.getvalue()).decode(), "label": label})
    return rows
