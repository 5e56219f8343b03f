"""The comparison with a model's own library: it must see what a score by the same code cannot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from edgekit.agreement.check import ROWS, check_agreement, shown, spread
from edgekit.agreement.texts import made_texts
from edgekit.errors import CheckFailed
from edgekit.exporter.encoder import FUSED
from edgekit.pack.manifest import pack_for_comparison
from edgekit.plan.recipes import recipe_model
from edgekit.runtime.bundle.names import CONFIG, MODEL
from edgekit.runtime.model import Model, load
from edgekit.tasks import encoder_task, find_task, task_names
from edgekit.tasks.encoders.question_answering import Spans, span_difference
from edgekit.tasks.reference import Reference, label_difference
from tests.tiny_manifest import rewrite_manifest

INFINITE = float("inf")


def test_every_task_has_a_library() -> None:
    assert [name for name in task_names() if find_task(name).reference is None] == []


def test_made_texts() -> None:
    texts = made_texts(64)
    assert len(texts) == len(set(texts)) == 32
    assert len(texts[-1].split()) > 64
    assert all(text.strip() for text in texts)


def test_rows_are_spread_over_their_lengths() -> None:
    items: list[Any] = ["a" * number for number in range(1, 200)]
    found = spread(items)
    assert len(found) == ROWS and found[0] == "a" and found[-1] == "a" * 199
    assert spread(items[:3]) == items[:3]
    assert spread([]) == []


@pytest.mark.parametrize(
    ("ours", "difference"),
    [
        ({"label": "a", "score": 0.7, "scores": [{"label": "a", "score": 0.7}, {"label": "b", "score": 0.3}]}, 0.0),
        ({"label": "a", "score": 0.6, "scores": [{"label": "a", "score": 0.6}, {"label": "b", "score": 0.4}]}, 0.1),
        ({"label": "b", "score": 0.7, "scores": [{"label": "b", "score": 0.7}, {"label": "a", "score": 0.3}]}, 0.4),
        ({"label": "b", "score": 0.3, "scores": [{"label": "a", "score": 0.7}, {"label": "b", "score": 0.3}]}, INFINITE),
        ({"label": "c", "score": 0.7, "scores": [{"label": "c", "score": 0.7}, {"label": "b", "score": 0.3}]}, INFINITE),
        ({"labels": [], "scores": [{"label": "a", "score": 0.7}, {"label": "b", "score": 0.3}]}, 0.0),
        ({"label": "a", "score": 0.7, "scores": [{"label": "a", "score": 0.7}]}, INFINITE),
    ],
)
def test_labels(ours: dict[str, Any], difference: float) -> None:
    assert label_difference(ours, {"a": 0.7, "b": 0.3}) == pytest.approx(difference)


@pytest.mark.parametrize(
    ("text", "start", "end", "difference"),
    [("cat", 4, 7, 0.0), ("The", 0, 3, 2.0), (" cat", 3, 7, INFINITE), ("cat", 0, 3, INFINITE), ("", 0, 0, INFINITE)],
)
def test_spans(text: str, start: int, end: int, difference: float) -> None:
    theirs = Spans("The cat", {(0, 3): 1.0, (4, 7): 3.0})
    assert span_difference({"text": text, "start": start, "end": end}, theirs) == difference


def test_what_an_error_shows() -> None:
    assert shown({"embedding": [0.5, 0.25, 0.125, 1.0, 2.0]}) == "[0.5000, 0.2500, 0.1250, 1.0000, ...] (5 numbers)"
    assert shown(np.zeros(3, np.float32)) == "[0.0000, 0.0000, 0.0000, ...] (3 numbers)"
    assert len(shown("a" * 500)) == 160


@pytest.fixture(scope="module")
def bundle(tiny_model: Path, tiny_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Copies of the tiny classifier's float32 bundle, to be damaged."""
    document = {
        "schema": 1,
        "task": "text-classification",
        "model": {"id": "x", "max_length": 32},
        "data": {"train": "a", "validation": "c", "test": "b"},
    }
    recipe = recipe_model().model_validate(document)
    whole = tmp_path_factory.mktemp("whole")
    pack_for_comparison(whole, recipe, tiny_model, tiny_export, {MODEL: tiny_export / FUSED})

    def copy() -> Path:
        return Path(shutil.copytree(whole, tmp_path_factory.mktemp("bundle") / "bundle"))

    return copy


