"""The last stage of a target: the packed bundle, its archive and the runner."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from edgekit.config.recipe import Recipe
from edgekit.config.target import Target
from edgekit.host import detect
from edgekit.pack.conversations import CONVERSATIONS
from edgekit.pack.manifest import bundled, generation_of
from edgekit.pack.runner import runtime_digest
from edgekit.plan.decoder import BESIDE
from edgekit.plan.plan import BASELINE, BUNDLE, EVIDENCE, STOCK, HostFacts, Plan, TargetPlan
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.runtime.bundle.manifest import Calibration, DraftFacts, Golden, Manifest, Source, TargetFacts
from edgekit.runtime.bundle.names import DRAFT, DRAFT_DATA, GENERATION, MODEL
from edgekit.runtime.bundle.onnx_file import read_graph
from edgekit.runtime.bundle.quality import Agreement, Quality
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.processors import Asked
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.reader import READER_FILES
from edgekit.runtime.records import as_json, read_record
from edgekit.store import NOT_MADE, Context, Stage, metrics_of
from edgekit.tasks import Task
from edgekit.tasks.task import metrics_beside

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
        from edgekit.pack.archive import write_archive
        from edgekit.pack.bundle import write_bundle
        from edgekit.pack.card import write_card
        from edgekit.pack.external import move_weights
        from edgekit.pack.runner import write_runner
        from edgekit.runtime.bundle.contents import check_contents
        from edgekit.runtime.bundle.open import open_bundle

        checkpoint, graph = context.inputs["checkpoint"], context.inputs["model"]
        audit = json.loads((context.inputs["audit"] / "audit.json").read_text(encoding="utf-8"))
        golden = _golden(recipe, target, checkpoint, graph, context.inputs["rows"], _threshold(context))
        manifest = _manifest(plan, item, context, golden)
        folder = context.out / PACKED
        folder.mkdir()
        files = {path.name: path for path in graph.iterdir() if path.name in BESIDE and path.name != GENERATION}
        files |= {MODEL: graph / MODEL, "audit.json": context.inputs["audit"] / "audit.json"}
        files |= bundled(checkpoint)
        if "draft" in context.inputs:
            files |= move_weights(context.inputs["draft"] / MODEL, context.scratch, (DRAFT, DRAFT_DATA))
        texts = {"golden.json": json.dumps(golden, ensure_ascii=False) + "\n", "README.md": write_card(manifest, audit)}
        if (talks := _conversations(graph)) is not None:
            texts[CONVERSATIONS] = json.dumps(talks, ensure_ascii=False) + "\n"
        write_bundle(folder, manifest, files=files, texts=texts)
        check_contents(open_bundle(folder))  # what is shipped must pass what opens it
        write_archive(folder, context.out / "bundle.tar.gz")
        write_runner(context.out / "runner.pyz")
        return {"bytes": sum(path.stat().st_size for path in folder.iterdir()), "quality": as_json(manifest.quality)}

    return Stage(
        "pack",
        f"pack the bundle for {target.name}",
        run,
        version=7,
        settings=PackSettings(plan.name, plan.published, edgekit.__version__, runtime_digest(), host),
        inputs={
            "model": last.model, "checkpoint": last.checkpoint, "rows": plan.rows, "audit": item.audit, "calibration": item.calibration,
            "score_original": item.variants[BASELINE].score, "score_bundle": last.score,
            **({} if item.draft is None else {"draft": item.draft}),
            **({} if plan.agreement is None else {"agreement": plan.agreement}),
            **({STOCK: item.variants[STOCK].model} if STOCK in item.variants else {}),
        },
        target_fields=target.model_dump(mode="json", exclude={"title", "rank"}),
        tools=TOOLS,
    )  # fmt: skip


def _golden(
    recipe: Recipe, target: Target, checkpoint: Path, graph: Path, rows: Path, threshold: float | None
) -> dict[str, Any]:
    """Golden inputs of the quantized model in the folder `graph`, drawn from the test rows. `threshold` as in the manifest."""
    from edgekit.pack.golden import make_golden, make_golden_texts
    from edgekit.tasks import find_task
    from edgekit.tasks.encode import labels_of, labels_shown, prompts_of, read_split

    task = find_task(recipe.task)
    labels = labels_of(checkpoint) if task.named else []
    asked = [(item, labels_shown(row, labels)) for row in read_split(rows, "test") for item in task.items(row)]
    items = [item for item, _ in asked]
    if (generation := generation_of(graph)) is not None:
        return make_golden_texts(graph, checkpoint / "tokenizer.json", generation, list(map(str, items)))
    provider = target.provider if target.provider in detect().providers else CPU
    return make_golden(
        graph / MODEL, checkpoint / READER_FILES[task.reads], task.name, items, Asked(labels, threshold),
        max_length=recipe.model.max_length, provider=provider, config=target.stand_in if provider != target.provider else None,
        prompts=prompts_of(checkpoint, task), shown=[shown for _, shown in asked],
    )  # fmt: skip


def _conversations(graph: Path) -> JsonObject | None:
    """Conversations as the chat template in the folder `graph` writes them; None where there is none, or jinja2 is missing."""
    from edgekit.pack.conversations import written_conversations

    generation = generation_of(graph)
    if generation is None or generation.chat_template is None or generation.special_tokens is None:
        return None
    return written_conversations(graph / generation.chat_template, generation.special_tokens)


def _manifest(plan: Plan, item: TargetPlan, context: Context, golden: dict[str, Any]) -> Manifest:
    """All that the bundle says of itself, but for its files."""
    from edgekit.pack.golden import tolerance
    from edgekit.pack.manifest import answering
    from edgekit.tasks import find_task
    from edgekit.tasks.encode import labels_of

    recipe, target, checkpoint = plan.recipe, item.target, context.inputs["checkpoint"]
    task, generation = find_task(recipe.task), generation_of(context.inputs["model"])
    data = json.loads((context.inputs["rows"] / "data.json").read_text(encoding="utf-8"))
    calibration = metrics_of(context.inputs["calibration"])
    return Manifest(
        name=f"{plan.name}-{target.name}",
        assets={},
        version=edgekit.__version__,
        target=TargetFacts(target.name, target.arch, target.isa, target.isa_any, target.provider),
        source=Source(
            plan.source or "trained by the recipe", recipe.model.revision, plan.original.key
        ),
        data={split: facts["sha256"] for split, facts in data["splits"].items()},
        calibration=Calibration(calibration["rows"], calibration["sha256"]),
        recipe=plan.published.model_dump(mode="json", by_alias=True),
        quality=_quality(
            plan, target, context, task.metric_on(data["columns"], labels_of(checkpoint) if task.named else ()), task
        ),
        golden=Golden("golden.json", len(golden["rows"]), tolerance(golden, target.tolerance)),
        licence=recipe.model.licence,
        tools={tool: metadata.version(tool) for tool in TOOLS},
        threshold=_threshold(context),
        agreement=_agreement(context),
        not_made=_not_made(context, item),
        draft=_draft(plan, context),
        **answering(
            recipe, checkpoint, provider=target.provider, session=target.session, generation=generation,
            output_size=0 if generation is not None else _output_size(golden),
        ),
    )  # fmt: skip


def _draft(plan: Plan, context: Context) -> DraftFacts | None:
    """What the bundle says of the small model that guesses, where the recipe names one."""
    draft = plan.published.draft
    if draft is None:
        return None
    graph = context.inputs["draft"]
    generation, logits = generation_of(graph), read_graph(graph / MODEL).outputs[0].axes
    assert generation is not None and logits is not None, "it is a decoder's"
    alone = replace(generation, chat_template=None, special_tokens=None)
    return DraftFacts(DRAFT, draft.id, draft.format, int(logits[-1]), alone)


def _not_made(context: Context, item: TargetPlan) -> dict[str, str] | None:
    """Title of the baseline that could not be made, and why."""
    if STOCK not in context.inputs or (why := metrics_of(context.inputs[STOCK]).get(NOT_MADE)) is None:
        return None
    return {item.variants[STOCK].title: str(why)}


def _agreement(context: Context) -> Agreement | None:
    """What the comparison with the model's own library found, where there was one."""
    if "agreement" not in context.inputs:
        return None
    found = metrics_of(context.inputs["agreement"])
    return Agreement(**{part.name: found[part.name] for part in fields(Agreement)})


