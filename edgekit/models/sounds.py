"""A model's preprocessor_config.json as transformers reads its folder, written out in full, for models of sound.

transformers fills in what a file leaves out from the class that it names. A device reads the file alone, so that it has to say all of it;
whether that is all, made sounds tell.
"""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import BadInput
from edgekit.models.files import read_json
from edgekit.models.sound_families import SOUND_FAMILIES, fewest_samples, reads_samples
from edgekit.models.spelling import is_ctc, spelling_of
from edgekit.models.view import view
from edgekit.runtime.bundle.names import PREPROCESSOR
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.records import as_json
from edgekit.runtime.sound import AST, WAV2VEC2, WHISPER, Hearing, SoundReader, read_sound

__all__ = ["made_sounds", "plain_sounds", "settle_sound", "write_hearing", "write_wav"]

TOLERANCE = 1e-4
"""Largest distance of a feature from transformers'; they are of the order of 1."""
FEWEST = 1000
"""Samples of a made sound."""
SETTINGS: Mapping[str, tuple[str, ...]] = {
    AST: ("do_normalize", "num_mel_bins", "max_length", "mean", "std"),
    WHISPER: ("n_fft", "hop_length", "chunk_length"),
    WAV2VEC2: ("do_normalize",),
}
"""Class -> the keys that decide what it makes, beside those that all have."""


def write_wav(samples: np.ndarray, rate: int) -> bytes:
    """The WAV file of samples, floats from -1 to 1, (n,) or (n, channels), in 16 bits."""
    whole = np.clip(np.round(np.asarray(samples, dtype=np.float64) * 32767), -32768, 32767).astype("<i2")
    channels = whole.shape[1] if whole.ndim == 2 else 1
    data = whole.tobytes()
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", len(data))
        + data
    )


