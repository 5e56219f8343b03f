"""From stages to a result folder: the packed bundle and its lineage."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from edgekit.config.recipe import Recipe
from edgekit.plan.decoder import BESIDE
from edgekit.plan.plan import EVIDENCE, Plan, TargetPlan, Variant
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.runtime.bundle.names import GENERATION, MODEL
from edgekit.runtime.generate.generation import parse_generation
from edgekit.runtime.providers.names import CPU
from edgekit.store import Artifact, Context, Stage

__all__ = ["PACKED", "lay_out", "lineage_of", "pack_stage"]

PACKED = "bundle"
BASE = "ort-fp32"
TOOLS = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript", "tokenizers", "numpy")


@dataclass(frozen=True)
class PackSettings:
    """What a bundle depends on beside its inputs and the target."""

    name: str
    recipe: Recipe
    runtime: str
    """Digest of edgekit's own sources that are packed."""


def pack_stage(plan: Plan, item: TargetPlan, host: Mapping[str, Any]) -> Stage:
    """The stage that writes the bundle, its archive and the runner."""
    recipe, target, last = plan.recipe, item.target, item.variants["bundle"]

    def run(context: Context) -> dict[str, Any]:
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
        generation = json.loads(beside[GENERATION].read_text(encoding="utf-8")) if task.kind == "decoder" else None
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
                **_greedy(task, context.inputs["score_original"], context.inputs["score_bundle"], recipe.seed),
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
        settings=PackSettings(plan.name, recipe, _own_sources()),
        inputs={
            "model": last.model, "checkpoint": last.checkpoint, "rows": plan.rows, "audit": item.audit, "calibration": item.calibration,
            "score_original": item.variants[BASE].score, "score_bundle": last.score,
        },
        external={"host": json.dumps(host, sort_keys=True)},
        target_fields=target.model_dump(mode="json", exclude={"title", "rank"}),
        tools=TOOLS,
    )  # fmt: skip


def lay_out(packed: Path, folder: Path) -> bool:
    """Bring the packed files into the result folder; returns whether anything changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = False
    for name in (PACKED, "bundle.tar.gz", "runner.pyz"):
        source, target = packed / name, folder / name
        if _digest(source) == _digest(target):
            continue
        changed = True
        fresh = folder / f".{name}.new"
        _remove(fresh)
        shutil.copytree(source, fresh) if source.is_dir() else shutil.copy(source, fresh)
        _remove(target)
        fresh.rename(target)
    return changed


def lineage_of(
    plan: Plan, item: TargetPlan, done: Mapping[str, Artifact], fresh: set[str], *, changed: bool, previous: Path
) -> dict[str, Any] | None:
    """The lineage document: every stage with its time and figures, every variant with its files and quality.

    None where nothing ran and the previous one stands. Paths are absolute: the document is for this machine.
    """
    if not fresh and not changed and previous.is_file():
        return None
    rows = done[plan.rows.key].path / "test.jsonl"
    scored = done[item.variants[BASE].score.key].path
    base = np.load(scored / EVIDENCE, allow_pickle=False)
    original = done[plan.original.key].path
    from edgekit.tasks import find_task

    task = find_task(plan.recipe.task)
    metric = task.metric_on(json.loads(rows.with_name("data.json").read_text(encoding="utf-8"))["columns"])
    variants: dict[str, Any] = {}
    for name, variant in item.variants.items():
        folder = _variant_folder(variant, done, previous.parent / "variants" / name)
        found = np.load(done[variant.score.key].path / EVIDENCE, allow_pickle=False)
        quality = {
            "metric": metric,
            "value": task.reduce(found),
            "n": len(found),
            **paired_difference(base, found, plan.recipe.seed, task.reduce),
            **_greedy(task, scored, done[variant.score.key].path, plan.recipe.seed),
        }
        variants[name] = {
            "kind": "onnx",
            "title": variant.title,
            "folder": str(folder),
            "file": MODEL,
            "quality": quality,
        }
    eager = {"kind": "edgekit.tasks:eager_predictor", "title": "PyTorch eager fp32 of the original", "folder": str(original.resolve()),
             "file": "model.safetensors", "quality": variants[BASE]["quality"]}  # fmt: skip
    stages = []
    for stage in plan.stages(item):
        artifact = done[stage.key]
        stages.append(
            {
                "stage": stage.name, "title": stage.title, "key": artifact.key, "path": str(artifact.path.resolve()),
                "hit": artifact.key not in fresh, "seconds": artifact.seconds, "metrics": dict(artifact.metrics),
            }
        )  # fmt: skip
    from edgekit.host import detect

    return {
        "schema_version": 1,
        "recipe": {"name": plan.name, **plan.recipe.model_dump(mode="json", by_alias=True)},
        "target": item.target.model_dump(mode="json", by_alias=True),
        "timed_here": item.timed,
        "lacks": item.target.lacks(detect()),
        "rows": str(rows.resolve()),
        "max_length": plan.recipe.model.max_length,
        "stages": stages,
        "chain": [stage.key for stage in (plan.original, *plan.compressed)],
        "variants": {"eager-fp32": eager, **variants},
    }


def _variant_folder(variant: Variant, done: Mapping[str, Artifact], folder: Path) -> Path:
    """A folder with the variant's model and tokenizer side by side, as a device would hold them (links, not copies)."""
    _remove(folder)
    folder.mkdir(parents=True)
    model = done[variant.model.key].path / MODEL
    (folder / MODEL).symlink_to(model.resolve())
    for beside in (model.with_name(f"{model.name}.data"), model.with_name(GENERATION)):
        if beside.is_file():
            (folder / beside.name).symlink_to(beside.resolve())
    (folder / "tokenizer.json").symlink_to((done[variant.checkpoint.key].path / "tokenizer.json").resolve())
    return folder.resolve()


def _greedy(task: Any, original: Path, other: Path, seed: int) -> dict[str, Any]:
    """How often a language model says what the original says; nothing for other tasks."""
    if task.kind == "encoder":
        return {}
    from edgekit.bench.greedy import agreement

    return {"greedy": agreement(original, other, EVIDENCE, seed)}


def _scored_on(score: Path, provider: str) -> dict[str, str]:
    """The provider whose kernels the bundle was scored with, where they are not its own."""
    used = json.loads((score / "stage.json").read_text(encoding="utf-8"))["metrics"].get("provider", CPU)
    return {} if used == provider else {"scored_on": used}


def _model_name(recipe: Any) -> str:
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


def _digest(path: Path) -> str | None:
    if path.is_dir():
        return json.dumps({entry.name: _digest(entry) for entry in sorted(path.iterdir())})
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
