"""What guesses of next tokens give on texts: the same answers made plainly and with guesses, one after the other in a drawn order.

Each text's first half is the prompt, its likeliest tokens are made after it, and what is timed is from the first one to the last. End
tokens are not obeyed. Both sides keep what they learn from one prompt to the next, as a server does; the first prompt warms up and is left out.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.generate.cache import Prefixes
from edgekit.runtime.generate.model import LanguageModel
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.model import load

__all__ = ["measure_guesses"]

LEAST, MOST = 4, 64
"""Prompts that are asked, however long they take, and at most."""
TOKENS = 64
"""Made after each, where the context has room."""


def measure_guesses(spec: dict[str, Any]) -> dict[str, Any]:
    """Of each prompt the milliseconds plainly and with guesses, tokens, guesses read and those that were right; "off": why none are read.

    Keys of `spec`: folder (of the bundle), items (texts, as JSON lines), threads, seconds, seed.

    Raises:
        CheckFailed: a guess changed an answer.
    """
    language = load(spec["folder"], threads=spec["threads"]).language
    assert language is not None and language.speculation is not None, "a bundle of this task has both"
    plain = replace(language, generation=replace(language.generation, eos=()), prefixes=Prefixes(), speculation=None)
    guessing = replace(plain, prefixes=Prefixes(), speculation=language.speculation)
    draw, prompts = np.random.default_rng(spec["seed"]), _prompts(language, Path(spec["items"]))
    found = dict[str, list[Any]](plain_ms=[], guessed_ms=[], tokens=[], drafted=[], accepted=[])
    until = time.perf_counter() + spec["seconds"]
    for number, ids in enumerate(prompts[place] for place in draw.permutation(len(prompts))[: MOST + 1]):
        if language.speculation.fault is not None or (number > LEAST and time.perf_counter() > until):
            break
        limit = Sampling(max_new_tokens=min(TOKENS, language.generation.context - len(ids)))
        asked: dict[bool, tuple[float, tuple[int, ...], int, int]] = {}
        for guesses in draw.permutation([True, False]):
            asked[bool(guesses)] = _ask(guessing if guesses else plain, ids, limit)
        (before, tokens, _, _), (after, others, drafted, accepted) = asked[False], asked[True]
        if tokens != others:
            raise CheckFailed(
                "guesses of next tokens changed an answer", where=f"bench, {spec['folder']}", fix='load with speculate="off"'
            )
        if number:
            for name, value in zip(found, (before, after, len(tokens) - 1, drafted, accepted), strict=True):
                found[name].append(value)
    return {**found, "off": language.speculation.fault}


def _prompts(language: LanguageModel, items: Path) -> list[np.ndarray]:
    """The first half of each text, which leaves room for as many tokens as it has."""
    with items.open(encoding="utf-8") as file:
        texts = [str(json.loads(line)) for line in file]
    most = language.generation.context // 2
    halves = [ids[: min(len(ids) // 2, most)] for ids in map(language.encode, texts[: 4 * MOST])]
    return [ids for ids in halves if len(ids)] or [language.encode(texts[0])[:most]]


def _ask(model: LanguageModel, ids: np.ndarray, sampling: Sampling) -> tuple[float, tuple[int, ...], int, int]:
    """(milliseconds from the first token to the last, all tokens, guesses read, those that were right)."""
    pieces, start = [], 0.0
    for piece in model.stream(ids, sampling):
        start = start or time.perf_counter()
        pieces.append(piece)
    took = (time.perf_counter() - start) * 1000
    tokens = tuple(piece.token for piece in pieces if piece.token is not None)
    return took, tokens, sum(piece.drafted for piece in pieces), sum(piece.accepted for piece in pieces)
