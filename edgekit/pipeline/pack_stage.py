"""The last stage of a target: the packed bundle, its archive and the runner."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from edgekit.config.recipe import Recipe
from edgekit.plan.decoder import BESIDE
from edgekit.plan.plan import BASELINE, BUNDLE, EVIDENCE, HostFacts, Plan, TargetPlan
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.runtime.bundle.names import GENERATION, MODEL
from edgekit.runtime.generate.generation import parse_generation
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.names import CPU
from edgekit.store import Context, Stage

__all__ = ["PACKED", "pack_stage"]

PACKED = "bundle"
"""Folder of the unpacked bundle."""
TOOLS = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript", "tokenizers", "numpy")


@dataclass(frozen=True)
class PackSettings:
    """What a bundle depends on beside its inputs and the target."""

    name: str
    recipe: Recipe
    version: str
    """Of edgekit."""
    runtime: str
    """Digest of edgekit's own sources that are packed."""
    host: HostFacts


def pack_stage(plan: Plan, item: TargetPlan, host: HostFacts) -> Stage:
    """The stage that writes the bundle, its archive and the runner."""
    recipe, target, last = plan.recipe, item.target, item.variants[BUNDLE]

    def run(context: Context) -> JsonObject:
        from edgekit.models.files import input_names
        from edgekit.pack.archive import write_archive
        from edgekit.pack.bundle import write_bundle
        from edgekit.pack.card import write_card
        from edgekit.pack.golden import make_golden, make_golden_texts, tolerance
        from edgekit.pack.runner import write_runner
        from edgekit.tasks import find_task
        from edgekit.tasks.encode import labels_of, read_split

        checkpoint, model = context.inputs["checkpoint"], context.inputs["model"] / MODEL
        config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        data = json.loads((context.inputs["rows"] / "data.json").read_text(encoding="utf-8"))
        audit = json.loads((context.inputs["audit"] / "audit.json").read_text(encoding="utf-8"))
        task = find_task(recipe.task)
        labels = labels_of(checkpoint) if task.named else []
        pad_id = config.get("pad_token_id") or 0
        items = [item for row in read_split(context.inputs["rows"], "test") for item in task.items(row)]
        names = input_names(checkpoint, pairs=task.pairs)
        beside = {path.name: path for path in model.parent.iterdir() if path.name in BESIDE}
        generation = json.loads(beside[GENERATION].read_text(encoding="utf-8")) if GENERATION in beside else None
        if generation is not None:
            parsed = parse_generation(generation, [])
            golden = make_golden_texts(model.parent, checkpoint / "tokenizer.json", parsed, list(map(str, items)))
        else:
            provider = _provider_here(target.provider)
            golden = make_golden(
                model, checkpoint / "tokenizer.json", task.name, items, labels,
                max_length=recipe.model.max_length, provider=provider, config=target.stand_in if provider != target.provider else None,
            )  # fmt: skip
        before, after = (
            np.load(context.inputs[name] / EVIDENCE, allow_pickle=False) for name in ("score_original", "score_bundle")
        )
        calibration = json.loads((context.inputs["calibration"] / "stage.json").read_text(encoding="utf-8"))["metrics"]
        axes = ["batch", "sequence"]
        width = _width(golden) if generation is None else config["vocab_size"]
        block: dict[str, Any] = {
            "version": edgekit.__version__,
            "task": recipe.task,
            "labels": labels,
            "target": {
                "name": target.name, "arch": target.arch, "isa": list(target.isa), "isa_any": list(target.isa_any), "provider": target.provider,
            },
            "tokenizer": {"file": "tokenizer.json", "max_length": recipe.model.max_length, "pad_id": pad_id, "pad_token": _token(checkpoint, pad_id)},
            "inputs": [{"name": name, "dtype": "int64", "axes": axes} for name in names],
            "outputs": [{"name": task.output, "dtype": "float32", "axes": [*(axes if task.per_token else axes[:1]), width]}],
            "vocabulary": config["vocab_size"],
            "opset": 20,
            "onnxruntime": {"min": "1.30", "max": metadata.version("onnxruntime")},
            "source": {"model": _model_name(recipe), "revision": recipe.model.revision, "key": plan.original.key},
            "data": {split: facts["sha256"] for split, facts in data["splits"].items()},
            "calibration": calibration,
            "recipe": recipe.model_dump(mode="json", by_alias=True),
            "quality": {
                "metric": task.metric_on(data["columns"]), "n": len(after), "original": task.reduce(before), "bundle": task.reduce(after),
                **paired_difference(before, after, recipe.seed, task.reduce),
                **plan.lowering.agreement(context.inputs["score_original"], context.inputs["score_bundle"], recipe.seed),
                **_scored_on(context.inputs["score_bundle"], target.provider),
            },
            "golden": {"file": "golden.json", "count": len(golden["rows"]), "tolerance": tolerance(golden, target.tolerance)},
            "licence": recipe.model.licence,
            "tools": {tool: metadata.version(tool) for tool in TOOLS},
        }  # fmt: skip
        if generation is not None:
            block["generation"] = generation
        name = f"{plan.name}-{target.name}"
        folder = context.out / PACKED
        folder.mkdir()
        files = {name: path for name, path in beside.items() if name != GENERATION} | {
            MODEL: model,
            "tokenizer.json": checkpoint / "tokenizer.json",
            "config.json": checkpoint / "config.json",
        }
        session = {"intra_op_num_threads": target.session.threads, "config": dict(target.session.config)}
        write_bundle(
            folder,
            name=name,
            files=files | {"audit.json": context.inputs["audit"] / "audit.json"},
            texts={"golden.json": json.dumps(golden, ensure_ascii=False) + "\n", "README.md": write_card(name, block, audit)},
            variant={"file": MODEL, "execution_provider": target.provider, "session_options": session},
            block=block,
        )
        write_archive(folder, context.out / "bundle.tar.gz")
        write_runner(context.out / "runner.pyz")
        return {"bytes": sum(path.stat().st_size for path in folder.iterdir()), "quality": block["quality"]}

    return Stage(
        "pack",
        f"pack the bundle for {target.name}",
        run,
        version=4,
        settings=PackSettings(plan.name, recipe, edgekit.__version__, _own_sources(), host),
        inputs={
            "model": last.model, "checkpoint": last.checkpoint, "rows": plan.rows, "audit": item.audit, "calibration": item.calibration,
            "score_original": item.variants[BASELINE].score, "score_bundle": last.score,
        },
        target_fields=target.model_dump(mode="json", exclude={"title", "rank"}),
        tools=TOOLS,
    )  # fmt: skip


def _scored_on(score: Path, provider: str) -> dict[str, str]:
    """The provider whose kernels the bundle was scored with, where they are not its own."""
    used = json.loads((score / "stage.json").read_text(encoding="utf-8"))["metrics"].get("provider", CPU)
    return {} if used == provider else {"scored_on": used}


def _model_name(recipe: Recipe) -> str:
    return Path(recipe.model.id).name if recipe.model.id else "trained by the recipe"


def _width(golden: dict[str, Any]) -> int:
    """Numbers of an output for each pass, or for each of its tokens."""
    return int(np.asarray(golden["rows"][0]["outputs"][0]).shape[-1])


def _token(checkpoint: Path, number: int) -> str:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(checkpoint / "tokenizer.json")).id_to_token(number) or ""


def _provider_here(provider: str) -> str:
    from edgekit.host import detect

    return provider if provider in detect().providers else CPU


def _own_sources() -> str:
    """Digest of what is packed from edgekit's own sources, so that a changed runtime makes a new runner."""
    total = hashlib.sha256()
    for path in sorted((Path(edgekit.__file__).parent / "runtime").rglob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()
