"""A small bundle of every task, by the recipes' own way: rows, training, lowering, quantization, audit, packing.

The models are tiny and their sizes odd (72 wide, 104 neurons, heads of 18), so that a kernel's whole blocks and its remainders
both run. What they have learned does not matter: a lane compares numbers with numbers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.config.recipe import recipe_names
from edgekit.config.target import target_names
from edgekit.pipeline.run import run_recipe
from edgekit.progress import Show
from lanes.pictures import make_model
from lanes.rows import SPLITS, rows_of
from lanes.sounds import HEARD

__all__ = ["CASES", "OTHER_TASKS", "WITHOUT_TEXT", "Case", "make_bundles", "real_bundles"]

ENCODER = "layers = 2\nwidth = 72\nheads = 4\nneurons = 104\nvocabulary = 300\nepochs = 4\nlearning_rate = 3e-3\nbatch = 16\n"
DECODER = "layers = 2\nwidth = 96\nheads = 3\nneurons = 160\nvocabulary = 300\nepochs = 2\nlearning_rate = 3e-3\nbatch = 16\n"
HEARER = "layers = 2\nwidth = 72\nheads = 4\nneurons = 104\nepochs = 4\nlearning_rate = 3e-3\nbatch = 16\n"
"""The encoder of sounds, which has no vocabulary."""


SHIFT = 2.0
"""Standard deviations that the extreme model's activations are moved by."""


@dataclass(frozen=True)
class Case:
    """One bundle of a lane: a task, and what its recipe asks for instead of the target's own numbers."""

    name: str
    task: str
    quantize: str = ""
    """The body of the recipe's [quantize]; "" leaves the choice to the target."""
    encoder_of: str = ""
    """Name of the case whose trained model is taken, where the task trains none of its own."""
    rows: str = ""
    """What `rows_of` calls its rows, where that is not the task."""
    extreme: bool = False
    """Whether that model's layers are changed so that every product of theirs is near the ends of its range."""


CASES = (
    Case("text-classification", "text-classification"),
    Case("text-classification-static", "text-classification", quantize='mode = "static"\n'),
    Case("token-classification", "token-classification"),
    Case("question-answering", "question-answering"),
    Case("feature-extraction", "feature-extraction", encoder_of="text-classification"),
    Case("text-generation", "text-generation"),
    Case("text-generation-int4", "text-generation", quantize='format = "int4-weights"\n'),
)

WITHOUT_TEXT = (
    Case("image-classification", "image-classification"),
    Case("image-classification-static", "image-classification", quantize='mode = "static"\n'),
    Case("audio-classification", "audio-classification"),
)
"""Images and sounds, which browsers do not read yet."""


OTHER_TASKS = (
    Case("entailment", "text-classification", rows="entailment"),
    Case("multi-label-classification", "multi-label-classification"),
    Case("text-regression", "text-regression"),
    Case("text-ranking", "text-ranking"),
    Case("zero-shot-classification", "zero-shot-classification", encoder_of="entailment"),
)
"""The tasks that differ from those of CASES in what is read and answered alone: no kernel of theirs is another."""


def make_bundles(
    build: Path,
    targets: Sequence[str],
    show: Show,
    cases: Sequence[Case] = CASES,
    *,
    known: Mapping[tuple[str, str], Path] | None = None,
) -> dict[tuple[str, str], Path]:
    """Result folder of each (case, target), below `build`; stages that are there already are not run again.

    `known` are cases made before, which `encoder_of` may name.

    Raises:
        EdgekitError: as `edgekit export`.
    """
    places: dict[tuple[str, str], Path] = {}
    for case in cases:
        folder = build / "recipes" / case.name
        folder.mkdir(parents=True, exist_ok=True)
        rows = rows_of(case.rows or case.task)
        for split, which in SPLITS.items():
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[which]), encoding="utf-8")
        model = f"[model.new]\n{DECODER if case.task == 'text-generation' else ENCODER}"
        if case.task == "image-classification":
            model = f'id = "{make_model(folder / "model").resolve()}"\n'
        if case.task == "audio-classification":
            model = f"[model.new]\n{HEARER}[model.new.sound]\n{HEARD}"
        if case.encoder_of:
            source = _trained({**(known or {}), **places}[case.encoder_of, targets[0]])
            if case.extreme:
                _push_apart(source, folder / "model")
                source = folder / "model"
            model = f'id = "{source.resolve()}"\n'
        path = folder / f"{case.name}.toml"
        path.write_text(_recipe(case, model, targets[0]), encoding="utf-8")
        made = run_recipe(str(path), list(targets), build, measure=False, show=show)
        places |= {(case.name, target): result.path for target, result in zip(targets, made, strict=True)}
    return places


def real_bundles(build: Path, targets: Sequence[str], show: Show) -> dict[tuple[str, str], Path]:
    """Result folder of each (recipe, target) of the shipped recipes that have a result in `build`; what is missing is run.

    Raises:
        EdgekitError: as `edgekit export`.
    """
    places: dict[tuple[str, str], Path] = {}
    for recipe in recipe_names():
        if any(path.parent.name.removeprefix(f"{recipe}-") in target_names() for path in build.glob(f"{recipe}-*/bundle")):
            made = run_recipe(recipe, list(targets), build, measure=False, show=show)
            places |= {(recipe, target): result.path for target, result in zip(targets, made, strict=True)}
    return places


def _recipe(case: Case, model: str, target: str) -> str:
    quantize = case.quantize
    if "static" in quantize and target == "x86-avx2":  # a recipe's table stands for the whole of the target's
        quantize += "reduce_range = true\n"
    splits = "".join(f'{split} = "{split}.jsonl"\n' for split in SPLITS)
    length = "" if case.task in {one.task for one in WITHOUT_TEXT} else "max_length = 48\n"
    return f'schema = 1\ntask = "{case.task}"\n[model]\n{length}{model}[data]\n{splits}' + (
        f"[quantize]\n{quantize}" if quantize else ""
    )


def _trained(result: Path) -> Path:
    """The checkpoint that a result's chain begins with."""
    lineage = json.loads((result / "lineage.json").read_text(encoding="utf-8"))
    return result / str(lineage["variants"]["eager-fp32"]["folder"])


def _push_apart(source: Path, out: Path) -> None:
    """A copy of a checkpoint with every product near the ends of its range.

    The layers' weights are their own mean magnitude, plus or minus, so that in 8 bits all are near +-127; what they multiply is
    moved off zero, so that in 8 bits most of it is in the upper half.
    """
    import numpy as np
    from safetensors.numpy import load_file, save_file

    shutil.copytree(source, out, dirs_exist_ok=True)
    tensors = load_file(source / "model.safetensors")
    for name, tensor in tensors.items():
        if ".layer." in name and tensor.ndim == 2:
            tensors[name] = (np.where(tensor < 0, -1, 1) * np.abs(tensor).mean()).astype(tensor.dtype)
        if name.endswith("LayerNorm.bias"):
            tensors[name] = tensor + tensor.dtype.type(SHIFT)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
