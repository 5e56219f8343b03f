"""Sounds as the runtime reads them: transformers' own features, samples without any library, and files that are no sounds."""

from __future__ import annotations

import base64
import io
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import transformers
from transformers.audio_utils import load_audio

from edgekit.errors import BadInput, NotPossibleHere
from edgekit.models.sounds import made_sounds, settle_sound, write_wav
from edgekit.runtime.sound import Hearing, SoundReader, read_sound
from tests.tiny_images import as_text
from tests.tiny_sounds import RATE, flac, made_model, noise

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "AST": ("ASTFeatureExtractor", {"num_mel_bins": 40, "max_length": 150, "mean": -4.0, "std": 4.5}),
    "AST at 8 kHz, not normalised": (
        "ASTFeatureExtractor",
        {"sampling_rate": 8000, "num_mel_bins": 24, "max_length": 30, "do_normalize": False},
    ),
    "Whisper": ("WhisperFeatureExtractor", {"feature_size": 80, "chunk_length": 2}),
    "Whisper of other sizes": (
        "WhisperFeatureExtractor",
        {"feature_size": 20, "chunk_length": 1, "n_fft": 512, "hop_length": 128, "sampling_rate": 22_050},
    ),
    "Wav2Vec2": ("Wav2Vec2FeatureExtractor", {}),
    "Wav2Vec2, not normalised": ("Wav2Vec2FeatureExtractor", {"do_normalize": False, "sampling_rate": 11_025}),
}
KEYS = (
    "num_mel_bins",
    "max_length",
    "mean",
    "std",
    "do_normalize",
    "n_fft",
    "hop_length",
    "chunk_length",
    "sampling_rate",
    "feature_size",
)


def both(name: str) -> tuple[SoundReader, Any]:
    """(our reader, transformers' extractor) of the same settings."""
    kind, settings = SETTINGS[name]
    theirs = getattr(transformers, kind)(**settings)
    found = {key: getattr(theirs, key) for key in KEYS if isinstance(getattr(theirs, key, None), int | float)}
    hearing = Hearing(kind, padding_value=0.0, return_attention_mask=False, fewest_samples=1, **found)  # type: ignore[arg-type]
    assert not hearing.faults()
    return SoundReader(hearing), theirs


def by_transformers(theirs: Any, data: bytes, name: str) -> np.ndarray:
    """What transformers makes of a sound's file."""
    samples = load_audio(f"data:audio/wav;base64,{as_text(data)}", sampling_rate=theirs.sampling_rate, backend="soundfile")
    found: np.ndarray = theirs(samples, sampling_rate=theirs.sampling_rate, return_tensors="np")[name][0]
    return found


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> SoundReader:
    folder = tmp_path_factory.mktemp("reader")
    made_model(folder / "model")
    settle_sound(folder / "model", folder)
    return read_sound(folder / "preprocessor_config.json")


@pytest.mark.parametrize("name", SETTINGS)
def test_features_are_those_of_transformers(name: str) -> None:
    ours, theirs = both(name)
    rate = theirs.sampling_rate
    draw = np.random.default_rng(4)
    edges = [write_wav(draw.normal(0, 0.1, 2 * rate + extra), rate) for extra in (0, 1, -1, -150, -300)]  # around Whisper's end
    for data in [*made_sounds(rate, seed=5), *edges]:
        wanted = by_transformers(theirs, data, ours.settings.input_name)
        found = ours.sound(data).tensor()
        assert found.dtype == np.float32 and found.shape == wanted.shape and np.abs(found - wanted).max() < 1e-4


def test_real_files(shared: Path) -> None:
    from pyarrow import parquet

    rows = parquet.read_table(shared / "data" / "fsdd" / "test.parquet").slice(0, 300).to_pylist()[::12]
    for name in ("AST", "AST at 8 kHz, not normalised", "Whisper", "Wav2Vec2"):
        ours, theirs = both(name)
        for row in rows:
            data = row["audio"]["bytes"]
            assert np.abs(ours.sound(data).tensor() - by_transformers(theirs, data, ours.settings.input_name)).max() < 1e-4


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "FLAC"])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_samples_are_those_of_soundfile(kind: str, channels: int) -> None:
    ours, _ = both("Wav2Vec2, not normalised")
    draw = np.random.default_rng(0)
    for code in (
        ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
        if kind != "FLAC"
        else ("PCM_S8", "PCM_16", "PCM_24")
    ):
        file = io.BytesIO()
        soundfile.write(file, draw.uniform(-0.9, 0.9, (3000, channels)), 11_025, format=kind, subtype=code)
        wanted, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32", always_2d=True)
        assert np.allclose(ours.sound(file.getvalue()).tensor(), wanted.mean(axis=1), atol=1e-7)


