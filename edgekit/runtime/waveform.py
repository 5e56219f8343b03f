"""A sound's file to samples, mono: WAV files of plain samples are read here; FLAC, and other codes inside a WAV file, by libsndfile (soundfile);
another sampling rate is brought to the model's by soxr, as in transformers (`audio_utils.load_audio`).
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import numpy as np

from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.files import given_file

__all__ = [
    "LARGEST_SOUND",
    "LONGEST_SECONDS",
    "MARGIN_SECONDS",
    "RATES",
    "SOUND_LIBRARIES",
    "WANTED",
    "audible",
    "decoded",
    "resampled",
    "sound_file",
    "too_long",
]

SOUND_LIBRARIES = ("soundfile>=0.13", "soxr>=1.0")
"""What FLAC files, and other sampling rates than the model's, need beside what every bundle does, as pip reads it."""
LARGEST_SOUND = 64 * 1024**2
"""Bytes of one sound file."""
LONGEST_SECONDS = 60.0
"""Of a sound that is read whole; models that read a window of a fixed length cut what is longer."""
MOST_CHANNELS = 8
RATES = (2_000, 384_000)
"""Samples a second of a file."""
BLOCK = 65_536
"""Frames that are decoded at a time."""
MARGIN_SECONDS = 0.1
"""Decoded beyond what the model reads, as resampling looks ahead."""
WANTED = (
    "give a WAV or FLAC file as bytes, as base64 text or as a Path, an array of samples (n,) at the model's own sampling rate, floats from -1 to 1 "
    'or int16, or {"array": samples, "sampling_rate": their rate}'
)
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
"""Codes of samples in a WAV file."""
UNKNOWN_SIZE = (0, 0xFFFFFFFF)
"""What a WAV file says of its samples that was written as a stream."""
SUBTYPES = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Codes, as libsndfile calls them; each further one is code that reads what strangers wrote."""


def audible(item: str | bytes) -> bytes:
    """The bytes of a sound's file, given as they are or as base64 text, once its first seconds have been decoded.

    Raises:
        BadInput, NotPossibleHere: as `SoundReader.sound`.
    """
    data = sound_file(item)
    samples, _, _ = decoded(data, LONGEST_SECONDS)
    if not np.isfinite(samples).all():
        raise BadInput("the sound holds NaN or Inf", fix="give finite samples")
    return data


def decoded(data: bytes, limit: float | None) -> tuple[np.ndarray, int, bool]:
    """(samples float32 (n,), the mean of all channels; their rate; whether the sound is longer than `limit` seconds, which are read).

    `limit`: None where a sound of more than `LONGEST_SECONDS` is refused.

    Raises:
        BadInput: no WAV or FLAC file, damaged, cut off, empty, of too many channels or another rate than sound has, or too long.
        NotPossibleHere: soundfile is not installed, and the file needs it.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        plain = _wav(data, limit)
        return plain if plain is not None else _by_library(data, limit, "WAV")
    if data[:4] == b"fLaC":
        return _by_library(data, limit, "FLAC")
    raise BadInput("no sound of a kind that is read here", fix="give a WAV or FLAC file, as ffmpeg -i FILE sound.wav makes it")


