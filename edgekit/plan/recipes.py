"""Recipes as files: parsed with the settings of every compression method there is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from edgekit.compress.registry import methods
from edgekit.config.recipe import Recipe, recipe_of
from edgekit.config.shipped import shipped_file
from edgekit.config.toml import load_toml

__all__ = ["load_recipe", "recipe_model"]


@cache
def recipe_model() -> type[Recipe]:
    """The recipe whose steps may be any compression method.

    Raises:
        BadInput: an installed package brings a method that cannot be used.
    """
    return recipe_of(method.settings for method in methods().values())


def load_recipe(name_or_path: str) -> tuple[str, Path, Recipe]:
    """(name, path, recipe) of a shipped recipe by name, or of any `.toml` file by path.

    Raises:
        BadInput: unknown name, or a file with faults.
    """
    path = shipped_file("recipes", name_or_path)
    return path.stem, path, load_toml(path, recipe_model())
