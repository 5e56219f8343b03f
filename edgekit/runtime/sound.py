"""Sound to numbers, as the checkpoint's own preprocessor_config.json says it: decoded, mono, at the model's sampling rate, as features.

The file is one that edgekit wrote (`edgekit.models.sounds`), so that it says everything. WAV files of plain samples are read here; FLAC, and
other codes inside a WAV file, by libsndfile (soundfile), and another sampling rate is brought to the model's by soxr, as in transformers
(`audio_utils.load_audio`). Samples at the model's own rate need neither. Features are computed in float64, as transformers does.

Shapes: n samples, t frames, m mel bins.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.files import given_file
from edgekit.runtime.preprocessor import read_preprocessor
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.records import OMITTED, within
from edgekit.runtime.spelling import Spelling

__all__ = [
    "AST",
    "INPUT_FEATURES",
    "INPUT_VALUES",
    "KALDI_FRAME",
    "LARGEST_SOUND",
    "LONGEST_SECONDS",
    "SOUND_LIBRARIES",
    "WAV2VEC2",
    "WHISPER",
    "Hearing",
    "Sound",
    "SoundReader",
    "audible",
    "decoded",
    "read_sound",
    "sound_file",
]

INPUT_VALUES, INPUT_FEATURES = "input_values", "input_features"
"""Names of the graph's input: Whisper's is the second."""
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
FRAMES_TOGETHER = 64
KALDI_FRAME, KALDI_HOP, KALDI_FFT, KALDI_FLOOR = 400, 160, 512, 1.192092955078125e-07
"""Samples of a window, between windows and of its transform, and the least energy (transformers, ASTFeatureExtractor)."""
PREEMPHASIS, LOWEST_HERTZ = 0.97, 20.0
WHISPER_FLOOR, WHISPER_DECADES, WHISPER_HIGHEST = 1e-10, 8.0, 8000.0
"""Least energy, decades below the loudest that are kept, and the highest frequency (WhisperFeatureExtractor)."""
VARIANCE = 1e-7
"""Added to a sound's variance (Wav2Vec2FeatureExtractor)."""
WANTED = (
    "give a WAV or FLAC file as bytes, as base64 text or as a Path, an array of samples (n,) at the model's own sampling rate, floats from -1 to 1 "
    'or int16, or {"array": samples, "sampling_rate": their rate}'
)
AST, WHISPER, WAV2VEC2 = "ASTFeatureExtractor", "WhisperFeatureExtractor", "Wav2Vec2FeatureExtractor"
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
"""Codes of samples in a WAV file."""
UNKNOWN_SIZE = (0, 0xFFFFFFFF)
"""What a WAV file says of its samples that was written as a stream."""
SUBTYPES = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Codes, as libsndfile calls them; each further one is code that reads what strangers wrote."""


@dataclass(frozen=True)
class Hearing:
    """The keys of preprocessor_config.json that decide what a model reads of a sound, by the names that transformers gives them."""

    feature_extractor_type: Literal["ASTFeatureExtractor", "WhisperFeatureExtractor", "Wav2Vec2FeatureExtractor"]
    """transformers' class, which reads the same file."""
    sampling_rate: int = field(metadata=within(*RATES))
    feature_size: int = field(metadata=within(1, 1024))
    """Mel bins of Whisper; 1 of the others."""
    padding_value: float = field(metadata=within(-1e6, 1e6))
    return_attention_mask: bool
    fewest_samples: int = field(metadata=within(1, 1_000_000))
    """Of which the model gives an answer."""
    do_normalize: bool = False
    num_mel_bins: int = field(default=0, metadata=within(0, 1024))
    max_length: int = field(default=0, metadata=within(0, 65_536))
    """Frames that AST reads."""
    mean: float = field(default=0.0, metadata=within(-1e6, 1e6))
    std: float = field(default=1.0, metadata=within(1e-6, 1e6))
    n_fft: int = field(default=0, metadata=within(0, 65_536))
    hop_length: int = field(default=0, metadata=within(0, 65_536))
    chunk_length: int = field(default=0, metadata=within(0, 600))
    """Seconds that Whisper reads."""
    spelling: Spelling | None = field(default=None, metadata=OMITTED)
    """Of a CTC head, how its outputs are written; None of others."""

    def faults(self) -> list[str]:
        """What is at odds within it."""
        found = []
        if self.feature_extractor_type == AST and (self.num_mel_bins < 1 or self.max_length < 1):
            found.append("num_mel_bins, max_length: not two numbers from 1 on")
        if self.feature_extractor_type == WHISPER:
            if self.n_fft < 2 or not 1 <= self.hop_length <= self.n_fft or self.chunk_length < 1:
                found.append("n_fft, hop_length, chunk_length: not the sizes of windows")
            if self.sampling_rate * self.chunk_length > 100_000_000:
                found.append("sampling_rate, chunk_length: longer than any model reads")
        if self.padding_value != 0:
            found.append("padding_value: not 0, which silence is")
        return found + ([] if self.spelling is None else [f"spelling.{fault}" for fault in self.spelling.faults()])

    @property
    def input_name(self) -> str:
        """Name of the graph's input."""
        return INPUT_FEATURES if self.feature_extractor_type == WHISPER else INPUT_VALUES

    @property
    def most_samples(self) -> int | None:
        """Of a sound, how many the model reads at most; None where it reads any number."""
        if self.feature_extractor_type == AST:
            return (self.max_length - 1) * KALDI_HOP + KALDI_FRAME
        return self.chunk_length * self.sampling_rate if self.feature_extractor_type == WHISPER else None

    @property
    def most_seconds(self) -> float:
        """Of a sound, what the model reads at most."""
        return LONGEST_SECONDS if self.most_samples is None else self.most_samples / self.sampling_rate

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of what the model reads of one sound, (t, m) of AST and (m, t) of Whisper; None where it depends on the sound."""
        if self.feature_extractor_type == AST:
            return self.max_length, self.num_mel_bins
        if self.feature_extractor_type == WHISPER:
            return self.feature_size, self.chunk_length * self.sampling_rate // self.hop_length
        return None


@dataclass(frozen=True)
class Sound:
    """What a model reads of one sound; the frames of silence after it are made when it is run."""

    name: str
    """Of the graph's input."""
    values: np.ndarray
    """float32: (t, m) features of AST, (m, t) of Whisper, (n,) samples."""
    shape: tuple[int, ...]
    """With the frames that follow."""
    silence: float = 0.0
    """The value of these."""
    truncated: bool = False
    """Whether the sound is longer than the model reads."""
    resampled: int | None = None
    """The sampling rate that it came with, where that is not the model's."""

    def tensor(self) -> np.ndarray:
        """float32 of `shape`."""
        if self.values.shape == self.shape:
            return self.values
        whole = np.full(self.shape, self.silence, dtype=np.float32)
        whole[tuple(slice(size) for size in self.values.shape)] = self.values
        return whole


