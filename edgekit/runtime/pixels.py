"""Images to numbers, as the checkpoint's own preprocessor_config.json says it: decoded, turned upright, resized, cropped, normalised.

The file is one that edgekit wrote (`edgekit.models.preprocessing`), so that it says everything. Decoding and resizing are Pillow's, as in
transformers; an array that needs neither needs no Pillow. What a file may unpack to is known before any of it is unpacked.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.files import given_file
from edgekit.runtime.preprocessor import read_preprocessor
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.records import within

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "PILLOW",
    "LARGEST_FILE",
    "MOST_PIXELS",
    "PIXEL_VALUES",
    "PixelReader",
    "Pixels",
    "Preprocessing",
    "Size",
    "read_pixels",
    "readable",
]

PIXEL_VALUES = "pixel_values"
"""Name of the graph's input."""
PILLOW = "pillow>=11.3"
"""What image files need beside what every bundle does, as pip reads it."""
LARGEST_FILE = 64 * 1024**2
"""Bytes of one image file."""
MOST_PIXELS = 64_000_000
"""Of one image; a camera of 50 megapixels is within it, and it takes 200 MB."""
MOST_SIDE = 8192
"""Pixels of a side that a model reads."""
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Kinds of files, as Pillow calls them; each further one is code that reads what strangers wrote."""
CHANNELS = 3
WANTED = "give an image's file as bytes, as base64 text or as a Path, or an array: uint8 (height, width, 3), or float32 (3, height, width) made ready"


@dataclass(frozen=True)
class Size:
    """Of an image: both sides, or the shorter one, with the other in proportion."""

    height: int | None = field(default=None, metadata=within(1, MOST_SIDE))
    width: int | None = field(default=None, metadata=within(1, MOST_SIDE))
    shortest_edge: int | None = field(default=None, metadata=within(1, MOST_SIDE))

    def of(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that an image of such a size is resized to (transformers, get_resize_output_image_size)."""
        if self.shortest_edge is None:
            assert self.height is not None and self.width is not None, "checked when it was read"
            return self.height, self.width
        short, long = sorted((height, width))
        other = self.shortest_edge * long // short
        return (self.shortest_edge, other) if height <= width else (other, self.shortest_edge)

    @property
    def sound(self) -> bool:
        """Whether it says both sides, or the shorter one, and nothing else."""
        both = self.height is not None and self.width is not None
        return both != (self.shortest_edge is not None) and (self.height is None) == (self.width is None)


@dataclass(frozen=True)
class Preprocessing:
    """The keys of preprocessor_config.json that decide pixel values, by the names that transformers gives them."""

    image_processor_type: str
    """transformers' class, which reads the same file."""
    do_resize: bool
    size: Size
    resample: int = field(metadata=within(0, 5))
    """Pillow's number of the filter."""
    do_center_crop: bool
    do_rescale: bool
    rescale_factor: float = field(metadata=within(0.0, 1e6))
    do_normalize: bool
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    crop_size: Size = field(default_factory=lambda: Size())
    do_convert_rgb: bool = False
    """Whether one colour of a file that stands for transparency is shown white, as transformers' convert_to_rgb does; not where it is False."""

    def faults(self) -> list[str]:
        """What is at odds within it."""
        found = []
        if self.do_resize and not self.size.sound:
            found.append("size: neither height and width nor shortest_edge")
        if self.do_center_crop and (not self.crop_size.sound or self.crop_size.height is None):
            found.append("crop_size: not height and width")
        if self.do_normalize and (len(self.image_mean) != CHANNELS or len(self.image_std) != CHANNELS or 0.0 in self.image_std):
            found.append("image_mean, image_std: not three numbers each, none of them a deviation of 0")
        if self.output is None:
            found.append("size, crop_size: images would have different sizes, and a model here reads one")
        return found

    @property
    def output(self) -> tuple[int, int] | None:
        """(height, width) of what comes out; None where it depends on the image."""
        last = self.crop_size if self.do_center_crop else self.size if self.do_resize else Size()
        return None if last.height is None or last.width is None else (last.height, last.width)


