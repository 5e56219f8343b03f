"""A CTC head through the whole line, beside transformers' own pipeline: samples to text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline
from transformers.audio_utils import load_audio

from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.models.sounds import made_sounds, write_wav
from edgekit.plan.make import make_plan
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.main import main as runner
from tests.runtime.serve.serving import served
from tests.tiny_heads import Made, export
from tests.tiny_images import as_text
from tests.tiny_sounds import LABELS, RATE, made_model, noise

DISTIL = '[[compress]]\nmethod = "distill"\nlayers = 1\nepochs = 1\nbatch = 3\n'
SAID = {"high": "tea", "hiss": "at a", "low": "eat"}
SPELLING = {"do_lower_case": True, "clean_up_tokenization_spaces": True}


def recipe(folder: Path, more: str = "") -> Path:
    """Rows of made sounds with made texts, and a recipe for the checkpoint `model` beside them."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 4), ("test", 4)):
        labels = [LABELS[number % len(LABELS)] for number in range(count)]
        rows = [{"audio": as_text(write_wav(noise(label, draw), RATE)), "text": SAID[label]} for label in labels]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "tiny.toml"
    data = "\n".join(f'{split} = "{split}.jsonl"' for split in ("train", "validation", "test"))
    path.write_text(f'schema = 1\ntask = "automatic-speech-recognition"\n[model]\nid = "model"\n[data]\n{data}\n{more}')
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("speech")
    made_model(folder / "model", "wav2vec2", head="ForCTC", norm="layer", layers=1, spelling=SPELLING)
    return export(recipe(folder))


def test_texts_are_the_pipelines(made: Made) -> None:
    hear: Any = pipeline("automatic-speech-recognition", str(made.folder.parents[1] / "model"), device="cpu")
    sounds = made_sounds(RATE, seed=3)
    samples = [load_audio(f"data:audio/wav;base64,{as_text(data)}", sampling_rate=RATE, backend="soundfile") for data in sounds]
    wanted = [hear(one)["text"] for one in samples]
    assert [answer["text"] for answer in made.original(sounds)] == wanted, "sounds of other lengths beside it change nothing"
    assert len(set(wanted)) > 5 and any(" " in text for text in wanted) and wanted == [text.lower() for text in wanted]
    rounded = made.bundle(sounds)
    assert rounded[3] == made.bundle(sounds[3])


def test_the_bundle_is_whole_and_scored_by_words(made: Made) -> None:
    assert verify(made.folder)["ok"]
    manifest = made.bundle.bundle.manifest
    assert manifest.sound is not None and manifest.labels == () and manifest.agreement is not None
    audit = json.loads((made.folder / "bundle" / "audit.json").read_text())
    assert audit["ok"] and audit["matmuls_integer"] == audit["matmuls_constant"]
    assert "speech.wav" in (made.folder / "bundle" / "README.md").read_text()


def test_the_text_is_printed_and_served(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = made_sounds(RATE, seed=3)[0]
    (tmp_path / "speech.wav").write_bytes(data)
    wanted = made.bundle(data)["text"]
    assert runner(["run", str(made.folder), str(tmp_path / "speech.wav")]) == 0
    assert capsys.readouterr().out.strip() == wanted
    with served(made.folder, "plain") as server:
        given = [{"name": "audio", "datatype": "BYTES", "shape": [1], "data": [as_text(data)]}]
        status, found = server.infer([], inputs=given)
        assert status == 200, found
        for wrong, said in (
            ({"shape": [2]}, "1 sounds, but the shape"),
            ({"data": "speech"}, "no list of sounds as base64 text"),
        ):
            status_of_wrong, refused = server.infer([], inputs=[{**given[0], **wrong}])
            assert status_of_wrong == 400 and said in str(refused), refused
        assert (status, found["outputs"][0]["name"], found["outputs"][0]["data"]) == (200, "text", [wanted])


BAD: dict[str, tuple[Any, str]] = {
    "nothing": (np.zeros(0, dtype=np.float32), "is empty"),
    "less than a frame": (np.zeros(44, dtype=np.float32), "shorter than what the model reads"),
    "NaN": (np.full(4000, np.nan, dtype=np.float32), "NaN or Inf"),
    "two axes": ({"array": np.zeros((2, 4000), dtype=np.float32), "sampling_rate": RATE}, "[2, 4000]"),
    "two axes alone": (np.zeros((2, 4000), dtype=np.float32), "one sound of several channels, or several sounds"),
    "two axes, as soundfile has them": (
        np.zeros((4000, 2), dtype=np.float32),
        "one sound of several channels, or several sounds",
    ),
    "over a minute": (np.zeros(61 * RATE, dtype=np.float32), "at most 60"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_heard_is_refused(name: str, made: Made) -> None:
    item, said = BAD[name]
    with pytest.raises(BadInput) as fault:
        made.bundle(item)
    assert said in fault.value.text()


def test_silence_stereo_and_another_rate_are_heard(made: Made) -> None:
    assert isinstance(made.bundle(np.zeros(RATE, dtype=np.float32))["text"], str)
    assert isinstance(made.bundle(np.zeros(45, dtype=np.float32))["text"], str), "one frame"
    samples = noise("low", np.random.default_rng(4))
    both = np.stack([samples, samples], axis=1)
    assert made.bundle(write_wav(both, RATE)) == made.bundle(write_wav(samples, RATE))
    assert made.bundle({"array": samples, "sampling_rate": 2 * RATE})["resampled_from"] == 2 * RATE


CHANGED: dict[str, tuple[dict[str, dict[str, object]], str]] = {
    "beams": ({"tokenizer_config.json": {"processor_class": "Wav2Vec2ProcessorWithLM"}}, "beam search with a language model"),
    "beams, said elsewhere": ({"preprocessor_config.json": {"processor_class": "Wav2Vec2ProcessorWithLM"}}, "beam search"),
    "phonemes": ({"tokenizer_config.json": {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"}}, "Wav2Vec2CTCTokenizer alone"),
    "a language": ({"tokenizer_config.json": {"target_lang": "eng"}}, "a vocabulary for each language"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_other_ways_to_write_are_refused_by_name(name: str, tmp_path: Path) -> None:
    changes, said = CHANGED[name]
    folder = made_model(tmp_path / "model", "wav2vec2", head="ForCTC", layers=1)
    for file, more in changes.items():
        path = folder / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
    with pytest.raises(BadInput) as fault:
        make_plan(str(recipe(tmp_path)), ["x86-vnni"], detect())
    assert said in fault.value.text()


def test_heads_and_vocabularies_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    made_model(tmp_path / "model", "wav2vec2", layers=1)
    with pytest.raises(BadInput, match="no head for automatic-speech-recognition"):
        make_plan(str(path), ["x86-vnni"], detect())
    made_model(tmp_path / "model", "wav2vec2", head="ForCTC", layers=1)
    (tmp_path / "model" / "vocab.json").unlink()
    with pytest.raises(BadInput, match=r"no vocab\.json"):
        make_plan(str(path), ["x86-vnni"], detect())
    path.write_text(path.read_text().replace("[data]", "[model.finetune]\n[data]"))
    with pytest.raises(BadInput, match="needs a vocabulary, which rows do not say"):
        make_plan(str(path), ["x86-vnni"], detect())
