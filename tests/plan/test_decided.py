"""Who decided how numbers are stored: what the plan says is what the stages do."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.config.target import load_target
from edgekit.plan.decoder import number_format
from edgekit.plan.make import Decided, decided
from edgekit.plan.recipes import recipe_model

DATA = {"train": "a.txt", "validation": "b.txt", "test": "c.txt"}


def settings(task: str, target: str, quantize: dict[str, Any] | None) -> dict[str, Decided]:
    asked: dict[str, Any] = {"schema": 1, "task": task, "model": {"id": "m"}, "data": DATA}
    recipe = recipe_model().model_validate(asked | ({"quantize": quantize} if quantize else {}))
    return decided(recipe, load_target(target))


def said_by(found: dict[str, Decided], who: str) -> set[str]:
    return {name for name, fact in found.items() if fact["from"] == who}


@pytest.mark.parametrize("task", ["text-generation", "text-classification"])
def test_the_accuracy_level_is_the_targets_where_the_recipe_says_none(task: str) -> None:
    found = settings(task, "x86-vnni", {"format": "int4-weights", "rounding": "gptq"})
    assert said_by(found, "recipe") == {"format", "rounding"} and said_by(found, "target") == {"accuracy_level"}
    assert found["accuracy_level"] == {"value": 4, "from": "target"} and found["block"] == {"value": 32, "from": "default"}
    own = settings(task, "x86-vnni", {"format": "int4-weights", "accuracy_level": 0})
    assert own["accuracy_level"] == {"value": 0, "from": "recipe"} and not said_by(own, "target")


def test_without_a_word_of_the_recipe_the_target_decides() -> None:
    found = settings("text-classification", "x86-avx2", None)
    stated = load_target("x86-avx2").quantize
    assert said_by(found, "target") == stated.model_fields_set and not said_by(found, "recipe")
    assert {name: fact["value"] for name, fact in found.items()} == stated.model_dump()


def test_a_language_model_without_a_word_is_told_as_it_is_made() -> None:
    found = settings("text-generation", "x86-vnni", None)
    assert found["format"] == {"value": "int8-weights", "from": "default"} and found["accuracy_level"]["from"] == "target"
    asked: dict[str, Any] = {"schema": 1, "task": "text-generation", "model": {"id": "m"}, "data": DATA}
    made = number_format(recipe_model().model_validate(asked), load_target("x86-vnni"))
    assert {name: fact["value"] for name, fact in found.items()} == made.model_dump()