@dataclass(frozen=True)
class Pixels:
    """What a model reads of one image; 8 bits a value are kept until it is run, a quarter of the memory."""

    values: np.ndarray
    """uint8 (channels, height, width), or float32 where it was made ready."""
    factor: np.ndarray
    """float32 (channels, 1, 1)."""
    shift: np.ndarray
    """float32 (channels, 1, 1)."""

    def tensor(self) -> np.ndarray:
        """float32 (channels, height, width): the values, rescaled and normalised."""
        if self.values.dtype != np.uint8:
            return self.values
        made: np.ndarray = self.values * self.factor
        made += self.shift
        return made


@dataclass(frozen=True)
class PixelReader:
    """How an image becomes what the model reads; nothing of it changes when it is used, so that any number of threads may."""

    settings: Preprocessing
    pairs: None = None
    """An image has no second text."""
    prompts: Prompts = field(default_factory=Prompts)
    """And nothing is put before it."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of what the model reads."""
        assert self.settings.output is not None, "checked when it was read"
        return CHANNELS, *self.settings.output

    @cached_property
    def normal(self) -> tuple[np.ndarray, np.ndarray]:
        """(factor, shift), float32 (channels, 1, 1) each: value * factor + shift is (value * rescale_factor - mean) / deviation."""
        scale = self.settings.rescale_factor if self.settings.do_rescale else 1.0
        mean, deviation = (
            np.asarray(self.settings.image_mean if self.settings.do_normalize else (0.0,) * CHANNELS),
            np.asarray(self.settings.image_std if self.settings.do_normalize else (1.0,) * CHANNELS),
        )
        factor, shift = (one.astype(np.float32)[:, None, None] for one in (scale / deviation, -mean / deviation))
        return factor, shift

    def pixels(self, item: object) -> Pixels:
        """The pixels of one image: the bytes of its file, base64 text of them, a path, or an array.

        Raises:
            BadInput: no such image, or one beyond the limits.
            NotPossibleHere: a file, or an array of another size, without Pillow.
        """
        if isinstance(item, np.ndarray) and item.dtype != np.uint8:
            return Pixels(self._ready(item), *self.normal)
        if isinstance(item, np.ndarray):
            array = item
            if (
                array.ndim != 3
                or array.shape[2] != CHANNELS
                or 0 in array.shape
                or array.shape[0] * array.shape[1] > MOST_PIXELS
            ):
                raise BadInput(f"an array of shape {list(array.shape)} is no image", fix=WANTED)
        else:
            array = np.asarray(_decoded(_bytes_of(item), white=self.settings.do_convert_rgb))
        return Pixels(np.ascontiguousarray(self._sized(array).transpose(2, 0, 1)), *self.normal)

    def _ready(self, array: np.ndarray) -> np.ndarray:
        """An array that is what the model reads already."""
        if array.shape != self.shape or array.dtype.kind != "f":
            raise BadInput(f"an array of shape {list(array.shape)} and type {array.dtype} is no image", fix=WANTED)
        ready = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(ready).all():
            raise BadInput("the array holds NaN or Inf", fix="give finite numbers")
        return ready

    def _sized(self, array: np.ndarray) -> np.ndarray:
        """uint8 (height, width, channels), resized and cropped."""
        settings = self.settings
        if settings.do_resize:
            height, width = settings.size.of(*array.shape[:2])
            if height * width > MOST_PIXELS:
                raise BadInput(f"{array.shape[1]} x {array.shape[0]} pixels are too long and narrow", fix="crop it")
            if (height, width) != array.shape[:2]:
                image = _pillow().fromarray(array).resize((width, height), resample=settings.resample)
                array = np.asarray(image)
        if settings.do_center_crop:
            assert settings.crop_size.height is not None and settings.crop_size.width is not None, "checked when it was read"
            array = cropped(array, settings.crop_size.height, settings.crop_size.width)
        if array.shape[:2] != self.shape[1:]:
            raise BadInput(f"{array.shape[1]} x {array.shape[0]} pixels, and the model reads {self.shape[2]} x {self.shape[1]}")
        return array


