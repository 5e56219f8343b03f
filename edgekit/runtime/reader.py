"""What makes windows of a bundle's inputs: a tokenizer for texts, a preprocessing for images and sounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from edgekit.runtime.bundle.names import PREPROCESSOR, TOKENIZER
from edgekit.runtime.pixels import PixelReader, read_pixels
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.sound import SoundReader, read_sound
from edgekit.runtime.tokenise import Tokeniser, load_tokeniser

__all__ = ["READER_FILES", "READER_NAMES", "Reader", "Reads", "reader_in"]

Reader: TypeAlias = Tokeniser | PixelReader | SoundReader
Reads: TypeAlias = Literal["text", "image", "sound"]
READER_FILES: Mapping[Reads, str] = MappingProxyType({"text": TOKENIZER, "image": PREPROCESSOR, "sound": PREPROCESSOR})
"""What a model reads -> the file of a bundle or checkpoint that says how."""
READER_NAMES = tuple(dict.fromkeys(READER_FILES.values()))


def reader_in(
    folder: Path, reads: Reads, max_length: int, *, segments: bool = False, pairs: bool | None = None, left: bool | None = None,
    prompts: Prompts | None = None,
) -> Reader:  # fmt: skip
    """The reader of the bundle or checkpoint in `folder`; what follows `reads` is of texts, as in `load_tokeniser`.

    Raises:
        BadInput: its file is not there, or cannot be used.
    """
    if reads == "image":
        return read_pixels(folder / PREPROCESSOR)
    if reads == "sound":
        return read_sound(folder / PREPROCESSOR)
    return load_tokeniser(folder / TOKENIZER, max_length, segments=segments, pairs=pairs, left=left, prompts=prompts)
