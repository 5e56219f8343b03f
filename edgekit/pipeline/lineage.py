"""The lineage of a result: every stage with its time and figures, every variant with its files and quality."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekit.bench.variants import EAGER
from edgekit.host import detect
from edgekit.pipeline.execute import Finished
from edgekit.plan.plan import BASELINE, EVIDENCE, Plan, TargetPlan, Variant
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.runtime.bundle.names import GENERATION, MODEL, MODEL_DATA
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.reader import READER_NAMES
from edgekit.store import NOT_MADE, Artifact, remove
from edgekit.tasks import Task, find_task
from edgekit.tasks.encode import labels_of, prompts_of
from edgekit.tasks.task import metrics_beside

__all__ = ["lineage_of"]


def lineage_of(plan: Plan, item: TargetPlan, finished: Finished, folder: Path) -> JsonObject:
    """The lineage document of the result in `folder`, where each variant gets its folder of links too.

    Paths are as seen from `folder`, so that the build folder can be moved, and shown, as it is.
    """
    artifacts = finished.artifacts
    rows = artifacts[plan.rows.key].path / "test.jsonl"
    columns = json.loads(rows.with_name("data.json").read_text(encoding="utf-8"))["columns"]
    task, seed = find_task(plan.recipe.task), plan.recipe.seed
    original_score = artifacts[item.variants[BASELINE].score.key].path
    original_evidence = np.load(original_score / EVIDENCE, allow_pickle=False)
    metric = task.metric_on(columns, labels_of(artifacts[plan.original.key].path) if task.named else ())
    variants: dict[str, JsonObject] = {}
    for name, variant in item.variants.items():
        score = artifacts[variant.score.key].path
        if (why := artifacts[variant.score.key].metrics.get(NOT_MADE)) is not None:
            variants[name] = {
                "kind": "onnx", "title": variant.title, "folder": _seen_from(folder, artifacts[variant.model.key].path), "file": MODEL,
                NOT_MADE: why,
            }  # fmt: skip
            continue
        evidence = np.load(score / EVIDENCE, allow_pickle=False)
        variants[name] = {
            "kind": "onnx",
            "title": variant.title,
            "folder": _seen_from(folder, _link_files(variant, artifacts, folder / "variants" / name)),
            "file": MODEL,
            **_prompt(artifacts[variant.checkpoint.key].path, task),
            "quality": {
                "metric": metric,
                "value": task.reduce(evidence),
                "n": len(evidence),
                **paired_difference(original_evidence, evidence, seed, task.reduce),
                **plan.lowering.beside_metric(original_score, score, seed),
                **metrics_beside(task, original_evidence, evidence),
            },
        }
    eager: JsonObject = {
        "kind": EAGER, "title": "PyTorch eager fp32 of the original",
        "folder": _seen_from(folder, artifacts[plan.original.key].path), "file": "model.safetensors", "quality": variants[BASELINE]["quality"],
        **_prompt(artifacts[plan.original.key].path, task),
    }  # fmt: skip
    stages: list[JsonObject] = []
    for stage in plan.stages(item):
        artifact = artifacts[stage.key]
        stages.append(
            {
                "stage": stage.name, "title": stage.title, "key": artifact.key, "path": _seen_from(folder, artifact.path),
                "hit": artifact.key not in finished.made_now, "seconds": artifact.seconds, "metrics": artifact.metrics,
            }
        )  # fmt: skip
    return {
        "schema_version": 1,
        "recipe": {"name": plan.name, **plan.published.model_dump(mode="json", by_alias=True)},
        "target": item.target.model_dump(mode="json", by_alias=True),
        "timed_here": item.timed,
        "lacks": item.target.lacks(detect()),
        "rows": _seen_from(folder, rows),
        "max_length": plan.recipe.model.max_length if task.reads == "text" else 0,
        "stages": stages,
        "chain": [stage.key for stage in (plan.original, *plan.compressed)],
        "variants": {"eager-fp32": eager, **variants},
    }


def _prompt(checkpoint: Path, task: Task) -> JsonObject:
    """What the model of `checkpoint` has before every text, where it has something."""
    prompt = prompts_of(checkpoint, task).before()
    return {"prompt": prompt} if prompt else {}


def _link_files(variant: Variant, artifacts: Mapping[str, Artifact], folder: Path) -> Path:
    """Fill `folder` with the variant's model and what reads its inputs side by side, as a device would hold them (links, not copies)."""
    remove(folder)
    folder.mkdir(parents=True)
    model, checkpoint = artifacts[variant.model.key].path, artifacts[variant.checkpoint.key].path
    files = [model / MODEL, *(path for path in (model / MODEL_DATA, model / GENERATION) if path.is_file())]
    files += [checkpoint / name for name in READER_NAMES if (checkpoint / name).is_file()]
    for path in files:
        (folder / path.name).symlink_to(_seen_from(folder, path))
    return folder


def _seen_from(folder: Path, path: Path) -> str:
    """The relative path that leads from `folder` to `path`."""
    return os.path.relpath(path.resolve(), folder.resolve())