def test_a_sound_is_the_same_in_every_form(reader: SoundReader, tmp_path: Path) -> None:
    data = write_wav(noise("low", np.random.default_rng(1)), RATE)
    (tmp_path / "sound.wav").write_bytes(data)
    whole = np.frombuffer(data[44:], dtype="<i2")
    samples = whole.astype(np.float32) / 32768
    wanted = reader.sound(data).tensor()
    assert wanted.shape == (24, 16)
    for item in (
        as_text(data), f"data:audio/wav;base64,{as_text(data)}", tmp_path / "sound.wav", samples, samples.astype(np.float64), whole,
        {"array": samples, "sampling_rate": RATE}, flac(whole, RATE),
    ):  # fmt: skip
        assert np.array_equal(reader.sound(item).tensor(), wanted)


def test_another_rate_is_resampled_and_said(reader: SoundReader) -> None:
    time = np.arange(32_000) / 16_000
    tone = 0.5 * np.sin(2 * np.pi * 700 * time)
    found, wanted = reader.sound(write_wav(tone[:6000], 16_000)), reader.sound(write_wav(tone[:6000:2], RATE))
    assert found.resampled == 16_000 and wanted.resampled is None
    assert np.abs(found.tensor() - wanted.tensor()).max() < 0.5
    assert reader.sound({"array": tone[:6000].astype(np.float32), "sampling_rate": 16_000}).resampled == 16_000


def test_samples_and_wav_files_of_the_models_rate_need_no_library(reader: SoundReader, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise("high", np.random.default_rng(2)).astype(np.float32)
    wanted, packed = reader.sound(samples).tensor(), flac(samples)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    monkeypatch.setitem(sys.modules, "soxr", None)
    assert np.array_equal(reader.sound(samples).tensor(), wanted)
    assert np.abs(reader.sound(write_wav(samples, RATE)).tensor() - wanted).max() < 0.1
    for item, library in ((packed, "soundfile"), (write_wav(samples, 16_000), "soxr")):
        with pytest.raises(NotPossibleHere, match=library) as fault:
            reader.sound(item)
        assert "edgekit[audio]" in fault.value.text()


def test_what_is_longer_than_the_model_reads_is_cut_and_said(reader: SoundReader) -> None:
    most = reader.settings.most_samples
    assert most == 23 * 160 + 400
    samples = np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)
    whole, cut = reader.sound(samples), reader.sound(samples[:most])
    assert whole.truncated and not cut.truncated and np.array_equal(whole.tensor(), cut.tensor())
    assert reader.sound(write_wav(samples, RATE)).truncated and reader.sound(flac(samples)).truncated


def test_an_hour_takes_no_memory(reader: SoundReader) -> None:
    import tracemalloc

    rate = 2000
    hour = write_wav(np.zeros(3600 * rate, dtype=np.float32), rate)
    packed = flac(np.zeros(3600 * rate, dtype=np.int16), rate)
    assert len(packed) < len(hour) / 100
    tracemalloc.start()
    assert reader.sound(hour).truncated and reader.sound(packed).truncated
    assert tracemalloc.get_traced_memory()[1] < 5e6
    ours, _ = both("Wav2Vec2, not normalised")
    for item in (hour, packed, {"array": np.zeros(3600 * rate, dtype=np.int16), "sampling_rate": rate}):
        with pytest.raises(BadInput, match="3,600 seconds; at most 60"):
            ours.sound(item)
    assert tracemalloc.get_traced_memory()[1] < 20e6, "the last array itself"
    tracemalloc.stop()


WAV = write_wav(noise("low", np.random.default_rng(3)), RATE)
FLAC = flac(noise("low", np.random.default_rng(3)))


def lying(place: int, form: str, value: int) -> bytes:
    """The file with another value in its header."""
    return WAV[:place] + struct.pack(form, value) + WAV[place + struct.calcsize(form) :]


