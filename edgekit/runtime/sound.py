"""Sound to numbers, as the checkpoint's own preprocessor_config.json says it: decoded, mono, at the model's sampling rate, as features.

The file is one that edgekit wrote (`edgekit.models.sounds`), so that it says everything. What decodes a sound's file, and brings it to the
model's rate, is `edgekit.runtime.waveform`. Features are computed in float64, as transformers does.

Shapes: n samples, t frames, m mel bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from edgekit.runtime.errors import BadInput
from edgekit.runtime.preprocessor import read_preprocessor
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.records import OMITTED, within
from edgekit.runtime.spelling import Spelling
from edgekit.runtime.waveform import LONGEST_SECONDS, MARGIN_SECONDS, RATES, WANTED, decoded, resampled, sound_file, too_long

__all__ = [
    "AST",
    "INPUT_FEATURES",
    "INPUT_VALUES",
    "KALDI_FRAME",
    "WAV2VEC2",
    "WHISPER",
    "Hearing",
    "Sound",
    "SoundReader",
    "read_sound",
]

INPUT_VALUES, INPUT_FEATURES = "input_values", "input_features"
"""Names of the graph's input: Whisper's is the second."""
FRAMES_TOGETHER = 64
KALDI_FRAME, KALDI_HOP, KALDI_FFT, KALDI_FLOOR = 400, 160, 512, 1.192092955078125e-07
"""Samples of a window, between windows and of its transform, and the least energy (transformers, ASTFeatureExtractor)."""
PREEMPHASIS, LOWEST_HERTZ = 0.97, 20.0
WHISPER_FLOOR, WHISPER_DECADES, WHISPER_HIGHEST = 1e-10, 8.0, 8000.0
"""Least energy, decades below the loudest that are kept, and the highest frequency (WhisperFeatureExtractor)."""
VARIANCE = 1e-7
"""Added to a sound's variance (Wav2Vec2FeatureExtractor)."""
AST, WHISPER, WAV2VEC2 = "ASTFeatureExtractor", "WhisperFeatureExtractor", "Wav2Vec2FeatureExtractor"


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
            samples = resampled(samples, came, rate)
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
            channels = isinstance(array, np.ndarray) and array.ndim == 2
            fix = "give the mean of its channels (array.mean(axis=...)), as samples (n,)" if channels else WANTED
            raise BadInput(f"{what} is no sound", fix=fix)
        if type(rate) is not int or not RATES[0] <= rate <= RATES[1]:
            raise BadInput(f"sampling_rate: {rate!r} is not a whole number from {RATES[0]:,} to {RATES[1]:,}", fix=WANTED)
        if not array.size:
            raise BadInput("the sound is empty", fix=WANTED)
        if self._limit is None and len(array) > LONGEST_SECONDS * rate:
            raise too_long(len(array) / rate)
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
