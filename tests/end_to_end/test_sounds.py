"""An encoder of sounds through the whole line, beside transformers' own pipeline."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import ASTFeatureExtractor, pipeline
from transformers.audio_utils import load_audio

from edgekit.differ.bundle import open_side
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.models.sounds import made_sounds, write_wav
from edgekit.pack.artifacts import make_artifacts
from edgekit.plan.make import make_plan
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.main import main as runner
from tests.line_of_files import DATA, distilled_and_pruned, recipe
from tests.runtime.serve.serving import served
from tests.tiny_heads import Made, export
from tests.tiny_images import as_text
from tests.tiny_sounds import LABELS, RATE, flac, made_model, noise, rows_of

TASK = "audio-classification"
STEPS = distilled_and_pruned()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = rows_of(tmp_path_factory.mktemp("sounds"))
    made_model(folder / "model")
    return export(recipe(folder, TASK, STEPS))


def test_scores_are_the_pipelines(made: Made) -> None:
    model = made.folder.parents[1] / "model"
    reference = pipeline("audio-classification", str(model), device="cpu")
    for data in made_sounds(RATE, seed=3):
        samples = load_audio(f"data:audio/wav;base64,{as_text(data)}", sampling_rate=RATE, backend="soundfile")
        wanted = {one["label"]: one["score"] for one in reference(samples, top_k=len(LABELS))}
        answer = made.original(data, top_k=len(LABELS))
        assert {one["label"]: one["score"] for one in answer["scores"]} == pytest.approx(wanted, abs=1e-3)


def test_the_bundle_is_whole_small_and_proved(made: Made) -> None:
    manifest = made.bundle.bundle.manifest
    assert manifest.sound is not None and (manifest.sound.sampling_rate, manifest.sound.seconds) == (RATE, 0.51)
    assert (manifest.tokenizer, manifest.image, manifest.vocabulary, manifest.labels) == (None, None, 0, LABELS)
    assert manifest.agreement is not None and manifest.agreement.reference.startswith("transformers' audio-classification")
    assert verify(made.folder)["ok"]
    audit = json.loads((made.folder / "bundle" / "audit.json").read_text())
    assert audit["ok"] and not audit["fallbacks"] and audit["matmuls_integer"] == audit["matmuls_constant"]
    card = (made.folder / "bundle" / "README.md").read_text()
    assert "0.51 seconds" in card and "soundfile" in card and "whatever the sound is about" in card


def test_the_patches_are_an_integer_matmul(made: Made) -> None:
    import onnx

    graph = onnx.load(str(made.folder / "bundle" / "model.onnx")).graph
    kinds = [node.op_type for node in graph.node]
    assert "Conv" not in kinds and "MatMul" not in kinds
    assert (8 * 8, 32) in {tuple(tensor.dims) for tensor in graph.initializer}, "the patches' weight"


def test_an_answer_is_the_same_by_every_way_in(made: Made, tmp_path: Path) -> None:
    data = write_wav(noise("low", np.random.default_rng(9))[:4000], RATE)
    (tmp_path / "sound.wav").write_bytes(data)
    wanted, whole = made.bundle(data), np.frombuffer(data[44:], dtype="<i2")
    samples = whole.astype(np.float32) / 32768
    items = [data, as_text(data), tmp_path / "sound.wav", samples, whole, {"audio": as_text(data)}, flac(whole)]
    items.append({"array": samples, "sampling_rate": RATE})
    assert made.bundle(items) == [wanted] * len(items) and all(made.bundle(item) == wanted for item in items)
    other = made.bundle(write_wav(np.tile(noise("low", np.random.default_rng(9), 16_000), 2), 16_000))
    assert other["resampled_from"] == 16_000 and other["truncated"]
    command = [
        sys.executable,
        str(made.folder / "runner.pyz"),
        "run",
        str(made.folder / "bundle.tar.gz"),
        "sound.wav",
        "none.wav",
        "--json",
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "no such file" in ran.stderr
    assert json.loads(ran.stdout)[0] == {"file": "sound.wav", **wanted}
    with served(made.folder, "plain") as server:
        both = [as_text(data), as_text(write_wav(np.tile(noise("low", np.random.default_rng(9), 16_000), 2)[:16_000], 16_000))]
        status, found = server.infer([], inputs=[{"name": "audio", "datatype": "BYTES", "shape": [2], "data": both}])
        told = {one["name"]: one["data"] for one in found["outputs"]}
        assert told["resampled_from"] == [0, 16_000] and told["truncated"] == [False, True]
        status, found = server.infer([], inputs=[{"name": "audio", "datatype": "BYTES", "shape": [1], "data": [as_text(data)]}])
        assert status == 200 and found["outputs"][0]["data"] == [wanted["label"]]
        status, found = server.infer([], inputs=[{"name": "audio", "datatype": "BYTES", "shape": [1], "data": ["no base64"]}])
        assert status == 400 and found["where"] == "audio[0]"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            '[[compress]]\nmethod = "prune-vocabulary"\nsize = 500\n',
            "prune-vocabulary: serves models that read texts, not sounds",
        ),
        ('[[compress]]\nmethod = "quantize-aware"\n', "quantize-aware: serves models that read texts, not sounds"),
        ('[[compress]]\nmethod = "distill"\naugment = 2\n', "augment: not for sounds yet"),
    ],
)
def test_what_cannot_serve_sounds_is_refused_by_name(made: Made, tmp_path: Path, more: str, said: str) -> None:
    folder = made.folder.parents[1]
    for name in ("model", "train.jsonl", "validation.csv", "test.parquet", "sounds"):
        (tmp_path / name).symlink_to(folder / name)
    with pytest.raises(BadInput) as fault:
        make_plan(str(recipe(tmp_path, TASK, more)), ["x86-vnni"], detect())
    assert said in fault.value.text()


def test_targets_that_cannot_run_them_yet_are_named(made: Made) -> None:
    with pytest.raises(BadInput, match="bundles of sounds are for CPUs yet"):
        make_plan(str(made.folder.parents[1] / "tiny.toml"), ["cuda"], detect())


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda folder: make_artifacts(folder, web=True), "browsers read no sounds yet"),
        (lambda folder: make_artifacts(folder, layouts=("transformers-js",)), "models of sounds are not laid out"),
        (lambda folder: open_side(folder / "bundle"), "reads sounds"),
    ],
)
def test_what_is_of_texts_yet_says_so(made: Made, ask: Any, said: str) -> None:
    with pytest.raises(BadInput) as fault:
        ask(made.folder)
    assert said in fault.value.text()


def test_a_file_is_answered_as_a_microphone(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = np.concatenate([noise("low", np.random.default_rng(number))[:2400] for number in range(4)])
    data = write_wav(samples, RATE)
    (tmp_path / "heard.wav").write_bytes(data)
    assert runner(["run", str(made.folder), str(tmp_path / "heard.wav"), "--every", "500ms", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["answered"], found["missed"], found["refused"]) == (3, 0, 0)
    whole = np.frombuffer(data[44:], dtype="<i2")
    for one, end in zip(found["answers"], (4000, 8000, 9600), strict=True):
        wanted = made.bundle(whole[max(0, end - 4080) : end])
        assert one["at_s"] == end / RATE and {name: one[name] for name in wanted} == wanted
    assert runner(["run", str(made.folder), str(tmp_path / "heard.wav"), "--every", "500ms"]) == 0
    assert "3 stretches of sound, one every 0.5 s and one at the end, 1.200 s: 3 answered" in capsys.readouterr().out


def test_golden_inputs_are_sounds_that_need_no_library(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads((made.folder / "bundle" / "golden.json").read_text())["rows"]
    assert len(rows) >= 8 and all(base64.b64decode(row["input"]).startswith(b"RIFF") for row in rows)
    for library in ("soundfile", "soxr"):
        monkeypatch.setitem(sys.modules, library, None)
    assert verify(made.folder)["ok"]


NEW = """schema = 1
task = "audio-classification"
[model.new]
layers = 1
width = 16
heads = 2
neurons = 32
epochs = 2
batch = 8
[model.new.sound]
sampling_rate = 8000
frames = 24
bins = 16
patch = 16
time_stride = 4
frequency_stride = 16
[model.new.changes]
shift = 2
noise = 0.1
"""


def test_a_model_is_trained_from_nothing(made: Made, tmp_path: Path) -> None:
    folder = made.folder.parents[1]
    for name in ("train.jsonl", "validation.csv", "test.parquet", "sounds"):
        (tmp_path / name).symlink_to(folder / name)
    path = tmp_path / "new.toml"
    path.write_text(NEW + DATA)
    new = export(path)
    hearing = json.loads((new.folder / "bundle" / "preprocessor_config.json").read_text())
    features = []
    for line in (folder / "train.jsonl").read_text().splitlines():
        extractor = ASTFeatureExtractor(sampling_rate=RATE, num_mel_bins=16, max_length=24, do_normalize=False)
        data = f"data:audio/wav;base64,{json.loads(line)['audio']}"
        features.append(
            extractor(load_audio(data, sampling_rate=RATE, backend="soundfile"), sampling_rate=RATE)["input_values"][0]
        )
    assert (hearing["mean"], hearing["std"]) == pytest.approx((np.mean(features), np.std(features)), rel=1e-4)
    assert new.bundle.bundle.manifest.labels == LABELS and verify(new.folder)["ok"]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ('schema = 1\ntask = "audio-classification"\n[model.new]\nlayers = 1\n' + DATA, "give a table [model.new.sound]"),
        (
            'schema = 1\ntask = "text-classification"\n[model.new]\nlayers = 1\n[model.new.sound]\n' + DATA,
            "are of models of sounds",
        ),
    ],
)
def test_a_new_model_says_what_it_reads(made: Made, tmp_path: Path, recipe: str, said: str) -> None:
    folder = made.folder.parents[1]
    for name in ("train.jsonl", "validation.csv", "test.parquet", "sounds"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "new.toml").write_text(recipe)
    with pytest.raises(BadInput) as fault:
        make_plan(str(tmp_path / "new.toml"), ["x86-vnni"], detect())
    assert said in fault.value.text()
