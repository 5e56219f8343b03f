"""The manifest of a language model, and the bundle it opens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.pack.bundle import write_manifest
from edgekit.runtime.bundle.read import parse_manifest
from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.generate.generation import Generation, parse_generation
from edgekit.runtime.model import load
from edgekit.runtime.processors import Asked, processor
from tests.runtime.generate.tiny_decoder import CONTEXT, KV_HEADS, LAYERS, SIZE, TINY, TinyDecoder
from tests.runtime.generate.tiny_language_bundle import make_bundle

GOOD = {
    "context": CONTEXT, "eos": [2], "bos": 1, "layers": LAYERS, "kv_heads": KV_HEADS, "head_size": SIZE, "chat_template": None,
}  # fmt: skip


def faults_of(given: object) -> tuple[str, ...]:
    with pytest.raises(BadInput, match="not the facts of a language model") as caught:
        parse_generation(given)
    return caught.value.faults


def test_a_sound_block() -> None:
    assert parse_generation(GOOD) == TINY
    whole = parse_generation({**GOOD, "eos": [], "bos": None, "chat_template": "chat_template.jinja"})
    assert whole == Generation(CONTEXT, (), None, LAYERS, KV_HEADS, SIZE, "chat_template.jinja")
    assert parse_generation({**GOOD, "cache": "int8"}) == replace(TINY, cache="int8")


@pytest.mark.parametrize(
    "change",
    [
        {"context": 1}, {"context": 12.0}, {"context": True}, {"context": 10**9}, {"layers": 0}, {"kv_heads": "2"}, {"head_size": -1},
        {"eos": 2}, {"eos": [-1]}, {"eos": [2, 2]}, {"eos": [True]}, {"bos": -1}, {"bos": "a"}, {"chat_template": "../a"},
        {"chat_template": 3}, {"chat_template": ""}, {"more": 1}, {"cache": "int4"}, {"cache": 8}, {"cache": ["int8"]},
    ],
)  # fmt: skip
def test_each_fault_is_named(change: dict[str, Any]) -> None:
    (fault,) = faults_of({**GOOD, **change})
    assert fault.startswith(next(iter(change)))


def test_all_faults_at_once() -> None:
    assert len(faults_of({"context": 0, "eos": "x", "seed": 1})) == 8
    assert faults_of([]) == ("the whole: list instead of an object",)


def test_a_bundle_answers(tiny_bundle: Path) -> None:
    model = load(tiny_bundle)
    assert model.language is not None and model.language.generation.context == CONTEXT
    answer = model("a hat")
    assert set(answer) == {"text", "ended", "prompt_tokens", "new_tokens"}
    assert model(["a hat", {"messages": [{"role": "user", "content": "a hat"}]}]) == [answer, answer]


def test_golden_inputs_of_a_language_model_are_scores(tiny_bundle: Path) -> None:
    model = load(tiny_bundle)
    task = processor("text-generation")
    windows = task.prepare(model.reader, "a hat in the inn")
    outputs = model.outputs(windows)
    assert [output.shape for output in outputs] == [(1, len(windows[0].ids) - 1)]
    answer = task.answer(outputs, windows, Asked())
    assert answer["perplexity"] == pytest.approx(np.exp(-outputs[0].mean()), rel=1e-4)
    assert task.line(answer).startswith("perplexity ") and task.line({"text": "so"}) == "so"
    with pytest.raises(CheckFailed, match="shape"):
        task.answer([outputs[0][:, 1:]], windows, Asked())
    with pytest.raises(CheckFailed, match="NaN"):
        task.answer([outputs[0] * np.nan], windows, Asked())
    with pytest.raises(BadInput, match="more than the bundle's 128"):
        model.outputs(task.prepare(model.reader, "hat " * 200))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eos": [9999]}, "eos or bos leaves the vocabulary"),
        ({"chat_template": "other.jinja"}, "'other.jinja' is not among the assets"),
        ({"context": 0}, "edgekit.generation.context"),
    ],
)
def test_manifests_that_cannot_be_trusted(
    tiny_folder: Path, decoder: TinyDecoder, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        make_bundle(tiny_folder, decoder, tmp_path, **change)


def test_the_block_belongs_to_language_models_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    document = json.loads((tiny_bundle / "manifest.json").read_text())
    for task, generation, words in (
        ("text-classification", GOOD, "generation: unknown"),
        ("text-generation", None, "generation: missing"),
    ):
        block = {**document["edgekit"], "task": task, "generation": generation}
        if generation is None:
            del block["generation"]
        write_manifest(tmp_path, {**document, "edgekit": block})
        with pytest.raises(BadInput, match=words):
            parse_manifest(tmp_path)


def test_a_graph_of_another_size_than_the_manifest_says(tiny_folder: Path, decoder: TinyDecoder, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    make_bundle(tiny_folder, decoder, tmp_path / "one", head_size=32)
    with pytest.raises(BadInput, match=r"past.0.key: of shape .*, 16\] instead of .*, 32\]"):
        load(tmp_path / "one")