def cropped(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of `array` (h, w, channels), with zeros around it where it is smaller (transformers, center_crop)."""
    high, wide = array.shape[:2]
    top, left = (high - height) // 2, (wide - width) // 2
    if top >= 0 and left >= 0 and top + height <= high and left + width <= wide:
        return array[top : top + height, left : left + width]
    tall, broad = max(height, high), max(width, wide)
    above, before = -(-(tall - high) // 2), -(-(broad - wide) // 2)
    padded = np.zeros((tall, broad, array.shape[2]), dtype=array.dtype)
    padded[above : above + high, before : before + wide] = array
    top, left = top + above, left + before
    return padded[max(0, top) : min(tall, top + height), max(0, left) : min(broad, left + width)]


def read_pixels(path: Path) -> PixelReader:
    """The reader that preprocessor_config.json at `path` describes.

    Raises:
        BadInput: not such a file as edgekit writes.
    """
    return PixelReader(read_preprocessor(path, Preprocessing, "images"))


def readable(item: str | bytes) -> bytes:
    """The bytes of an image's file, given as they are or as base64 text, once it has been decoded.

    Raises:
        BadInput, NotPossibleHere: as `PixelReader.pixels`.
    """
    data = _bytes_of(item)
    _decoded(data)
    return data


_bytes_of = partial(given_file, what="an image", most=LARGEST_FILE, wanted=WANTED, smaller="make it smaller")
"""The bytes of an image's file."""


def _decoded(data: bytes, *, white: bool = False) -> Image:
    """An image file as upright RGB, as transformers' pipelines read one (`load_image`): of several colours or depths, what Pillow makes of it.

    Raises:
        BadInput: no image of `FORMATS`, damaged, of several frames, or of more than `MOST_PIXELS`, which is told before it is unpacked.
        NotPossibleHere: Pillow is not installed.
    """
    pillow = _pillow()
    from PIL import ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are compared here, and of metadata that is not read
            with pillow.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise BadInput(
                        f"{image.width:,} x {image.height:,} pixels are more than {MOST_PIXELS:,}", fix="make the image smaller"
                    )
                if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # MPO: a photo with its preview
                    raise BadInput(f"{image.n_frames} images in one file", fix="give one image, a frame or page of it")
                upright = ImageOps.exif_transpose(image).convert("RGB")
                if not white or upright.info.get("transparency") is None:
                    return upright
                clear = upright.convert("RGBA")  # the colour of a palette or of grey that the file calls transparent
                shown: Image = pillow.alpha_composite(pillow.new("RGBA", clear.size, (255, 255, 255, 255)), clear).convert(
                    "RGB"
                )
                return shown
    except BadInput:
        raise
    except UnidentifiedImageError:
        raise BadInput("no image of a kind that is read here", fix=f"give a file of one of {', '.join(FORMATS)}") from None
    except pillow.DecompressionBombError:
        raise BadInput(f"more than {MOST_PIXELS:,} pixels", fix="make the image smaller") from None
    except (
        Exception
    ) as fault:  # OSError, SyntaxError, ValueError, struct.error and others, by the kind of file and what is wrong with it
        kinds = ", ".join(FORMATS)
        raise BadInput(
            f"not a readable image ({type(fault).__name__}: {str(fault)[:120]})", fix=f"give a whole file of one of {kinds}"
        ) from None


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise NotPossibleHere(
            "reading image files needs Pillow, which is not installed", fix=f"pip install 'edgekit[image]', or pip install '{PILLOW}'",
            see="something-is-not-installed",
        ) from None  # fmt: skip
    return Image
