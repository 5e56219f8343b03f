"""A model's preprocessor_config.json as transformers reads its folder, written out in full.

transformers fills in what a file leaves out from the class that it names. A device reads the file alone, so that it has to say all of it;
whether that is all, made images tell.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import BadInput, NotPossibleHere
from edgekit.models.files import read_json
from edgekit.models.view import view
from edgekit.runtime.bundle.names import PREPROCESSOR
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.pixels import read_pixels

__all__ = ["made_images", "positions_read", "read_size", "settle_pixels"]

TOLERANCE = 1e-4
"""Largest distance of a pixel value from transformers'; they are of the order of 1."""
SIZES = ((32, 32), (45, 97), (300, 211), (7, 5), (1, 1), (512, 640))
"""(height, width) of made images: square, wide, tall, tiny, larger than most models read."""
EXTRA_TOKENS = {"vit": 1, "deit": 2}
"""Tokens of a model of images beside its patches."""


def made_images(seed: int = 0) -> list[bytes]:
    """Files of made images: noise over a gradient in several sizes and modes, plain ones, one that is turned by its metadata."""
    from PIL import Image

    generator, found = np.random.default_rng(seed), []

    def add(image: Any, kind: str = "PNG", **options: Any) -> None:
        file = io.BytesIO()
        image.save(file, kind, **options)
        found.append(file.getvalue())

    for height, width in SIZES:
        slope = (
            np.linspace(0, 255, height)[:, None, None] * np.array([1.0, 0.5, 0.2]) + np.linspace(0, 99, width)[None, :, None]
        )
        noisy = np.clip(slope + generator.normal(0, 25, (height, width, 3)), 0, 255).astype(np.uint8)
        add(Image.fromarray(noisy))
        add(Image.fromarray(noisy), "JPEG", quality=80)
    base = Image.fromarray(noisy).resize((60, 44))
    for mode in ("L", "LA", "P", "1"):
        add(base.convert(mode))
    clear = base.convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 60).astype(np.uint8), (44, 1))))
    add(clear)
    add(base.convert("CMYK"), "JPEG")
    add(Image.fromarray((np.outer(np.arange(44), np.arange(60)) * 25).astype(np.uint16)))
    for plain in (0, 128, 255):
        add(Image.new("RGB", (40, 30), (plain, plain, plain)))
    turned = Image.Exif()
    turned[0x0112] = 6
    add(base, "JPEG", exif=turned)
    return found


def read_size(folder: Path) -> tuple[int, int]:
    """(height, width) of the images that the model in checkpoint `folder` reads.

    Raises:
        BadInput: its configuration does not say.
    """
    size = read_json(folder / "config.json").get("image_size")
    found = [size, size] if type(size) is int else size
    if not isinstance(found, list) or len(found) != 2 or not all(type(one) is int and one > 0 for one in found):
        raise BadInput("image_size is neither a whole number nor two of them", where=str(folder / "config.json"))
    return found[0], found[1]


def positions_read(config: Mapping[str, object]) -> int:
    """Positions of one image in a model with configuration `config`: its patches, and the tokens beside them."""
    image: Any = config["image_size"]
    patch: Any = config["patch_size"]
    height, width = image if isinstance(image, list) else (image, image)
    return int((height // patch) * (width // patch) + EXTRA_TOKENS[str(config["model_type"])])


def settle_pixels(source: Path, out: Path) -> None:
    """Write `out`/preprocessor_config.json as transformers' AutoImageProcessor of folder `source` reads images, in full.

    Raises:
        BadInput: transformers cannot load it, or reads made images otherwise than the runtime; images would not have the model's size.
        NotPossibleHere: Pillow is not installed.
    """
    theirs = _theirs(source)
    document: dict[str, JsonValue] = {
        "image_processor_type": type(theirs).__name__.removesuffix("Pil"),
        **{name: bool(getattr(theirs, name, None)) for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize")},
        "size": _size(theirs.size), "resample": int(theirs.resample or 0),
        "rescale_factor": float(theirs.rescale_factor or 0), "image_mean": _three(theirs.image_mean), "image_std": _three(theirs.image_std),
    }  # fmt: skip
    if document["do_center_crop"]:
        document["crop_size"] = _size(theirs.crop_size)
    where = source / PREPROCESSOR
    (out / PREPROCESSOR).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    reader, size = read_pixels(out / PREPROCESSOR), read_size(source)
    if reader.shape[1:] != size:
        raise BadInput(
            f"makes images of {reader.shape[2]} x {reader.shape[1]} pixels, and the model reads {size[1]} x {size[0]} (config.json, image_size)",
            where=str(where), fix="use the two files that were saved together",
        )  # fmt: skip
    worst = max(_distance(reader.pixels(data).tensor(), _read_by(theirs, data)) for data in made_images())
    if not worst <= TOLERANCE:
        raise BadInput(
            f"transformers' {document['image_processor_type']} makes pixel values that differ by {worst:.2g} from those of the same settings "
            "here, so that something of it is not known here",
            where=str(where), fix="use a model whose images are resized, cropped, rescaled and normalised, and nothing else",
        )  # fmt: skip


def _theirs(source: Path) -> Any:
    """transformers' image processor of checkpoint `source`, the one that computes by Pillow."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise NotPossibleHere(
            "reading images needs Pillow", fix="pip install 'edgekit[image]'", see="something-is-not-installed"
        ) from None
    from transformers import AutoImageProcessor

    with view(source) as seen:
        try:
            return AutoImageProcessor.from_pretrained(seen, local_files_only=True, trust_remote_code=False, backend="pil")
        except Exception as fault:  # transformers raises many kinds
            said = " ".join(str(fault).split())[:200]
            raise BadInput(
                f"transformers' AutoImageProcessor cannot load it: {said}", where=str(source / PREPROCESSOR)
            ) from None


def _read_by(processor: Any, data: bytes) -> np.ndarray:
    from PIL import Image
    from transformers.image_utils import load_image

    with Image.open(io.BytesIO(data)) as image:
        found: np.ndarray = processor(load_image(image), return_tensors="np")["pixel_values"][0]
    return found


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference; infinite where shapes differ."""
    return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")


def _size(size: Any) -> JsonObject:
    """The sides that are said."""
    given = {} if size is None else dict(size)
    return {name: given[name] for name in ("height", "width", "shortest_edge") if given.get(name) is not None}


def _three(numbers: Any) -> list[float]:
    found = [] if numbers is None else [float(one) for one in np.broadcast_to(np.asarray(numbers, dtype=np.float64), 3)]
    return list(found)