def compare(model: Model, folder: Path) -> Any:
    rows = [{"text": text, "label": None} for text in ("turn on the light", "what is the weather")]
    return check_agreement(model, folder, find_task("text-classification"), rows, longest=32, pairs=False)


def test_a_sound_model_agrees(bundle: Callable[[], Path], tiny_model: Path) -> None:
    found = compare(load(bundle()), tiny_model)
    assert found["inputs"] == 34 and found["refused"] == 0 and 0 <= found["largest"] < 1e-5
    assert "transformers" in found["reference"]


def test_swapped_labels_are_seen(bundle: Callable[[], Path], tiny_model: Path) -> None:
    folder = bundle()
    config = json.loads((folder / CONFIG).read_text())
    config["id2label"] = {str(3 - int(number)): label for number, label in config["id2label"].items()}
    (folder / CONFIG).write_text(json.dumps(config))
    rewrite_manifest(folder, lambda document: document["edgekit"]["labels"].reverse())
    with pytest.raises(CheckFailed, match="are not those of transformers' text-classification pipeline") as raised:
        compare(load(folder), tiny_model)
    assert 1 <= len(raised.value.faults) <= 5 and "the library" in raised.value.faults[0]


def test_outputs_named_by_numbers_are_texts(bundle: Callable[[], Path], tiny_model: Path, tmp_path: Path) -> None:
    folder, theirs = bundle(), Path(shutil.copytree(tiny_model, tmp_path / "theirs"))
    for place, kind in ((folder, str), (theirs, int)):
        config = json.loads((place / CONFIG).read_text())
        config["id2label"] = {number: kind(number) for number in config["id2label"]}
        (place / CONFIG).write_text(json.dumps(config))
    rewrite_manifest(folder, lambda document: document["edgekit"].update(labels=["0", "1", "2", "3"]))
    assert compare(load(folder), theirs)["inputs"] == 34


def test_another_limit_is_seen(bundle: Callable[[], Path], tiny_model: Path) -> None:
    folder = bundle()
    rewrite_manifest(folder, lambda document: document["edgekit"]["tokenizer"].update(max_length=16))
    with pytest.raises(CheckFailed, match="of 34 answers"):
        compare(load(folder), tiny_model)


def test_a_tokenizer_that_keeps_capitals_is_seen(bundle: Callable[[], Path], tiny_model: Path, tmp_path: Path) -> None:
    theirs = Path(shutil.copytree(tiny_model, tmp_path / "theirs"))
    settings = json.loads((theirs / "tokenizer_config.json").read_text()) | {"do_lower_case": False}
    (theirs / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckFailed, match="The Cat Runs"):
        compare(load(bundle()), theirs)


@pytest.mark.parametrize(("name", "what"), [("image-classification", "image"), ("audio-classification", "audio")])
def test_images_and_sounds_are_named_by_their_rows(name: str, what: str, tmp_path: Path) -> None:
    def refused(item: object) -> object:
        raise ValueError("no such thing")

    task = encoder_task(name)
    rows: list[Any] = [{what: letter * 400, "label": "a"} for letter in "bab"]
    told = Reference(
        "the library",
        lambda folder, longest: lambda item: 1.0,
        lambda ours, theirs: 1.0,
        lambda model, item: 2.0,
        lambda *_: ["c" * 400],
    )
    (tmp_path / "config.json").write_text("{}")
    asked: Any = {"longest": 0, "pairs": False}
    kind = {"image": "image", "audio": "sound"}[what]
    with pytest.raises(CheckFailed) as caught:
        check_agreement(cast("Model", None), tmp_path, replace(task, reference=told), rows, **asked)
    names = [fault.split(": ")[0] for fault in caught.value.faults]
    assert names == [f"{kind} of row {number} of test" for number in (1, 2, 1)] + [f"a made {kind}"]
    failing = replace(told, open=lambda folder, longest: refused)
    with pytest.raises(CheckFailed, match=f"the library fails on {kind} of row 1 of test, which the bundle answers"):
        check_agreement(cast("Model", None), tmp_path, replace(task, reference=failing), rows, **asked)
