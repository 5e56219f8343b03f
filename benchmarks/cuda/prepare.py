"""What travels to a machine with a GPU: bundles for its targets, their test rows, the shapes of PyTorch's peers, and what is distilled."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.bench.variants import seen_from_here

RECIPES = ("clinc150", "wnut17", "stsb")
DECODERS = ("reference-lm",)
INT8 = "-tensorrt"
"""Ends the name of a bundle for target `tensorrt`."""
DISTILLED = "distill"


def prepare(out: Path, build: Path, recipes: Sequence[str | Path] = RECIPES, decoders: Sequence[str | Path] = DECODERS) -> None:
    """Export what is not there yet and lay it out as OUT/RECIPE/{bundle/, test.jsonl, peer/}, language models without peers; the first of
    `recipes` also for target `tensorrt`, and its original and rows as OUT/distill/."""
    for recipe in decoders:
        _lay_out(recipe, "cuda", out / Path(recipe).stem, build, peer=False)
    for recipe in recipes:
        lineage = _lay_out(recipe, "cuda", out / Path(recipe).stem, build, peer=True)
        if recipe == recipes[0]:
            _distillation(lineage, out / DISTILLED, build)
            _lay_out(recipe, "tensorrt", out / f"{Path(recipe).stem}{INT8}", build, peer=True)


def _lay_out(recipe: str | Path, target: str, folder: Path, build: Path, *, peer: bool) -> dict[str, Any]:
    result, lineage = _exported(recipe, target, build)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(result / "bundle", folder / "bundle")
    shutil.copyfile(lineage["rows"], folder / "test.jsonl")
    if peer:
        (folder / "peer").mkdir()
        checkpoint = _stored(build, lineage["chain"][-1])
        for name in ("config.json", "edgekit.json"):
            if (checkpoint / name).is_file():
                shutil.copyfile(checkpoint / name, folder / "peer" / name)
    return lineage


def _distillation(lineage: dict[str, Any], folder: Path, build: Path) -> None:
    """The original, the rows, and the recipe's first distillation with teachers from within."""
    shutil.rmtree(folder, ignore_errors=True)
    original = _stored(build, lineage["chain"][0])
    shutil.copytree(original, folder / "original", ignore=shutil.ignore_patterns("stage.json*", "timing.json*"))
    shutil.copytree(Path(lineage["rows"]).parent, folder / "rows", ignore=shutil.ignore_patterns("stage.json*", "timing.json*"))
    recipe = lineage["recipe"]
    settings = next(step for step in recipe["compress"] if step["method"] == "distill")
    facts = {
        "recipe": recipe["name"], "task": recipe["task"], "seed": recipe["seed"], "max_length": recipe["model"]["max_length"],
        "metric": lineage["variants"]["bundle"]["quality"]["metric"], "settings": settings,
    }  # fmt: skip
    (folder / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _stored(build: Path, key: str) -> Path:
    (found,) = build.glob(f"store/*/{key[:32]}")
    return found


def _exported(recipe: str | Path, target: str, build: Path) -> tuple[Path, dict[str, Any]]:
    """The result folder of `recipe` for `target`, and its lineage, with paths from here."""
    result = build / f"{Path(recipe).stem}-{target}"
    if not (result / "bundle" / "manifest.json").is_file():
        command = [
            sys.executable,
            "-m",
            "edgekit",
            "export",
            str(recipe),
            "--target",
            target,
            "--no-bench",
            "--build",
            str(build),
        ]
        subprocess.run(command, check=True)
    lineage: dict[str, Any] = json.loads((result / "lineage.json").read_text(encoding="utf-8"))
    return result, seen_from_here(lineage, result)