@dataclass(frozen=True)
class Triangles:
    """Mel filters, triangles that overlap their neighbours alone: each frequency is in at most two, so that no product of matrices is needed.

    Between two centres every frequency rises in one triangle and falls in the one before: segments, of which there is one more than bins.
    """

    first: int
    last: int
    """The frequencies within the triangles, [first, last)."""
    starts: np.ndarray
    """int64 (segments,): where each begins."""
    filled: np.ndarray
    """bool (segments,): whether there is a frequency in it."""
    rising: np.ndarray
    """float64 (frequencies, 1)."""
    falling: np.ndarray
    """float64 (frequencies, 1)."""

    def energies(self, frames: np.ndarray, size: int) -> np.ndarray:
        """float64 (m, t): the energies of each frame (t, up to `size`) under the triangles, in its transform of `size` samples."""
        spectrum = np.fft.rfft(frames, size)[:, self.first : self.last].T
        power = np.empty(spectrum.shape)
        np.multiply(spectrum.real, spectrum.real, out=power)
        power += spectrum.imag**2
        up, down = self._sums(power * self.rising), self._sums(power * self.falling)
        energies: np.ndarray = up[:-1] + down[1:]
        return energies

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """float64 (segments, t): sums over the frequencies of each."""
        sums = np.zeros((len(self.starts), values.shape[1]))
        if len(values):
            sums[self.filled] = np.add.reduceat(values, self.starts[self.filled], axis=0)
        return sums


