"""Tiny encoders of images with random weights, and rows of made images for them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

__all__ = ["EMBEDDERS", "FAMILIES", "LABELS", "as_text", "made_embedder", "made_model", "picture", "rows_of", "write_png"]

LABELS = ("dark", "green", "red")
SIDE = 12
_CLASSIC = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": SIDE,
    "patch_size": 4,
}
_DINOV2 = {**{key: value for key, value in _CLASSIC.items() if key != "intermediate_size"}, "mlp_ratio": 2}
_BEIT = {**_CLASSIC, "use_relative_position_bias": True}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "beit": ("BeitForImageClassification", _BEIT),
    "clip": ("CLIPForImageClassification", {"vision_config": _CLASSIC}),
    "data2vec-vision": ("Data2VecVisionForImageClassification", _BEIT),
    "deit": ("DeiTForImageClassification", _CLASSIC),
    "dinov2": ("Dinov2ForImageClassification", _DINOV2),
    "dinov2_with_registers": ("Dinov2WithRegistersForImageClassification", _DINOV2),
    "ijepa": ("IJepaForImageClassification", _CLASSIC),
    "siglip": ("SiglipForImageClassification", {"vision_config": _CLASSIC}),
    "swin": (
        "SwinForImageClassification",
        {
            "image_size": 16,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [2, 1],
            "num_heads": [2, 4],
            "window_size": 4,
            "mlp_ratio": 2.0,
        },
    ),
    "vit": ("ViTForImageClassification", _CLASSIC),
    "vit_msn": ("ViTMSNForImageClassification", _CLASSIC),
}
"""Family -> the class of a classifier of it, and its tiny configuration."""
_TEXTS = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 80, "vocab_size": 60}
_CLIP = {"vision_config": _CLASSIC, "text_config": {**_TEXTS, "bos_token_id": 1, "eos_token_id": 2}, "projection_dim": 20}
EMBEDDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "beit": ("BeitModel", _BEIT),
    "clip": ("CLIPModel", _CLIP),
    "clip tower": ("CLIPVisionModel", _CLASSIC),
    "clip tower with its projection": ("CLIPVisionModelWithProjection", {**_CLASSIC, "projection_dim": 20}),
    "deit": ("DeiTModel", _CLASSIC),
    "dinov2": ("Dinov2Model", _DINOV2),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", _DINOV2),
    "siglip": ("SiglipModel", {"vision_config": _CLASSIC, "text_config": {**_TEXTS, "bos_token_id": 1, "eos_token_id": 2}}),
    "siglip tower": ("SiglipVisionModel", _CLASSIC),
    "swin": ("SwinModel", FAMILIES["swin"][1]),
    "vit": ("ViTModel", _CLASSIC),
    "vit with labels": ("ViTForImageClassification", _CLASSIC),
    "vit_msn": ("ViTMSNModel", _CLASSIC),
}
"""What gives embeddings of images -> its class, and its tiny configuration; models of images and texts have layers of both."""


def made_embedder(folder: Path, kind: str) -> Path:
    """A model of two layers that reads 12 x 12 pixels (Swin: 16 x 16) and gives embeddings, as transformers writes it, and its image processor."""
    torch.manual_seed(0)
    name, sizes = EMBEDDERS[kind]
    built = getattr(transformers, name)
    model = built(built.config_class(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    side = sizes.get("image_size", SIDE)
    transformers.ViTImageProcessorPil(size={"height": side, "width": side}, resample=3).save_pretrained(folder)
    return folder


def made_model(
    folder: Path, family: str = "vit", *, layers: int = 2, architecture: str | None = None, **preprocessing: Any
) -> Path:
    """A model of two layers that reads 12 x 12 pixels in patches of 4 x 4 (Swin: 16 x 16 of 2 x 2), and its image processor."""
    torch.manual_seed(0)
    kind, sizes = FAMILIES[family]
    changed = {key: {**part, "num_hidden_layers": layers} for key, part in sizes.items() if key == "vision_config"}
    changed |= {"num_hidden_layers": layers} if "num_hidden_layers" in sizes else {}
    config = transformers.AutoConfig.for_model(
        family, **{**sizes, **changed}, id2label=dict(enumerate(LABELS)), label2id={label: number for number, label in enumerate(LABELS)},
    )  # fmt: skip
    config.architectures = [architecture or kind]
    model = transformers.AutoModelForImageClassification.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "classifier" not in name:
                parameter += 0.1 * torch.randn_like(parameter)
            elif name.endswith("weight"):
                parameter *= 30
    model.save_pretrained(folder)
    side = sizes.get("image_size", SIDE)
    given = {"size": {"height": side, "width": side}, "resample": 3, "do_center_crop": False, **preprocessing}
    transformers.ViTImageProcessorPil(**given).save_pretrained(folder)
    return folder


def picture(label: str, draw: np.random.Generator) -> np.ndarray:
    """uint8 (height, width, 3): noise in the colour that the label names."""
    height, width = draw.integers(10, 24, 2)
    image = draw.integers(0, 60, (height, width, 3), dtype=np.uint8)
    if label != "dark":
        image[:, :, ("red", "green").index(label)] += 150
    return image


def write_png(image: np.ndarray) -> bytes:
    """The file of an image."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def as_text(data: bytes) -> str:
    """Bytes as rows and requests hold them."""
    return base64.b64encode(data).decode()


def rows_of(folder: Path, counts: Sequence[int] = (24, 8, 8)) -> Path:
    """Three files of rows in `folder`: training rows as base64 text, validation rows as paths, test rows as Parquet of datasets."""
    import pyarrow
    from pyarrow import parquet

    draw, rows = np.random.default_rng(0), []
    for number in range(sum(counts)):
        label = LABELS[number % len(LABELS)]
        rows.append((write_png(picture(label, draw)), label))
    train, validation, test = np.split(np.arange(len(rows)), np.cumsum(counts)[:-1])
    lines = [json.dumps({"image": as_text(rows[number][0]), "label": rows[number][1]}) for number in train]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "photos").mkdir()
    for number in validation:
        (folder / "photos" / f"{number}.png").write_bytes(rows[number][0])
    listed = [f"photos/{number}.png,{rows[number][1]}" for number in validation]
    (folder / "validation.csv").write_text("image,label\n" + "\n".join(listed) + "\n")
    held = [{"image": {"bytes": rows[number][0], "path": None}, "label": rows[number][1]} for number in test]
    parquet.write_table(pyarrow.Table.from_pylist(held), folder / "test.parquet")
    return folder