def floats(value: float) -> bytes:
    """A WAV file of floats of which one has `value`."""
    file = io.BytesIO()
    soundfile.write(file, np.array([0.0] * 2000 + [value] + [0.0] * 2000), RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def coded(kind: str, code: str) -> bytes:
    """A file of a kind, or with a code, that is not read."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(4000), RATE, format=kind, subtype=code)
    return file.getvalue()


BAD: dict[str, tuple[Any, str]] = {
    "empty": (b"", "is empty"),
    "empty text": ("", "is empty"),
    "no sound": (b"MZ not a sound at all", "no sound of a kind"),
    "MP3": (b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(100), "no sound of a kind"),
    "OGG": (coded("OGG", "VORBIS"), "no sound of a kind"),
    "ADPCM": (coded("WAV", "MS_ADPCM"), "MS_ADPCM samples is not read"),
    "no base64": ("no base64", "text that is no base64"),
    "a path": ("sound.wav", "a path, which is not read here, and no base64"),
    "half a WAV": (WAV[: len(WAV) // 2], "it was cut off"),
    "a header alone": (WAV[:44], "it was cut off"),
    "half a header": (WAV[:30], "without its format or its samples"),
    "no samples": (write_wav(np.zeros(0), RATE), "is empty"),
    "half a FLAC": (FLAC[: len(FLAC) // 2], "readable sound"),
    "a FLAC header": (FLAC[:42], "readable sound"),
    "too short": (write_wav(np.zeros(399), RATE), "shorter than what the model reads"),
    "more samples than bytes": (lying(40, "<I", 2**31), "it was cut off"),
    "no rate": (lying(24, "<I", 0), "0 samples a second"),
    "a rate beyond sound": (lying(24, "<I", 2**31), "samples a second"),
    "no channels": (lying(22, "<H", 0), "0 channels"),
    "many channels": (lying(22, "<H", 1000), "1000 channels"),
    "another width": (lying(34, "<H", 24), "1 samples of 24 bits are 2 bytes"),
    "NaN": (floats(float("nan")), "NaN or Inf"),
    "Inf": (floats(float("inf")), "NaN or Inf"),
    "NaN in an array": (np.array([0.0] * 999 + [np.nan], dtype=np.float32), "NaN or Inf"),
    "an empty array": (np.zeros(0, dtype=np.float32), "is empty"),
    "two axes": (np.zeros((2, 4000), dtype=np.float32), "[2, 4000]"),
    "whole numbers": (np.zeros(4000, dtype=np.int64), "int64"),
    "no rate in an object": ({"array": np.zeros(4000), "sampling_rate": "8000"}, "sampling_rate"),
    "a list": ([0.0] * 4000, "list is no sound"),
    "a number": (5, "int is no sound"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sound_is_refused(name: str, reader: SoundReader) -> None:
    item, said = BAD[name]
    with pytest.raises(BadInput) as fault:
        reader.sound(item)
    assert said in fault.value.text()


def test_a_file_of_nothing_is_told_the_same_by_every_way_in(reader: SoundReader, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    for item in (b"", "", tmp_path / "empty.wav"):
        with pytest.raises(BadInput, match="the sound is empty: 0 bytes") as fault:
            reader.sound(item)
        assert fault.value.where == (str(item) if isinstance(item, Path) else None)


def test_silence_and_streams_are_sounds(reader: SoundReader) -> None:
    assert np.isfinite(reader.sound(np.zeros(4000, dtype=np.float32)).tensor()).all()
    ours, _ = both("Wav2Vec2")
    assert not ours.sound(np.zeros(4000, dtype=np.float32)).tensor().any()
    assert np.array_equal(reader.sound(lying(40, "<I", 0xFFFFFFFF)).tensor(), reader.sound(WAV).tensor()), "ffmpeg's to a pipe"
    other = WAV[:36] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + WAV[36:]
    assert np.array_equal(reader.sound(other).tensor(), reader.sound(WAV).tensor())


def test_settings_that_are_at_odds_are_refused(reader: SoundReader, tmp_path: Path) -> None:
    path = tmp_path / "preprocessor_config.json"
    good: dict[str, Any] = {
        "feature_extractor_type": "ASTFeatureExtractor", "sampling_rate": 8000, "feature_size": 1, "padding_value": 0.0,
        "return_attention_mask": False, "fewest_samples": 400, "num_mel_bins": 16, "max_length": 24, "mean": 0.0, "std": 1.0, "do_normalize": True,
    }  # fmt: skip
    whisper = {"feature_extractor_type": "WhisperFeatureExtractor", "n_fft": 400, "hop_length": 160, "chunk_length": 30}
    for changes, said in (
        ({"num_mel_bins": 0}, "num_mel_bins"), ({"std": 0.0}, "not within"),
        ({"feature_extractor_type": "ClapFeatureExtractor"}, "feature_extractor_type"),
        ({"dither": 0.1}, "unknown"), ({"padding_value": 1.0}, "padding_value"),
        ({**whisper, "hop_length": 0}, "hop_length"),
        ({**whisper, "chunk_length": 600, "sampling_rate": 384_000}, "longer than any"), ({"sampling_rate": 10}, "not within"),
    ):  # fmt: skip
        path.write_text(json.dumps({**good, **changes}))
        with pytest.raises(BadInput) as fault:
            read_sound(path)
        assert said in fault.value.text()
    path.write_text(json.dumps(good))
    assert read_sound(path).settings.shape == (24, 16)
    again = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    data = base64.b64decode(as_text(WAV))
    assert np.abs(by_transformers(again, data, "input_values") - read_sound(path).sound(data).tensor()).max() < 1e-4