@dataclass(frozen=True)
class SoundReader:
    """How a sound becomes what the model reads; nothing of it changes when it is used, so that any number of threads may."""

    settings: Hearing
    pairs: None = None
    """A sound has no second text."""
    prompts: Prompts = field(default_factory=Prompts)
    """And nothing is put before it."""

    def sound(self, item: object) -> Sound:
        """What the model reads of one sound: the bytes of its file, base64 text of them, a path, samples at the model's rate, or
        {"array": samples, "sampling_rate": their rate}.

        Raises:
            BadInput: no such sound, or one beyond the limits.
            NotPossibleHere: FLAC without soundfile, or another sampling rate without soxr.
        """
        rate = self.settings.sampling_rate
        if isinstance(item, np.ndarray):
            samples, came, cut = *self._checked(item, rate), False
        elif isinstance(item, dict) and set(item) == {"array", "sampling_rate"}:
            samples, came = self._checked(item["array"], item["sampling_rate"])
            cut = False
        else:
            samples, came, cut = decoded(sound_file(item), self._limit)
        if not np.isfinite(samples).all():
            raise BadInput("the sound holds NaN or Inf", fix="give finite samples")
        if came != rate:
            samples = _resampled(samples, came, rate)
        if (most := self.settings.most_samples) is not None and len(samples) > most:
            samples, cut = samples[:most], True
        if len(samples) < self.settings.fewest_samples:
            raise BadInput(
                f"a sound of {len(samples) / rate:.4g} seconds is shorter than what the model reads, {self.settings.fewest_samples / rate:.4g}",
                fix="give a longer one",
            )
        return self._features(np.ascontiguousarray(samples, dtype=np.float32), cut, came if came != rate else None)

    @property
    def _limit(self) -> float | None:
        """Seconds after which nothing is read; None where longer sounds are refused."""
        most = self.settings.most_samples
        return None if most is None else most / self.settings.sampling_rate + MARGIN_SECONDS

    def _checked(self, array: object, rate: object) -> tuple[np.ndarray, int]:
        """Samples float32 (n,) that were given as an array, and their rate."""
        if not isinstance(array, np.ndarray) or array.ndim != 1 or not (array.dtype.kind == "f" or array.dtype == np.int16):
            what = (
                f"an array of shape {list(array.shape)} and type {array.dtype}"
                if isinstance(array, np.ndarray)
                else type(array).__name__
            )
            raise BadInput(f"{what} is no sound", fix=WANTED)
        if type(rate) is not int or not RATES[0] <= rate <= RATES[1]:
            raise BadInput(f"sampling_rate: {rate!r} is not a whole number from {RATES[0]:,} to {RATES[1]:,}", fix=WANTED)
        if not array.size:
            raise BadInput("the sound is empty", fix=WANTED)
        if self._limit is None and len(array) > LONGEST_SECONDS * rate:
            raise _too_long(len(array) / rate)
        if self._limit is not None:
            array = array[: math.ceil(self._limit * rate) + 1]
        samples: np.ndarray = array.astype(np.float32)
        return (samples / np.float32(32768) if array.dtype == np.int16 else samples), rate

    def _features(self, samples: np.ndarray, cut: bool, came: int | None) -> Sound:
        settings = self.settings
        if settings.feature_extractor_type == AST:
            values, silence = self._filter_bank(samples), 0.0
            if settings.do_normalize:
                values, silence = (values - settings.mean) / (settings.std * 2), -settings.mean / (settings.std * 2)
        elif settings.feature_extractor_type == WHISPER:
            values, silence = self._log_mel(samples)
        else:
            values, silence = samples, 0.0
            if settings.do_normalize:
                values = (samples - samples.mean()) / np.sqrt(samples.var() + VARIANCE)
        shape = settings.shape or values.shape
        return Sound(settings.input_name, np.asarray(values, dtype=np.float32), shape, float(silence), cut, came)

    def _filter_bank(self, samples: np.ndarray) -> np.ndarray:
        """float32 (t, m): natural logarithms of mel energies of windows that lie within the sound (kaldi's fbank)."""
        filters, shape = self._filters

        def energies(given: np.ndarray) -> np.ndarray:
            windows = given - given.mean(axis=1, keepdims=True)
            frames = np.empty_like(windows)
            np.multiply(windows[:, :-1], -PREEMPHASIS, out=frames[:, 1:])
            frames[:, 1:] += windows[:, 1:]
            frames[:, 0] = windows[:, 0] * (1 - PREEMPHASIS)
            frames *= shape
            logarithms: np.ndarray = np.log(np.maximum(filters.energies(frames, KALDI_FFT), KALDI_FLOOR))
            return logarithms

        windows = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), KALDI_FRAME)[::KALDI_HOP]
        return _in_blocks(energies, windows).T

    def _log_mel(self, samples: np.ndarray) -> tuple[np.ndarray, float]:
        """(float32 (m, t) of windows that touch the sound, the value of all others): common logarithms of mel energies, scaled."""
        settings = self.settings
        filters, shape = self._filters
        size, hop, half = settings.n_fft, settings.hop_length, settings.n_fft // 2
        assert settings.shape is not None and settings.most_samples is not None, "a length is fixed"
        count = min(settings.shape[1], (half + len(samples) - 1) // hop + 1)
        whole = np.zeros(settings.most_samples + 2 * half, dtype=np.float64)
        whole[half : half + len(samples)] = samples
        whole[:half] = whole[2 * half : half : -1]  # mirrors at both ends
        whole[len(whole) - half :] = whole[-half - 2 : -2 * half - 2 : -1]
        windows = np.lib.stride_tricks.sliding_window_view(whole, size)[::hop][:count]
        energy = _in_blocks(lambda given: np.log10(np.maximum(filters.energies(given * shape, size), WHISPER_FLOOR)), windows)
        lowest = float(energy.max()) - WHISPER_DECADES
        silence = max(math.log10(WHISPER_FLOOR), lowest)
        return (np.maximum(energy, np.float32(lowest)) + np.float32(4)) / np.float32(4), (silence + 4.0) / 4.0

    @cached_property
    def _filters(self) -> tuple[Triangles, np.ndarray]:
        """(mel filters, window float64), of AST or Whisper."""
        settings, rate = self.settings, self.settings.sampling_rate
        if settings.feature_extractor_type == AST:
            filters = kaldi_filters(rate, settings.num_mel_bins)
            return filters, np.hanning(KALDI_FRAME)
        return slaney_filters(rate, settings.n_fft, settings.feature_size), np.hanning(settings.n_fft + 1)[:-1]


def _in_blocks(make: Callable[[np.ndarray], np.ndarray], windows: np.ndarray) -> np.ndarray:
    """float32 (m, t): what `make` gives of so many `windows` (t, n) at a time that all of it stays in the processor's cache."""
    starts = range(0, len(windows), FRAMES_TOGETHER)
    return np.concatenate([make(windows[start : start + FRAMES_TOGETHER]).astype(np.float32) for start in starts], axis=1)


def kaldi_filters(rate: int, bins: int) -> Triangles:
    """Triangles over kaldi's mel scale, from 20 Hz to half of the rate."""
    frequencies = _kaldi_mel(rate / KALDI_FFT * np.arange(KALDI_FFT // 2 + 1))
    lowest, highest = _kaldi_mel(np.array([LOWEST_HERTZ, float(rate // 2)]))
    return _triangles(frequencies, np.linspace(lowest, highest, bins + 2), np.ones(bins))


def slaney_filters(rate: int, size: int, bins: int) -> Triangles:
    """Triangles over frequencies whose centres are even on Slaney's mel scale, each of area 1."""
    low, step, log_step = 1000.0, 200.0 / 3, np.log(6.4) / 27.0  # linear to 1 kHz, then 27 bins for 6.4 times
    highest = 15.0 + np.log(WHISPER_HIGHEST / low) / log_step
    mels = np.linspace(0.0, highest, bins + 2)
    centres = np.where(mels < 15.0, mels * step, low * np.exp(log_step * (mels - 15.0)))
    return _triangles(np.linspace(0, rate // 2, size // 2 + 1), centres, 2.0 / (centres[2:] - centres[:-2]))


def _kaldi_mel(hertz: np.ndarray) -> np.ndarray:
    mels: np.ndarray = 1127.0 * np.log(1.0 + hertz / 700.0)
    return mels


def _triangles(points: np.ndarray, centres: np.ndarray, heights: np.ndarray) -> Triangles:
    """The filters over frequencies at `points`, each between its neighbours among `centres`."""
    bins, widths = len(heights), np.diff(centres)
    first, last = np.searchsorted(points, centres[0]), np.searchsorted(points, centres[-1], side="right")
    inside = points[first:last]
    segment = np.clip(np.searchsorted(centres, inside, side="right") - 1, 0, bins)
    rising = (inside - centres[segment]) / widths[segment]
    padded = np.concatenate([[0.0], heights, [0.0]])
    return Triangles(
        int(first), int(last), np.searchsorted(segment, np.arange(bins + 1)), np.bincount(segment, minlength=bins + 1) > 0,
        (rising * padded[segment + 1])[:, None], ((1 - rising) * padded[segment])[:, None],
    )  # fmt: skip


def read_sound(path: Path) -> SoundReader:
    """The reader that preprocessor_config.json at `path` describes.

    Raises:
        BadInput: not such a file as edgekit writes.
    """
    return SoundReader(read_preprocessor(path, Hearing, "sounds"))


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
        raise _too_long(count / rate)


def _too_long(seconds: float) -> BadInput:
    return BadInput(
        f"a sound of {seconds:,.0f} seconds; at most {LONGEST_SECONDS:g} are read", fix="cut it, at pauses where it is speech"
    )


def _resampled(samples: np.ndarray, came: int, rate: int) -> np.ndarray:
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
