"""A model's preprocessor_config.json as transformers reads its folder, written out in full.

transformers fills in what a file leaves out from the class that it names. A device reads the file alone, so that it has to say all of it;
whether that is all, made images tell.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BadInput, NotPossibleHere
from edgekit.models.files import read_json
from edgekit.models.image_families import IMAGE_FAMILIES, size_read
from edgekit.models.view import view
from edgekit.runtime.bundle.names import PREPROCESSOR
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.pixels import read_pixels

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["fit_positions", "made_images", "settle_pixels"]

TOLERANCE = 1e-4
"""Largest distance of a pixel value from transformers'; they are of the order of 1."""
SIDES = ("height", "width", "shortest_edge")
"""What a size may say."""
RESIZED = "use a model whose images are resized, cropped, rescaled and normalised, and nothing else"
SIZES = ((32, 32), (45, 97), (300, 211), (7, 5), (1, 1), (512, 640))
"""(height, width) of made images: square, wide, tall, tiny, larger than most models read."""


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
    for mode, value in (("P", 3), ("L", base.convert("L").getpixel((5, 5)))):
        add(base.quantize(16) if mode == "P" else base.convert(mode), transparency=value)
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


def settle_pixels(source: Path, out: Path) -> None:
    """Write `out`/preprocessor_config.json as transformers' AutoImageProcessor of folder `source` reads images, in full.

    Raises:
        BadInput: transformers cannot load it, or reads made images otherwise than the runtime; images would not have the model's size.
        NotPossibleHere: Pillow is not installed.
    """
    theirs = _theirs(source)
    document = _settings(theirs)
    where = source / PREPROCESSOR
    if faults := _unknown(theirs):
        raise BadInput("images are read in a way that is not known here", where=str(where), faults=faults, fix=RESIZED)
    (out / PREPROCESSOR).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    reader, home = read_pixels(out / PREPROCESSOR), out if (out / "config.json").is_file() else source
    size = size_read(read_json(home / "config.json"))
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
            where=str(where), fix=RESIZED,
        )  # fmt: skip


def fit_positions(model: PreTrainedModel, source: Path) -> None:
    """Bring the table of positions to the size that images of checkpoint `source` are made, as transformers does in each run, for families
    that read images of any size; DINOv2 was trained on 518 pixels and is given 224.

    Raises:
        BadInput: its image processor cannot be loaded or makes images of another shape than square.
    """
    family = IMAGE_FAMILIES[model.config.model_type]
    if not family.interpolated:
        return
    settings = _settings(_theirs(source))
    last: Any = settings["crop_size"] if settings["do_center_crop"] else settings["size"]
    height, width = last.get("height"), last.get("width")
    if height is None or (height, width) == size_read(model.config.to_dict()):
        return
    if height != width:
        raise BadInput(
            f"images of {width} x {height} pixels, and the positions of {model.config.model_type} are fitted to square ones here",
            where=str(source / PREPROCESSOR), fix="crop images to a square there (crop_size)",
        )  # fmt: skip
    import torch

    embeddings: Any = model.base_model.embeddings
    side = height // model.config.patch_size
    with torch.no_grad():
        patches = torch.zeros(1, side * side + len(family.tokens), model.config.hidden_size)
        table = embeddings.interpolate_pos_encoding(patches, height, width)
    embeddings.position_embeddings = torch.nn.Parameter(table.clone())
    model.config.image_size = height


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


def _settings(theirs: Any) -> dict[str, JsonValue]:
    """Everything that decides pixel values, of transformers' image processor."""
    document: dict[str, JsonValue] = {
        "image_processor_type": type(theirs).__name__.removesuffix("Pil"),
        **{name: bool(getattr(theirs, name, None)) for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize")},
        "size": _size(theirs.size), "resample": int(theirs.resample or 0),
        "rescale_factor": float(theirs.rescale_factor or 0), "image_mean": _three(theirs.image_mean), "image_std": _three(theirs.image_std),
    }  # fmt: skip
    if getattr(theirs, "do_convert_rgb", None):
        document["do_convert_rgb"] = True
    if document["do_center_crop"]:
        document["crop_size"] = _size(theirs.crop_size)
    return document


def _read_by(processor: Any, data: bytes) -> np.ndarray:
    from PIL import Image
    from transformers.image_utils import load_image

    with Image.open(io.BytesIO(data)) as image:
        found: np.ndarray = processor(load_image(image), return_tensors="np")["pixel_values"][0]
    return found


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference; infinite where shapes differ."""
    return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")


def _unknown(theirs: Any) -> list[str]:
    """Settings of transformers' image processor that nothing here does."""
    size = {} if theirs.size is None else dict(theirs.size)
    faults = [
        f"size, {name}: only height and width, or shortest_edge, are known"
        for name in size
        if name not in SIDES and size[name] is not None
    ]
    if getattr(theirs, "crop_pct", None) is not None and (size.get("shortest_edge") or 384) < 384:
        faults.append(
            "crop_pct: images would have different sizes before they are cropped; write size and crop_size in its place"
        )
    return faults


def _size(size: Any) -> JsonObject:
    """The sides that are said."""
    given = {} if size is None else dict(size)
    return {name: given[name] for name in SIDES if given.get(name) is not None}


def _three(numbers: Any) -> list[float]:
    found = [] if numbers is None else [float(one) for one in np.broadcast_to(np.asarray(numbers, dtype=np.float64), 3)]
    return list(found)
