"""Encoders that read samples, of sounds of any length, and Whisper's, through the whole line beside transformers' own pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline
from transformers.audio_utils import load_audio

from edgekit.audit.audit import audit
from edgekit.config.quantize import Int8
from edgekit.config.recipe import Calibration
from edgekit.config.target import load_target
from edgekit.exporter.encoder import FUSED
from edgekit.models.sounds import made_sounds
from edgekit.onnx_graph.rewrite import save, tidy
from edgekit.progress import silent
from edgekit.quantize.static import activation_ranges, quantize_static
from edgekit.quantize.unfuse import unfuse
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.providers.session import plain_session
from edgekit.runtime.sound import SoundReader
from tests.audit.test_audit import ISA
from tests.line_of_files import recipe
from tests.tiny_heads import Made, export
from tests.tiny_images import as_text
from tests.tiny_sounds import LABELS, RATE, made_model, rows_of

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
    return export(recipe(folder, "audio-classification", steps))


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


def test_static_ranges_leave_nothing_in_float(made: Made, tmp_path: Path) -> None:
    """The same graph with ranges of activations that are set beforehand, as some targets ask for."""
    import onnx_ir as ir

    (fused,) = made.folder.parent.glob(f"store/export/*/{FUSED}")
    model = ir.load(fused)
    unfuse(model)
    tidy(model, microsoft=True)
    reader, name = made.bundle.reader, model.graph.inputs[0].name
    assert isinstance(reader, SoundReader) and name is not None
    feeds = [{name: reader.sound(data).tensor()[None]} for data in made_sounds(RATE, seed=3)[:3]]
    wanted = made.original.session.run(None, feeds[0])[0]
    settings = Int8(format="int8", mode="static")
    counts = quantize_static(model, settings, activation_ranges(model, feeds, "minmax", Calibration().memory_mb, silent))
    save(model, tmp_path / "model.onnx", microsoft=True)
    found = plain_session(tmp_path / "model.onnx").run(None, feeds[0])[0]
    assert np.abs(found - wanted).max() < 0.3 * max(1, np.abs(wanted).max())
    target = load_target("x86-vnni").model_copy(update={"quantize": settings})
    document = audit(tmp_path / "model.onnx", target, host_isa=ISA, host_arch="x86_64")
    assert (document["stray_qdq"], document["fallbacks"]) == (0, []) and document["matmuls_integer"] == counts["matmul"]
