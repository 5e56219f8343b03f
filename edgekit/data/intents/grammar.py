"""The grammar of the corpus: frames with slots, read from the tables in `frames/`.

A frame is a line such as `(turn|switch) the {device} on`. `(a|b|)` is a paraphrase, `{device}` a slot. A slot that
occurs twice in one utterance is filled with two different values.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import TypeVar

__all__ = ["KINDS", "Core", "Grammar", "Intent", "choose", "fill", "load_grammar"]

KINDS = ("command", "contrast", "question", "statement")
"""Moods. Only a command may be named inside another utterance; a contrast is a command that names another thing itself."""
DOMAINS = ("lights", "climate", "time", "plans", "people", "media", "home", "other")
PARAPHRASE = re.compile(r"\(([^()]*)\)")
SLOT = re.compile(r"\{(\w+)\}")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Intent:
    """One class: its frames by mood, the intents that it is easily taken for, and its share of the corpus."""

    name: str
    frames: dict[str, tuple[str, ...]]
    rivals: tuple[str, ...]
    weight: int


@dataclass(frozen=True)
class Grammar:
    """All frames. `nameable`: intents whose commands may stand inside another utterance."""

    intents: dict[str, Intent]
    slots: dict[str, tuple[str, ...]]
    polite: dict[str, tuple[str, ...]]
    compounds: tuple[str, ...]
    nameable: tuple[str, ...]


@dataclass(frozen=True)
class Core:
    """An utterance before politeness and misspelling. `key` names its frame and slot values, but not its paraphrase."""

    text: str
    key: str


@cache
def load_grammar() -> Grammar:
    """The grammar in the package."""
    folder = files("edgekit.data.intents") / "frames"

    def table(name: str) -> dict[str, dict[str, list[str]]]:
        return tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))

    intents: dict[str, Intent] = {}
    for domain in DOMAINS:
        for name, entry in table(domain).items():
            frames = {kind: tuple(entry[kind]) for kind in KINDS if kind in entry}
            weight = entry.get("weight", 1)
            intents[name] = Intent(name, frames, tuple(entry.get("rivals", ())), weight if isinstance(weight, int) else 1)
    wrappers = table("wrappers")
    return Grammar(
        intents=intents,
        slots={name: tuple(values) for name, values in table("slots").items()},
        polite={kind: tuple(wrappers["politeness"]["command" if kind == "contrast" else kind]) for kind in KINDS},
        compounds=tuple(wrappers["compound"]["forms"]),
        nameable=tuple(name for name, intent in intents.items() if intent.rivals and "command" in intent.frames),
    )


def choose(random: Random, values: Sequence[Value]) -> Value:
    """One of `values`. Uses `random()` alone, whose stream Python promises to keep over its versions."""
    return values[int(random.random() * len(values))]


def fill(grammar: Grammar, frame: str, random: Random) -> Core:
    """Choose a paraphrase and slot values for `frame`; `{command}` becomes a whole command of some nameable intent."""
    text = frame
    while match := PARAPHRASE.search(text):
        text = text[: match.start()] + choose(random, match[1].split("|")) + text[match.end() :]
    used: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match[1] == "command":
            intent = grammar.intents[choose(random, grammar.nameable)]
            named = fill(grammar, choose(random, intent.frames["command"]), random)
            used.append(named.key)
            return named.text
        chosen = choose(random, [value for value in grammar.slots[match[1]] if value not in used])
        used.append(chosen)
        return chosen

    text = " ".join(SLOT.sub(value, text).split())
    text = re.sub(r"\b(the|a) (?:the|an?) ", r"\1 ", text)
    return Core(re.sub(r"\ba (?=[aeiou])", "an ", text), "|".join([frame, *used]))