def _wav(data: bytes, limit: float | None) -> tuple[np.ndarray, int, bool] | None:
    """`decoded` of a WAV file of plain samples; None where they are coded otherwise.

    Raises:
        BadInput: as `decoded`.
    """
    kind: tuple[int, ...] | None = None
    for name, start, size in _chunks(data):
        if name == b"fmt " and 16 <= size <= len(data) - start:
            kind = struct.unpack_from("<HHIIHH", data, start)
            if kind[0] == EXTENSIBLE and size >= 26:
                kind = (struct.unpack_from("<H", data, start + 24)[0], *kind[1:])
        elif name == b"data" and kind is not None:
            code, channels, rate, _, block, bits = kind
            _check_sound(channels, rate)
            there = len(data) - start
            if size in UNKNOWN_SIZE and (size or not there):
                size = there
            if size > there:
                raise BadInput(
                    f"the WAV file says that it has {size:,} bytes of samples, and has {there:,}: it was cut off",
                    fix="give the whole file",
                )
            if code in (PCM, FLOAT) and block != channels * -(-bits // 8):
                raise BadInput(
                    f"the WAV file says that {channels} samples of {bits} bits are {block} bytes",
                    fix="write the file again",
                )
            width = _width(code, bits)
            if width is None:
                return None
            return (*_mixed(data, start, size // block, channels, code, width, rate, limit),)
    raise BadInput("not a readable sound (a WAV file without its format or its samples)", fix="give the whole file")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, place, size as written) of each part of a WAV file."""
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        yield name, place + 8, size
        place += 8 + size + size % 2


def _width(code: int, bits: int) -> int | None:
    """Bytes of a sample that numpy reads; None of others."""
    known = {PCM: (8, 16, 24, 32), FLOAT: (32, 64)}.get(code, ())
    return bits // 8 if bits in known else None


def _mixed(
    data: bytes, start: int, count: int, channels: int, code: int, width: int, rate: int, limit: float | None
) -> tuple[np.ndarray, int, bool]:
    """`decoded` of `count` frames of plain samples at `start`."""
    _check_length(count, rate, limit)
    wanted = count if limit is None else min(count, math.ceil(limit * rate) + 1)
    values = np.frombuffer(data, dtype=np.uint8, count=wanted * channels * width, offset=start)
    samples: np.ndarray
    if code == FLOAT:
        samples = values.view(f"<f{width}").astype(np.float32)
    elif width == 1:
        samples = (values.astype(np.float32) - 128) / 128
    elif width == 3:
        wide = np.zeros((len(values) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = values.reshape(-1, 3)
        samples = wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    else:
        samples = values.view(f"<i{width}").astype(np.float32) / np.float32(2 ** (8 * width - 1))
    mono = samples if channels == 1 else samples.reshape(-1, channels).mean(axis=1)
    return mono, rate, wanted < count


def _by_library(data: bytes, limit: float | None, kind: str) -> tuple[np.ndarray, int, bool]:
    """`decoded` by libsndfile, in blocks, so that what a file says of its length decides no memory."""
    soundfile = _library("soundfile")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in ("WAV", "WAVEX", "FLAC") or file.subtype not in SUBTYPES:
                raise BadInput(
                    f"a {kind} file of {file.subtype} samples is not read here",
                    fix="write it as PCM, as ffmpeg -i FILE sound.wav does",
                )
            _check_sound(file.channels, file.samplerate)
            _check_length(file.frames, file.samplerate, limit)
            wanted, blocks, count = file.frames, list[np.ndarray](), 0
            if limit is not None:
                wanted = min(wanted, math.ceil(limit * file.samplerate) + 1)
            while count < wanted:
                block = file.read(min(BLOCK, wanted - count), dtype="float32", always_2d=True)
                if not len(block):
                    break
                blocks.append(block.mean(axis=1) if block.shape[1] > 1 else block[:, 0])
                count += len(block)
            if count < wanted:
                raise BadInput(
                    f"the {kind} file says that it has {file.frames:,} samples, and {count:,} could be read: it was cut off",
                    fix="give the whole file",
                )
            return np.concatenate(blocks), file.samplerate, wanted < file.frames
    except BadInput:
        raise
    except Exception as fault:  # LibsndfileError, RuntimeError, ValueError and others, by what is wrong with it
        raise BadInput(
            f"not a readable sound ({type(fault).__name__}: {str(fault)[:120]})", fix="give a whole WAV or FLAC file"
        ) from None


def _check_sound(channels: int, rate: int) -> None:
    if not 1 <= channels <= MOST_CHANNELS:
        raise BadInput(f"{channels} channels; at most {MOST_CHANNELS} are read", fix="mix them first")
    if not RATES[0] <= rate <= RATES[1]:
        raise BadInput(f"{rate:,} samples a second; from {RATES[0]:,} to {RATES[1]:,} are read", fix="check the file's header")


def _check_length(count: int, rate: int, limit: float | None) -> None:
    if count < 1:
        raise BadInput("the sound is empty: its file has no samples", fix="give a file with sound in it")
    if limit is None and count > LONGEST_SECONDS * rate:
        raise too_long(count / rate)


def too_long(seconds: float) -> BadInput:
    """What a sound of so many seconds is refused with."""
    return BadInput(
        f"a sound of {seconds:,.0f} seconds; at most {LONGEST_SECONDS:g} are read", fix="cut it, at pauses where it is speech"
    )


def resampled(samples: np.ndarray, came: int, rate: int) -> np.ndarray:
    """As transformers does it (`audio_utils.load_audio`)."""
    soxr = _library("soxr")
    count = math.ceil(len(samples) * rate / came)
    found: np.ndarray = soxr.resample(samples, came, rate, quality="soxr_hq")
    return np.pad(found, (0, max(0, count - len(found))))[:count]


sound_file = partial(given_file, what="a sound", most=LARGEST_SOUND, wanted=WANTED, smaller="cut it")
"""The bytes of a sound's file."""


def _library(name: Literal["soundfile", "soxr"]) -> Any:
    try:
        if name == "soundfile":
            import soundfile

            return soundfile
        import soxr
    except (ImportError, OSError):  # OSError: soundfile without libsndfile
        what = (
            "reading FLAC files, and other codes than plain samples,"
            if name == "soundfile"
            else "another sampling rate than the model's"
        )
        pins = " ".join(f"'{pin}'" for pin in SOUND_LIBRARIES)
        raise NotPossibleHere(
            f"{what} needs {name}, which is not installed", fix=f"pip install 'edgekit[audio]', or pip install {pins}",
            see="something-is-not-installed",
        ) from None  # fmt: skip
    return soxr
