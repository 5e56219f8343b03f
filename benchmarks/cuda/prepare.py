"""What travels to a machine with a GPU: bundles for target `cuda`, their test rows, and the shapes of PyTorch's peers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from half_bundle import half_bundle

from edgekit.target import load_target

RECIPES = ("clinc150", "wnut17", "stsb")
DECODERS = ("reference-lm",)


def prepare(out: Path, build: Path, recipes: tuple[str, ...] = RECIPES, decoders: tuple[str, ...] = DECODERS) -> None:
    """Export what is not there yet and lay it out as OUT/RECIPE/{bundle/, test.jsonl, peer/}, language models without peers."""
    for recipe in decoders:
        result, lineage = _exported(recipe, "x86-vnni", build)
        folder = out / recipe
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        half_bundle(result / "bundle", folder / "bundle", load_target("cuda").tolerance)
        shutil.copyfile(lineage["rows"], folder / "test.jsonl")
    for recipe in recipes:
        result, lineage = _exported(recipe, "cuda", build)
        folder = out / recipe
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(result / "bundle", folder / "bundle")
        shutil.copyfile(lineage["rows"], folder / "test.jsonl")
        (folder / "peer").mkdir()
        (checkpoint,) = build.glob(f"store/*/{lineage['chain'][-1][:32]}")
        for name in ("config.json", "edgekit.json"):
            if (checkpoint / name).is_file():
                shutil.copyfile(checkpoint / name, folder / "peer" / name)


def _exported(recipe: str, target: str, build: Path) -> tuple[Path, dict[str, Any]]:
    """The result folder of `recipe` for `target`, and its lineage."""
    result = build / f"{recipe}-{target}"
    if not (result / "bundle" / "manifest.json").is_file():
        command = [sys.executable, "-m", "edgekit", "export", recipe, "--target", target, "--no-bench", "--build", str(build)]
        subprocess.run(command, check=True)
    lineage: dict[str, Any] = json.loads((result / "lineage.json").read_text(encoding="utf-8"))
    return result, lineage
