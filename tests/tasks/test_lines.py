"""Each task through the whole line: rows, a tiny model, distillation, pruning, INT8, bundle, answers without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit as ek
from edgekit.runtime.bundle.verify import verify
from edgekit.tasks import task_names

COLOURS = ["red", "green", "blue", "white", "black", "yellow"]
ROOMS = ["kitchen", "hall", "bedroom", "garden", "office", "dining room"]
TARGET = "x86-avx2"


def tagged() -> list[dict[str, Any]]:
    rows = []
    for colour in COLOURS:
        for room in ROOMS:
            for before in ("turn on the", "is the", "paint the"):
                tokens = [*before.split(), colour, "lamp", "in", "the", *room.split()]
                tags = (
                    ["O"] * len(before.split()) + ["B-colour", "O", "O", "O", "B-room"] + ["I-room"] * (len(room.split()) - 1)
                )
                rows.append({"tokens": tokens, "tags": tags})
    return rows


def asked() -> list[dict[str, Any]]:
    rows = []
    for colour in COLOURS:
        for room in ROOMS:
            for other in ("ring", "coat", "door"):
                context = f"the {other} is old . the lamp in the {room} is {colour} ."
                answer = {"text": [colour], "answer_start": [context.rindex(colour)]}
                rows.append({"question": f"what colour is the lamp in the {room} ?", "context": context, "answers": answer})
    return rows


def paired() -> list[dict[str, Any]]:
    texts = [f"the {colour} lamp in the {room}" for colour in COLOURS for room in ROOMS]
    generator = np.random.default_rng(0)
    picks = generator.permutation([(one, other) for one in range(36) for other in range(one)])[:108]
    rows = []
    for one, other in picks:
        shared = len(set(texts[one].split()) & set(texts[other].split()))
        rows.append({"sentence1": texts[one], "sentence2": texts[other], "score": shared})
    return rows


NEW = "[model.new]\nlayers = 2\nwidth = 32\nheads = 4\nneurons = 64\nvocabulary = 400\nepochs = 12\nlearning_rate = 3e-3\nbatch = 8\n"
LINES: dict[str, tuple[Any, str, Any, Any]] = {
    "token-classification": (tagged, NEW, "turn on the red lamp in the dining room", "entities"),
    "question-answering": (asked, NEW, {"question": "what colour is the lamp ?", "context": "the lamp is red ."}, "text"),
    "feature-extraction": (paired, 'id = "tiny"\n', "the red lamp", "embedding"),
}


@pytest.fixture(scope="module", params=sorted(LINES))
def made(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A result folder of the task, exported through edgekit's Python face."""
    task = str(request.param)
    rows, model, _, _ = LINES[task]
    folder = tmp_path_factory.mktemp(task)
    (folder / "tiny").symlink_to(tiny_model)
    everything = rows()
    order = np.random.default_rng(1).permutation(len(everything))
    parts = {"train": order[: len(order) * 2 // 3], "validation": order[len(order) * 2 // 3 : -18], "test": order[-18:]}
    for split, numbers in parts.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(everything[number]) + "\n" for number in numbers))
    (folder / "line.toml").write_text(
        f'schema = 1\ntask = "{task}"\n[model]\nmax_length = {24 if "tiny" in model else 48}\n{model}'
        '[data]\ntrain = "train.jsonl"\nvalidation = "validation.jsonl"\ntest = "test.jsonl"\n'
        '[[compress]]\nmethod = "distill"\nlayers = 1\nepochs = 6\nbatch = 8\nlearning_rate = 5e-3\naugment = 1\n'
        '[[compress]]\nmethod = "prune-structured"\nkeep = 0.8\nmultiple_of = 8\n'
        '[[compress]]\nmethod = "prune-vocabulary"\n'
    )
    result = ek.export(str(folder / "line.toml"), target=TARGET, build=folder / "build", measure=False)
    return task, result.path


def test_every_task_has_its_line() -> None:
    elsewhere = {
        "text-classification": "tests/end_to_end/test_encoder.py",
        "multi-label-classification": "tests/end_to_end/test_multi_label.py",
        "zero-shot-classification": "tests/end_to_end/test_zero_shot.py",
        "text-ranking": "tests/end_to_end/test_text_ranking.py",
        "text-regression": "tests/end_to_end/test_one_logit.py",
        "text-generation": "tests/end_to_end/test_text_generation.py",
        "image-classification": "tests/end_to_end/test_images.py",
        "image-feature-extraction": "tests/end_to_end/test_image_features.py",
        "audio-classification": "tests/end_to_end/test_sounds.py",
        "automatic-speech-recognition": "tests/end_to_end/test_transcripts.py",
    }
    assert set(LINES) == set(task_names()) - set(elsewhere)


def test_the_bundle_answers_and_verifies(made: tuple[str, Path]) -> None:
    task, path = made
    model = ek.load(path / "bundle")
    item, key = LINES[task][2:]
    answer = model(item)
    assert key in answer
    assert model([item, item]) == [answer, answer]
    json.dumps(answer, allow_nan=False)
    if task == "token-classification":
        text = "Is the RED lamp in the dining  room"
        for entity in model(text)["entities"]:
            assert text[entity["start"] : entity["end"]] == entity["text"]
    if task == "feature-extraction":
        assert np.linalg.norm(answer["embedding"]) == pytest.approx(1, abs=1e-4)
    assert verify(path / "bundle")["ok"]


def test_quality_is_of_the_task(made: tuple[str, Path]) -> None:
    task, path = made
    quality = json.loads((path / "lineage.json").read_text())["variants"]
    original, bundle = quality["ort-fp32"]["quality"], quality["bundle"]["quality"]
    assert original["n"] == 18
    assert original["metric"] == {"token-classification": "span F1", "question-answering": "F1"}.get(task, "Spearman")
    assert bundle["ci95"][0] <= bundle["difference"] <= bundle["ci95"][1]
    assert bundle["value"] == pytest.approx(original["value"] + bundle["difference"], abs=1e-9)
    if task == "token-classification":
        assert original["value"] > 0.9 and bundle["value"] > 0.7
    report = (path / "report.html").read_text()
    assert original["metric"] in report


def test_integer_kernels_serve_every_task(made: tuple[str, Path]) -> None:
    _, path = made
    audit = json.loads((path / "bundle" / "audit.json").read_text())
    assert audit["matmuls_integer"] == audit["matmuls_constant"] > 0


def test_a_pair_is_told_apart(made: tuple[str, Path]) -> None:
    task, path = made
    names = [item["name"] for item in json.loads((path / "bundle" / "manifest.json").read_text())["edgekit"]["inputs"]]
    assert ("token_type_ids" in names) == (task == "question-answering")
