"""Images as the runtime reads them: transformers' own pixel values, arrays without Pillow, and files that are no images."""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image
from transformers.image_utils import load_image

from edgekit.errors import BadInput, NotPossibleHere
from edgekit.models.preprocessing import made_images, settle_pixels
from edgekit.runtime.pixels import MOST_PIXELS, PixelReader, read_pixels
from tests.tiny_images import as_text, made_model, picture, write_png

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "squeezed": ("ViTImageProcessorPil", {"size": {"height": 40, "width": 24}, "resample": 2}),
    "cropped": ("DeiTImageProcessorPil", {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}),
    "padded": (
        "DeiTImageProcessorPil",
        {"size": {"shortest_edge": 20}, "crop_size": {"height": 33, "width": 32}, "resample": 1},
    ),
    "one mean": (
        "ViTImageProcessorPil",
        {"size": {"height": 16, "width": 16}, "image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 0.5]},
    ),
    "beit": ("BeitImageProcessorPil", {"size": {"height": 24, "width": 24}, "do_reduce_labels": True}),
    "beit cropped": (
        "BeitImageProcessorPil",
        {"size": {"height": 32, "width": 32}, "do_center_crop": True, "crop_size": {"height": 24, "width": 24}},
    ),
    "dinov2": ("BitImageProcessorPil", {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}}),
    "clip": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}),
    "clip, modes left": (
        "CLIPImageProcessorPil",
        {"size": {"shortest_edge": 20}, "crop_size": {"height": 28, "width": 28}, "do_convert_rgb": False},
    ),
    "siglip": ("SiglipImageProcessorPil", {"size": {"height": 24, "width": 24}}),
    "raw": ("ViTImageProcessorPil", {"size": {"height": 8, "width": 8}, "do_normalize": False, "rescale_factor": 0.5}),
}


def reader_of(folder: Path, **preprocessing: Any) -> PixelReader:
    """The reader of a tiny model, as the original's stage leaves it."""
    made_model(folder / "model", **preprocessing)
    settle_pixels(folder / "model", folder)
    return read_pixels(folder / "preprocessor_config.json")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> PixelReader:
    return reader_of(tmp_path_factory.mktemp("reader"))


def odd_files() -> list[bytes]:
    """Files that made images do not have: lines, turns by metadata, and modes of TIFF and WebP."""
    draw, found = np.random.default_rng(7), []

    def add(image: Image.Image, kind: str = "PNG", **options: Any) -> None:
        file = io.BytesIO()
        image.save(file, kind, **options)
        found.append(file.getvalue())

    for height, width in ((1, 4000), (4000, 1), (2, 3), (27, 29), (28, 28), (600, 40)):
        add(Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)))
    base = Image.fromarray(draw.integers(0, 256, (37, 53, 3), dtype=np.uint8))
    for turn in range(2, 9):
        metadata = Image.Exif()
        metadata[0x0112] = turn
        add(base, "JPEG", exif=metadata)
    add(base.quantize(16), transparency=bytes([0, 99, 255]))
    add(base, transparency=base.getpixel((4, 4)))
    add(base.convert("RGBA"), "WEBP", lossless=True)
    for mode in ("LAB", "YCbCr", "CMYK"):
        add(base.convert(mode), "TIFF")
    add(Image.fromarray(draw.integers(0, 65536, (37, 53)).astype(np.uint16)), "TIFF")
    add(Image.fromarray(draw.random((37, 53)).astype(np.float32)), "TIFF")
    return found


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # Pillow's, of the reference
@pytest.mark.parametrize("name", SETTINGS)
def test_pixel_values_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    kind, settings = SETTINGS[name]
    theirs = getattr(transformers, kind)(**settings)
    last = theirs.crop_size if theirs.do_center_crop else theirs.size
    theirs.save_pretrained(tmp_path)
    config = {"model_type": "vit", "image_size": [last["height"], last["width"]], "patch_size": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    out = tmp_path / "out"
    out.mkdir()
    settle_pixels(tmp_path, out)  # compares made images itself; these are others
    ours = read_pixels(out / "preprocessor_config.json")
    for data in [*made_images(seed=5), *odd_files()]:
        with Image.open(io.BytesIO(data)) as image:
            wanted = theirs(load_image(image), return_tensors="np")["pixel_values"][0]
        assert np.abs(ours.pixels(data).tensor() - wanted).max() < 1e-4
    again = transformers.AutoImageProcessor.from_pretrained(out, backend="pil")
    assert np.allclose(again(load_image(image), return_tensors="np")["pixel_values"][0], wanted)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 28}, "crop_pct": 0.875}, "different sizes"),
        ("CLIPImageProcessorPil", {"size": {"shortest_edge": 28, "longest_edge": 40}}, "longest_edge"),
        ("SiglipImageProcessorPil", {"size": {"height": 16, "width": 16}, "do_pad": True}, None),
    ],
)
def test_settings_that_are_not_known_are_refused(kind: str, settings: dict[str, Any], said: str | None, tmp_path: Path) -> None:
    theirs = getattr(transformers, kind)(**settings)
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "image_size": 16, "patch_size": 1}))
    (tmp_path / "out").mkdir()
    if said is None:  # it changes nothing of one image
        settle_pixels(tmp_path, tmp_path / "out")
        return
    with pytest.raises(BadInput) as fault:
        settle_pixels(tmp_path, tmp_path / "out")
    assert said in fault.value.text()


