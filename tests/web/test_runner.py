"""Bundles of an earlier release in Node: verified there, with Python's answers; refused with a bit changed, and wrong calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.runtime.bundle.verify import said
from edgekit.runtime.model import load
from tests.web.node import ran, released

NAMES = ("classifier", "tagger")
INPUTS = ["turn on the red light in the kitchen", "Straße ΟΔΟΣ 🙂 \u200b 北京", "word " * 200_000]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: released(name, tmp_path_factory.mktemp(name)) for name in NAMES}


@pytest.fixture(scope="module")
def found(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    job = {"bundles": {name: str(path) for name, path in bundles.items()}, "inputs": INPUTS}
    return ran("bundles.mjs", job, tmp_path_factory.mktemp("node"))


@pytest.mark.parametrize("name", NAMES)
def test_golden_inputs_hold_in_node(name: str, found: Any) -> None:
    verified = found[name]["verified"]
    assert verified["ok"] and verified["golden"] > 0, verified
    assert verified["difference"] <= verified["tolerance"]
    assert found[name]["fromBytes"] is True
    assert found[name]["notes"] == []


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_python(name: str, found: Any, bundles: dict[str, Path]) -> None:
    model = load(bundles[name])
    for text, there in zip(INPUTS, found[name]["answers"], strict=True):
        here = model(text)
        assert said(here) == said(there)
        assert here.get("truncated") == there.get("truncated")


@pytest.mark.parametrize("name", NAMES)
def test_a_bit_in_any_file_is_noticed_before_it_is_used(name: str, found: Any) -> None:
    flipped = found[name]["flipped"]
    assert len(flipped) >= 12
    for file, refusal in flipped.items():
        assert isinstance(refusal, dict) and refusal["error"] in ("CheckFailed", "BadInput"), (file, refusal)


def test_wrong_calls_are_refused_in_words(found: Any) -> None:
    bad = [refusal["text"] for refusal in found["classifier"]["bad"]]
    words = [
        "empty",
        "empty",
        "must be a string",
        "surrogates",
        "not a pair",
        "top_k",
        "unknown setting",
        "unknown option",
        "cannot be read",
        "threads",
    ]
    assert [word for word, text in zip(words, bad, strict=True) if word not in text] == []
    assert "closed" in found["classifier"]["closed"]["text"]