def plain_sounds(rate: int, seed: int = 0) -> list[bytes]:
    """WAV files of made sounds at one sampling rate: noise, a tone, a sweep, clicks, silence, very quiet, too loud, short and long, stereo."""
    generator = np.random.default_rng(seed)

    def noise(seconds: float, level: float = 0.1) -> np.ndarray:
        return generator.normal(0, level, max(FEWEST, int(seconds * rate)))

    time = np.arange(rate) / rate
    return [write_wav(samples, rate) for samples in (
        noise(0.5), noise(1.3), noise(3.1), noise(0.05), noise(0.4, 1e-4), noise(0.4, 2.0), np.zeros(rate // 2), 0.5 * np.sin(2 * np.pi * 440 * time),
        0.8 * np.sin(2 * np.pi * 0.25 * rate * time**2), np.where(time % 0.1 < 0.01, 0.9, 0.0), np.stack([noise(0.7), noise(0.7, 0.02)], axis=1),
    )]  # fmt: skip


def made_sounds(rate: int = 16_000, seed: int = 0) -> list[bytes]:
    """Those, and files of two other sampling rates and of FLAC."""
    import soundfile

    samples, flac = np.random.default_rng(seed).normal(0, 0.1, 20_000), io.BytesIO()
    soundfile.write(flac, samples, rate, format="FLAC", subtype="PCM_24")
    others = [write_wav(samples, other) for other in (8_000, 16_000, 44_100) if other != rate][-2:]
    return [*plain_sounds(rate, seed), *others, flac.getvalue()]


def settle_sound(source: Path, out: Path) -> None:
    """Write `out`/preprocessor_config.json as transformers' AutoFeatureExtractor of folder `source` reads sounds, in full, and as its tokenizer
    writes what a CTC head says.

    Raises:
        BadInput: transformers cannot load it, it is of another class than the architecture's, or reads made sounds otherwise than the
            runtime; sounds would not have the model's size.
    """
    theirs, config, where = _theirs(source), read_json(source / "config.json"), source / PREPROCESSOR
    kind: str = type(theirs).__name__
    wanted = SOUND_FAMILIES[str(config["model_type"])].extractor
    if kind != wanted:
        fault = f"reads sounds by {kind}, and this architecture by {wanted}"
        raise BadInput(fault, where=str(where), fix="use the file that was saved with the weights")
    if getattr(theirs, "dither", 0.0):
        raise BadInput(
            f"dither = {theirs.dither:g} adds noise, so that no answer is twice the same", where=str(where), fix="write 0"
        )
    document: dict[str, JsonValue] = {
        "feature_extractor_type": kind,
        "sampling_rate": int(theirs.sampling_rate),
        "feature_size": int(theirs.feature_size),
        "padding_value": float(theirs.padding_value),
        "return_attention_mask": bool(theirs.return_attention_mask),
        "fewest_samples": fewest_samples(config),
        **{name: getattr(theirs, name) for name in SETTINGS[kind]},
    }
    if is_ctc(config):
        document["spelling"] = as_json(spelling_of(source, config))
    write_hearing(out, document)
    reader = read_sound(out / PREPROCESSOR)
    if sizes := _size_fault(reader.settings, config):
        raise BadInput(sizes, where=str(where), fix="use the two files that were saved together")
    worst = max(_distance(reader, theirs, data) for data in made_sounds(reader.settings.sampling_rate))
    if not worst <= TOLERANCE:
        raise BadInput(
            f"transformers' {kind} makes features that differ by {worst:.2g} from those of the same settings here, so that something of it is not "
            "known here",
            where=str(where), fix="use a model whose sounds are read by the settings of this class alone; AST by numpy, without torchaudio",
        )  # fmt: skip


def write_hearing(out: Path, document: JsonObject) -> None:
    """Write preprocessor_config.json of `document` to `out`."""
    (out / PREPROCESSOR).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _size_fault(hearing: Hearing, config: Mapping[str, Any]) -> str | None:
    """Why sounds would have another size than the model reads; None where they have it."""
    if reads_samples(config):
        return None
    if hearing.feature_extractor_type == WHISPER:
        frames = 2 * config.get("max_source_positions", 1500)  # the second convolution halves them
        sizes = {
            "feature_size": (hearing.feature_size, config.get("num_mel_bins", 80)),
            "chunk_length": ((hearing.shape or (0, 0))[1], frames),
        }
        said = {"feature_size": "mel bins", "chunk_length": "frames"}
        other = [
            f"{name} makes {had:,} {said[name]}, and the model reads {read!r}"
            for name, (had, read) in sizes.items()
            if had != read
        ]
    else:
        sizes = {
            "num_mel_bins": (hearing.num_mel_bins, config.get("num_mel_bins")),
            "max_length": (hearing.max_length, config.get("max_length")),
        }
        other = [f"{name} = {had:,}, and the model reads {read!r}" for name, (had, read) in sizes.items() if had != read]
    return f"{'; '.join(other)} (config.json)" if other else None


def _distance(reader: SoundReader, theirs: Any, data: bytes) -> float:
    """The largest difference of a feature from that of transformers' extractor; infinite where shapes differ."""
    from transformers.audio_utils import load_audio

    samples = load_audio(
        f"data:audio/wav;base64,{base64.b64encode(data).decode()}",
        sampling_rate=reader.settings.sampling_rate,
        backend="soundfile",
    )
    ours = reader.sound(data).tensor()
    wanted: np.ndarray = theirs(samples, sampling_rate=reader.settings.sampling_rate, return_tensors="np")[
        reader.settings.input_name
    ][0]
    return float(np.abs(ours - wanted).max()) if ours.shape == wanted.shape else float("inf")


def _theirs(source: Path) -> Any:
    """transformers' feature extractor of checkpoint `source`."""
    from transformers import AutoFeatureExtractor

    with view(source) as seen:
        try:
            return AutoFeatureExtractor.from_pretrained(seen, local_files_only=True, trust_remote_code=False)
        except Exception as fault:  # transformers raises many kinds
            said = " ".join(str(fault).split())[:200]
            raise BadInput(
                f"transformers' AutoFeatureExtractor cannot load it: {said}", where=str(source / PREPROCESSOR)
            ) from None