def test_real_files(shared: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    folder = shared / "models" / "cifar10-vit"
    settle_pixels(folder, tmp_path)
    ours, theirs = (
        read_pixels(tmp_path / "preprocessor_config.json"),
        transformers.AutoImageProcessor.from_pretrained(folder, backend="pil"),
    )
    for row in parquet.read_table(shared / "data" / "cifar10" / "test.parquet").slice(0, 50).to_pylist():
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            wanted = theirs(image, return_tensors="np")["pixel_values"][0]
        assert np.abs(ours.pixels(row["image"]["bytes"]).tensor() - wanted).max() < 1e-4


def test_a_file_is_the_same_in_every_form(reader: PixelReader, tmp_path: Path) -> None:
    image = picture("red", np.random.default_rng(1))
    data = write_png(image)
    (tmp_path / "image.png").write_bytes(data)
    wanted = reader.pixels(data).tensor()
    assert wanted.dtype == np.float32 and wanted.shape == (3, 12, 12)
    for item in (
        as_text(data),
        f"data:image/png;base64,{as_text(data)}",
        tmp_path / "image.png",
        image,
        wanted,
        wanted.astype(np.float64),
    ):
        assert np.array_equal(reader.pixels(item).tensor(), wanted)


def test_arrays_of_the_models_size_need_no_pillow(reader: PixelReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    values = reader.pixels(image).tensor()
    assert np.allclose(values, (image.transpose(2, 0, 1) / 255 - 0.5) / 0.5, atol=1e-6)
    assert np.array_equal(reader.pixels(values).tensor(), values)
    with pytest.raises(NotPossibleHere, match="Pillow") as fault:
        reader.pixels(np.zeros((13, 12, 3), dtype=np.uint8))
    assert "edgekit[image]" in fault.value.text()


def bomb() -> bytes:
    """A PNG of a kilobyte that says that it has 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100_000)) + chunk(b"IEND", b"")


def frames(kind: str) -> bytes:
    """A file of two images."""
    file = io.BytesIO()
    first, second = (Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 200))
    first.save(file, kind, save_all=True, append_images=[second])
    return file.getvalue()


PNG = write_png(picture("green", np.random.default_rng(2)))
BAD: dict[str, tuple[Any, str]] = {
    "empty": (b"", "is empty"),
    "empty text": ("", "is empty"),
    "no image": (b"MZ not an image at all", "no image of a kind"),
    "half a file": (PNG[: len(PNG) // 2], "not a readable image"),
    "no base64": ("no base64", "text that is no base64"),
    "a path": ("photo.png", "a path, which is not read here, and no base64"),
    "bomb": (bomb(), "more than"),
    "animation": (frames("GIF"), "2 images"),
    "pages": (frames("TIFF"), "2 images"),
    "script": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of a kind"),
    "number": (5, "int is no image"),
    "list": ([1, 2], "list is no image"),
    "four channels": (np.zeros((12, 12, 4), dtype=np.uint8), "[12, 12, 4]"),
    "no pixels": (np.zeros((0, 12, 3), dtype=np.uint8), "[0, 12, 3]"),
    "floats of another size": (np.zeros((3, 12, 13), dtype=np.float32), "[3, 12, 13]"),
    "NaN": (np.full((3, 12, 12), np.nan, dtype=np.float32), "NaN"),
    "line": (np.zeros((1, 2**23, 3), dtype=np.uint8), "long and narrow"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_image_is_refused(name: str, reader: PixelReader, tmp_path: Path) -> None:
    item, said = BAD[name]
    if name == "line":
        reader = reader_of(tmp_path, size={"shortest_edge": 12}, do_center_crop=True, crop_size={"height": 12, "width": 12})
    with pytest.raises(BadInput) as fault:
        reader.pixels(item)
    assert said in fault.value.text()


def test_a_large_image_is_refused_before_it_is_unpacked(reader: PixelReader) -> None:
    file = io.BytesIO()
    Image.new("1", (MOST_PIXELS // 8000 + 1, 8000)).save(file, "PNG")
    with pytest.raises(BadInput, match="more than"):
        reader.pixels(file.getvalue())


def test_settings_that_are_at_odds_are_refused(reader: PixelReader, tmp_path: Path) -> None:
    path = tmp_path / "preprocessor_config.json"
    good = {
        "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 8, "width": 8}, "resample": 2,
        "do_center_crop": False, "do_rescale": True, "rescale_factor": 0.1, "do_normalize": True, "image_mean": [0, 0, 0],
        "image_std": [1, 1, 1],
    }  # fmt: skip
    for changes, said in (
        ({"size": {"shortest_edge": 8}}, "different sizes"), ({"size": {"height": 8}}, "neither"), ({"image_std": [1, 0, 1]}, "deviation"),
        ({"resample": 9}, "not within"), ({"do_pad": True}, "unknown"), ({"do_resize": False}, "different sizes"),
        ({"do_center_crop": True}, "crop_size"), ({"size": {"height": 10**6, "width": 8}}, "not within"),
    ):  # fmt: skip
        path.write_text(json.dumps({**good, **changes}))
        with pytest.raises(BadInput) as fault:
            read_pixels(path)
        assert said in fault.value.text()
    path.write_text(json.dumps(good))
    assert read_pixels(path).shape == (3, 8, 8)
