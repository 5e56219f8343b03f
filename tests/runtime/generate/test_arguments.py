"""Arguments of `load`, of a loaded model and of `export`, as callers have them: each is taken, or refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit as ek
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.model import Model, load
from tests.runtime.serve.serving import make_bundle


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_bundle(tmp_path_factory.mktemp("classifier"), "text-classification"))


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_bundle(tmp_path_factory.mktemp("writer"), "text-generation"))


def test_top_k(classifier: Model) -> None:
    assert classifier("is it on", top_k=None) == classifier("is it on") == classifier("is it on", top_k=np.int64(1))
    assert len(classifier("is it on", top_k=np.int32(2))["scores"]) == 2
    for wrong in (0, -1, True, np.True_, "2", 1.0, [1]):
        with pytest.raises(ek.BadInput, match=r"top_k: .* is not a whole number from 1"):
            classifier("is it on", top_k=wrong)  # type: ignore[call-overload]


def test_inputs(classifier: Model) -> None:
    one = classifier("is it on")
    for several in (("is it on",), iter(["is it on"]), np.array(["is it on"]), ["is it on"], {"is it on": 1}.keys()):
        assert classifier(several) == [one]  # type: ignore[call-overload]
    for wrong in (None, 3, 1.5, True):
        with pytest.raises(ek.BadInput, match="is no input"):
            classifier(wrong)  # type: ignore[call-overload]


def test_sampling_is_given_by_name(writer: Model, classifier: Model) -> None:
    assert writer.language is not None
    prompt = "turn on the light"
    for settings in (
        {"max_new_tokens": 3},
        {"temperature": 1.5, "seed": 3, "max_new_tokens": 8},
        {"temperature": 2, "top_k": 3, "top_p": 0.9},
    ):
        wanted = writer.language.answer(prompt, Sampling(**{"max_new_tokens": 256, **settings})).document()
        assert writer(prompt, **settings) == wanted  # type: ignore[call-overload]
    drawn = {writer(prompt, temperature=2.0, seed=seed, max_new_tokens=8)["text"] for seed in range(4)}
    assert len(drawn) > 1
    numpy = {
        "max_new_tokens": np.int64(4),
        "temperature": np.float32(1),
        "seed": np.uint8(2),
        "stop": np.array(["x"]),
        "top_k": np.int8(9),
    }
    plain = {"max_new_tokens": 4, "temperature": 1.0, "seed": 2, "stop": "x", "top_k": 9}
    assert writer([prompt], **numpy) == writer([prompt], **plain) == [writer(prompt, **plain)]  # type: ignore[call-overload]
    assert writer(prompt, max_new_tokens=4, temperature=None, top_p=None, seed=None, top_k=None) == writer(
        prompt, max_new_tokens=4
    )
    with pytest.raises(ek.BadInput, match="temperature: only for language models, and this is text-classification"):
        classifier("is it on", temperature=1.0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"temprature": 1.0}, "did you mean temperature"), ({"max_new_tokens": 0}, "max_new_tokens: 0 is not"), ({"top_k": -1}, "top_k"),
        ({"temperature": "hot"}, "temperature: 'hot'"), ({"seed": True}, "seed: True"), ({"top_p": float("nan")}, "top_p: nan"),
        ({"stop": 3}, "stop"), ({"max_new_tokens": 2.0}, "max_new_tokens: 2.0"), ({"temperature": -1}, "temperature: -1"),
    ],
)  # fmt: skip
def test_settings_that_are_none(writer: Model, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ek.BadInput) as caught:
        writer("turn on", **settings)
    assert says in caught.value.text()


@pytest.mark.parametrize("sampling", [None, {"temperature": 1.0}, 0.5])
def test_a_language_model_says_what_sampling_settings_are(writer: Model, sampling: Any) -> None:
    assert writer.language is not None
    with pytest.raises(ek.BadInput, match="give Sampling"):
        writer.language.generate("turn on", sampling)


def test_what_load_takes(classifier: Model) -> None:
    folder = classifier.bundle.folder
    assert load(str(folder), threads=np.int64(1))("is it on") == classifier("is it on")
    for wrong, says in (
        ({"threads": 0}, "threads: 0"), ({"threads": True}, "threads: True"), ({"threads": "2"}, "threads: '2'"), ({"threads": -1}, "threads: -1"),
        ({"prefix_cache": None}, "prefix_cache: None"), ({"prefix_cache": "no"}, "prefix_cache: 'no'"),
    ):  # fmt: skip
        with pytest.raises(ek.BadInput) as caught:
            load(folder, **wrong)  # type: ignore[arg-type]
        assert caught.value.text().startswith(says)
    for path in (None, 3, "", b"bundle"):
        with pytest.raises(ek.BadInput, match=r"path: .* is not a path"):
            load(path)  # type: ignore[arg-type]


def test_what_export_takes(tmp_path: Path) -> None:
    for wrong in ({"measure": None}, {"measure": 1}, {"build": None}, {"build": 3}):
        with pytest.raises(ek.BadInput, match=next(iter(wrong))):
            ek.export("intents", **wrong)
    with pytest.raises(ek.BadInput, match="recipe: None is not a path"):
        ek.export(None)
    with pytest.raises(ek.BadInput, match="no such"):
        ek.export(tmp_path / "none.toml", target="x86-vnni")
