"""Recipes, targets and inventories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from edgekit.config.target import load_target
from edgekit.device.inventory import choose
from edgekit.plan.recipes import load_recipe
from tests.fuzz.door import Door, Files

__all__ = ["DOORS"]

ROOT = Path(__file__).resolve().parents[3]
INVENTORY = b"""[[device]]
name = "pi4"
host = "192.168.1.20"
user = "pi"
port = 22
python = "venv/bin/python"
[[device]]
name = "board-2"
host = "fe80::1%eth0"
identity = "~/.ssh/edge"
host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
connect_seconds = 5
"""


def shipped(folder: str) -> Callable[[], Sequence[Files]]:
    @cache
    def seeds() -> list[Files]:
        return [{path.name: path.read_bytes()} for path in sorted((ROOT / folder).glob("*.toml"))]

    return seeds


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


DOORS = (
    Door("recipe", lambda folder: load_recipe(str(only(folder))), shipped("recipes")),
    Door("target", lambda folder: load_target(str(only(folder))), shipped("targets")),
    Door("inventory", lambda folder: choose([], only(folder)), lambda: [{"devices.toml": INVENTORY}]),
)
