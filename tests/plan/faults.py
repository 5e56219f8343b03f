"""A recipe's faults, with the facts of its model read as a plan reads them."""

from __future__ import annotations

from typing import Any

from edgekit.config.recipe import Recipe
from edgekit.config.target import Target
from edgekit.plan.check import faults_of
from edgekit.plan.facts import original_facts


def faults_in(recipe: Recipe, model: str | None = None, targets: tuple[Target, ...] = (), **about: Any) -> list[str]:
    """Faults of `recipe`, whose source is the folder or hub id `model`."""
    return faults_of(recipe, list(targets), original_facts(recipe, model), **about)
