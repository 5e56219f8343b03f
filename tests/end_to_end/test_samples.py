"""Encoders that read samples, of sounds of any length, and Whisper's, through the whole line beside transformers' own pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline
from transformers.audio_utils import load_audio

from edgekit.models.sounds import made_sounds
from edgekit.runtime.bundle.verify import verify
from tests.tiny_heads import Made, export
from tests.tiny_images import as_text
from tests.tiny_sounds import LABELS, RATE, made_model, rows_of

DATA = '[data]\ntrain = "train.jsonl"\nvalidation = "validation.csv"\ntest = "test.parquet"\n'
STEPS = """[[compress]]
method = "distill"
layers = 1
epochs = 1
batch = 3
"""
MODELS = {"wav2vec2": ("group", 1, ""), "hubert": ("layer", 1, ""), "wavlm": ("layer", 2, ""), "whisper": ("", 2, "")}
"""Family -> (normalisation of its convolutions, layers, steps)."""
# torch itself, of the mask that transformers gives WavLM's attention
pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")


@pytest.fixture(scope="module", params=MODELS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = rows_of(tmp_path_factory.mktemp("sounds"), (6, 4, 4))
    norm, layers, steps = MODELS[request.param]
    made_model(folder / "model", request.param, norm=norm, layers=layers)
    path = folder / "tiny.toml"
    path.write_text(f'schema = 1\ntask = "audio-classification"\n[model]\nid = "model"\n{DATA}{steps}')
    return export(path)


def pipeline_scores(folder: Path, sounds: list[bytes]) -> list[dict[str, float]]:
    ask: Any = pipeline("audio-classification", str(folder), device="cpu")
    rate = ask.feature_extractor.sampling_rate
    arrays = [load_audio(f"data:audio/wav;base64,{as_text(data)}", sampling_rate=rate, backend="soundfile") for data in sounds]
    return [{one["label"]: one["score"] for one in ask(samples, top_k=len(LABELS))} for samples in arrays]


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {one["label"]: one["score"] for one in answer["scores"]}


def test_scores_are_the_pipelines(made: Made) -> None:
    sounds = made_sounds(RATE, seed=3)
    wanted = pipeline_scores(made.folder.parents[1] / "model", sounds)
    together = made.original(sounds, top_k=len(LABELS))
    for data, answer, theirs in zip(sounds, together, wanted, strict=True):
        assert scores(answer) == pytest.approx(theirs, abs=1e-3)
        assert made.original(data, top_k=len(LABELS)) == answer, "beside sounds of other lengths as alone"
    assert len({tuple(np.round(list(one.values()), 2)) for one in wanted}) > 3, "the made model tells sounds apart"
    rounded = made.bundle(sounds, top_k=len(LABELS))
    far = [
        max(abs(scores(answer)[label] - theirs[label]) for label in LABELS)
        for answer, theirs in zip(rounded, wanted, strict=True)
    ]
    assert np.median(far) < 0.1
    assert made.bundle(sounds[0], top_k=len(LABELS)) == rounded[0]


def test_the_bundle_is_whole_and_its_matmuls_are_of_integers(made: Made) -> None:
    assert verify(made.folder)["ok"]
    manifest = made.bundle.bundle.manifest
    assert manifest.sound is not None and manifest.agreement is not None
    audit = json.loads((made.folder / "bundle" / "audit.json").read_text())
    assert audit["ok"] and not audit["fallbacks"] and audit["matmuls_integer"] == audit["matmuls_constant"]
