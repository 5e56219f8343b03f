"""A language model in Node: the draws of the same seed, texts held back at stops, golden inputs, and the tokens of Python in one order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.runtime.generate.detokenise import Stops
from edgekit.runtime.generate.sample import Sampler, parse_sampling
from edgekit.runtime.model import load
from tests.web.node import ran, released

SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.8, "seed": 3},
    {"temperature": 1.0, "top_k": 7, "seed": 2**40 + 1},
    {"temperature": 1.3, "top_p": 0.7},
    {"temperature": 0.9, "min_p": 0.2, "repetition_penalty": 1.3},
    {"temperature": 0.05, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "logit_bias": {"3": 5, "9": -4.5}},
    {"repetition_penalty": 1.5, "logit_bias": {"1": 2.5}},
]
PROMPT = [1, 5, 5, 9]
PIECES = [("a st", ""), ("", ""), ("op her", ""), ("e STO", "<end>"), ("P and", ""), ("on", "")]
STOPS = ["STOP", "<end>", "her e"]
ASKS: list[tuple[str, dict[str, Any]]] = [
    ("turn on the", {"max_new_tokens": 12}),
    ("the red lamp 🙂", {"max_new_tokens": 12}),
    ("turn", {"max_new_tokens": 20, "stop": ["the"]}),
]
WRONG: list[tuple[Any, dict[str, Any]]] = [
    ("", {}),
    (7, {}),
    ("a b", {"temperature": -1, "tempo": 2}),
    ("word " * 5000, {}),
]


def test_the_same_seed_draws_the_same_tokens(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (40, 50)).round(2).astype(np.float32)
    job = {"logits": logits.tolist(), "prompt": PROMPT, "settings": SETTINGS, "pieces": PIECES, "stops": STOPS}
    found = ran("draws.mjs", job, tmp_path)
    for settings, tokens in zip(SETTINGS, found["tokens"], strict=True):
        sampler = Sampler(parse_sampling(dict(settings)), np.array(PROMPT), logits.shape[1])
        assert [sampler.choose(row) for row in logits] == tokens, settings
    stops = Stops(tuple(STOPS))
    texts = [stops.push(text, hidden=hidden) for text, hidden in PIECES]
    assert [*texts, stops.finish()] == found["texts"]
    assert stops.found is found["found"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return released("writer", tmp_path_factory.mktemp("writer"))


@pytest.fixture(scope="module")
def found(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ran("writer.mjs", {"bundle": str(bundle), "asks": ASKS, "wrong": WRONG}, tmp_path_factory.mktemp("node"))


def test_golden_inputs_hold_in_node(found: Any) -> None:
    assert found["verified"].get("ok"), found["verified"]
    assert found["verified"]["difference"] <= found["verified"]["tolerance"]


def test_answers_are_those_of_python(found: Any, bundle: Path) -> None:
    model = load(bundle)
    for (prompt, settings), there in zip(ASKS, found["answers"], strict=True):
        assert model(prompt, **settings) == there
    pieces = found["pieces"]
    assert "".join(piece["text"] for piece in pieces) == found["answers"][0]["text"]
    assert [piece["ended"] for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1]["ended"] == found["answers"][0]["ended"]


def test_wrong_prompts_and_settings_are_refused_in_words(found: Any) -> None:
    words = ["empty", "must be a string", "tempo: unknown", "context"]
    texts = [refusal["text"] for refusal in found["wrong"]]
    assert [word for word, text in zip(words, texts, strict=True) if word not in text] == []