def _quality(plan: Plan, target: Target, context: Context, metric: str, task: Task) -> Quality:
    """The packed model's quality beside the original's, on the test rows."""
    folders = [context.inputs[name] for name in ("score_original", "score_bundle")]
    before, after = (np.load(folder / EVIDENCE, allow_pickle=False) for folder in folders)
    used = metrics_of(folders[1]).get("provider", CPU)
    faults: list[str] = []
    document = {
        "metric": metric, "n": len(after), "original": task.reduce(before), "bundle": task.reduce(after),
        **paired_difference(before, after, plan.recipe.seed, task.reduce),
        **plan.lowering.beside_metric(folders[0], folders[1], plan.recipe.seed),
        **metrics_beside(task, before, after),
        **({} if used == target.provider else {"scored_on": used}),
    }  # fmt: skip
    quality = read_record(Quality, document, "quality", faults)
    assert quality is not None, faults
    return quality


def _threshold(context: Context) -> float | None:
    """The score from which a label applies, as the validation rows chose it for the packed model; None of a task that has none."""
    metrics = metrics_of(context.inputs["score_bundle"])
    return float(metrics["threshold"]) if "threshold" in metrics else None


def _output_size(golden: dict[str, Any]) -> int:
    """Numbers that an encoder's graph gives for each window, or for each of its tokens."""
    return int(np.asarray(golden["rows"][0]["outputs"][0]).shape[-1])
