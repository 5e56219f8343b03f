"""The stages of a run as data: what each one reads, and the function that does it.

A stage's function unpacks its inputs and calls one room. Rooms never call one another; they meet here, through artifacts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgekit.compress.method import Work
from edgekit.compress.registry import find_method
from edgekit.config.recipe import MethodSettings, Recipe
from edgekit.config.target import Quantize, Target
from edgekit.plan.facts import digest_of
from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.providers.names import CPU, TENSORRT
from edgekit.store import Context, Stage
from edgekit.tasks import find_task

__all__ = [
    "EVIDENCE", "LOWERING", "TORCH", "answers_stage", "audit_stage", "calibration_stage", "compress_stage", "export_stage", "original_stage",
    "quantize_stage", "rows_stage", "score_stage", "stock_stage",
]  # fmt: skip

TORCH = ("torch", "transformers")
EVIDENCE = "evidence.npy"
"""What a score stage leaves: float64 (rows, numbers), which the task reduces to its metric."""
LOWERING = ("onnx-ir", "onnxscript", "onnxruntime")


def rows_stage(recipe: Recipe, columns: tuple[str, ...], asked: dict[str, Any], digest: str) -> Stage:
    """Read, check, deduplicate and hash the three splits. `columns`: the task's, and those of its optional ones that rows have."""
    task = find_task(recipe.task)
    more = [column for column in columns if column in task.optional]

    def run(context: Context) -> dict[str, Any]:
        from edgekit.data.splits import prepare

        absent = tuple(column for column in task.optional if column not in columns)
        return {"splits": prepare(asked, columns, context.out, absent)["splits"]}

    settings = {"task": recipe.task} | ({"optional": more} if more else {})
    return Stage("rows", "read and check the rows", run, settings=settings, external={"source": digest})


def original_stage(recipe: Recipe, rows: Stage, source: str | None, digest: str | None, *, pairs: bool = False) -> Stage:
    """The uncompressed model: imported from a folder or the hub, or trained from nothing. `pairs`: rows have a second text."""
    model = recipe.model
    settings = {"task": recipe.task, "max_length": model.max_length, "seed": recipe.seed}
    if model.new is not None:
        new = model.new

        def train(context: Context) -> dict[str, Any]:
            from edgekit.train.originals import train

            return train(
                context.inputs["rows"], context.out, context.scratch, task=recipe.task, new=new,
                max_length=model.max_length, seed=recipe.seed, progress=context.progress,
            )  # fmt: skip

        return Stage(
            "train", "train the original from nothing", train, settings={**settings, "new": new.model_dump()},
            inputs={"rows": rows}, tools=(*TORCH, "tokenizers"), spread=True,
        )  # fmt: skip

    if model.finetune is not None:
        finetune = model.finetune

        def tune(context: Context) -> dict[str, Any]:
            from edgekit.models.checkpoint import resolve
            from edgekit.train.originals import finetune as train_head

            assert source is not None, "checked with the recipe"
            return train_head(
                resolve(source, model.revision), context.inputs["rows"], context.out, context.scratch, task=recipe.task,
                settings=finetune, max_length=model.max_length, seed=recipe.seed, progress=context.progress,
            )  # fmt: skip

        return Stage(
            "finetune", "train the original's head and encoder", tune, settings={**settings, "finetune": finetune.model_dump(exclude_defaults=True)},
            inputs={"rows": rows}, external={"model": str(digest)}, tools=(*TORCH, "tokenizers"), spread=True,
        )  # fmt: skip

    def load(context: Context) -> dict[str, Any]:
        from edgekit.models.checkpoint import load, parameters, save
        from edgekit.train.originals import mark_pairs

        assert source is not None, "a recipe names a model or trains one"
        loaded = load(source, find_task(recipe.task).auto, revision=model.revision)
        mark_pairs(loaded.config, pairs)
        save(loaded, context.out, tokenizer_files_from=Path(loaded.config.name_or_path))
        return {"parameters": parameters(loaded)}

    return Stage(
        "original", "load and check the original", load, settings=settings | ({"pairs": True} if pairs else {}),
        external={"model": str(digest)}, tools=TORCH,
    )  # fmt: skip


def answers_stage(recipe: Recipe, rows: Stage, original: Stage) -> Stage:
    """Rows of a text alone, with the original's own outputs as what they are scored against."""

    def run(context: Context) -> dict[str, Any]:
        from edgekit.compress.distillation.answers import answer

        return answer(
            context.inputs["original"], context.inputs["rows"], context.out,
            task=recipe.task, max_length=recipe.model.max_length, progress=context.progress,
        )  # fmt: skip

    return Stage(
        "answers", "the original's answers to rows without any", run,
        settings={"task": recipe.task, "max_length": recipe.model.max_length}, inputs={"rows": rows, "original": original},
        tools=(*TORCH, "tokenizers"),
    )  # fmt: skip


def compress_stage(
    recipe: Recipe, settings: MethodSettings, *, number: int, source: Stage, original: Stage, dense: Stage, rows: Stage,
    locations: Mapping[str, str],
) -> Stage:  # fmt: skip
    """One compression method. `locations`: folder or hub id of each checkpoint that steps name."""
    method = find_method(settings.method)
    named = method.named_checkpoints(settings)

    def run(context: Context) -> dict[str, Any]:
        work = Work(
            source=context.inputs["source"],
            original=context.inputs["original"],
            dense=context.inputs["dense"],
            rows=context.inputs["rows"],
            out=context.out,
            scratch=context.scratch,
            task=recipe.task,
            max_length=recipe.model.max_length,
            seed=recipe.seed,
            progress=context.progress,
            checkpoints=locations,
        )
        return method.run(work, settings)

    return Stage(
        method.name,
        f"compress {number}: {method.name}",
        run,
        version=method.version,
        # Without defaults, so that an option that a method gains leaves results of recipes that do not use it valid.
        settings={
            **settings.model_dump(exclude_defaults=True, exclude=set(named)),
            "task": recipe.task,
            "max_length": recipe.model.max_length,
            "seed": recipe.seed,
        },
        inputs={"source": source, "original": original, "dense": dense, "rows": rows},
        external={setting: json.dumps([digest_of(locations[name]) for name in names]) for setting, names in named.items()},
        tools=(*TORCH, "accelerate", "tokenizers"),
        spread=method.spread,
    )


def export_stage(recipe: Recipe, checkpoint: Stage, title: str) -> Stage:
    """Checkpoint -> plain and fused ONNX, compared with eager."""

    def run(context: Context) -> dict[str, Any]:
        from edgekit.exporter.encoder import export

        return export(context.inputs["checkpoint"], context.out, task=recipe.task, max_length=recipe.model.max_length)

    return Stage(
        "export", title, run, settings={"task": recipe.task, "max_length": recipe.model.max_length},
        inputs={"checkpoint": checkpoint}, tools=(*TORCH, "optimum", "onnx", *LOWERING),
    )  # fmt: skip


def calibration_stage(recipe: Recipe, rows: Stage) -> Stage:
    """Draw the calibration rows."""

    def run(context: Context) -> dict[str, Any]:
        from edgekit.exporter.calibration import choose_rows

        return choose_rows(context.inputs["rows"], context.out, recipe.calibration.rows, recipe.seed)

    settings = {"rows": recipe.calibration.rows, "seed": recipe.seed}
    return Stage("calibration", "draw the calibration rows", run, settings=settings, inputs={"rows": rows})


def quantize_stage(
    recipe: Recipe,
    target: Target,
    checkpoint: Stage,
    exported: Stage,
    calibration: Stage,
    rows: Stage,
    *,
    timed: bool,
    title: str,
) -> Stage:
    """Fused ONNX -> the target's numbers."""
    quantize = target.chosen(recipe.quantize)
    measured = quantize.mixed or (quantize.mode == "measure" and quantize.format == "int8")
    of_session = measured or quantize.format == "bf16"
    whole = target.provider == TENSORRT  # knows none of the fused operators

    def run(context: Context) -> dict[str, Any]:
        from edgekit.exporter.encoder import FUSED
        from edgekit.quantize.qat import learned_ranges
        from edgekit.quantize.select import Evidence, lower
        from edgekit.tasks.encode import encode, labels_of, read_split, score_of

        task, folder = find_task(recipe.task), context.inputs["checkpoint"]
        validation = read_split(context.inputs["rows"], "validation") if measured else []
        judged, chosen = (
            encode(folder, rows, task, recipe.model.max_length)
            for rows in (validation, read_split(context.inputs["calibration"], "calibration"))
        )
        made = lower(
            context.inputs["exported"] / (MODEL if whole else FUSED), context.out, context.scratch,
            provider=target.provider, quantize=quantize, session=target.session, calibration=recipe.calibration,
            calibration_feeds=[one.feed() for one in chosen.passes], learned=learned_ranges(folder),
            evidence=Evidence(
                feeds=[one.feed() for one in judged.passes],
                score=lambda outputs: task.reduce(score_of(task, outputs, judged, validation, labels_of(folder))),
                floor=recipe.accept.max_quality_drop if recipe.accept.max_quality_drop is not None else 0.01,
                timed=timed,
            ),
            progress=context.progress,
        )  # fmt: skip
        return {**made, "bytes": (context.out / MODEL).stat().st_size}

    return Stage(
        "quantize", title, run, version=4,
        settings={
            "quantize": quantize.model_dump(exclude_defaults=True) if recipe.quantize else "the target's", "task": recipe.task,
            "calibration": recipe.calibration.model_dump(), "max_length": recipe.model.max_length,
            "floor": recipe.accept.max_quality_drop if measured else None, "timed": timed if measured else None,
        }
        | ({"half": 2} if quantize.format == "float16" else {}),
        inputs={"checkpoint": checkpoint, "exported": exported, "calibration": calibration, "rows": rows},
        target_fields=({} if recipe.quantize else {"quantize": target.quantize.model_dump(exclude_defaults=True)})
        | ({"session": target.session.model_dump()} if of_session else {})
        | ({"provider": target.provider} if whole else {}),
        tools=LOWERING,
    )  # fmt: skip


def stock_stage(exported: Stage) -> Stage:
    """The off-the-shelf baseline."""

    def run(context: Context) -> dict[str, Any]:
        from edgekit.quantize.select import stock_int8

        return stock_int8(context.inputs["exported"] / MODEL, context.out)

    return Stage(
        "stock-int8", "off-the-shelf INT8 of the original", run, inputs={"exported": exported}, tools=("onnxruntime", "onnx")
    )


def audit_stage(
    recipe: Recipe, target: Target, quantized: Stage, host: Mapping[str, Any], quantize: Quantize | None = None
) -> Stage:
    """What the runtime really executes; `quantize`: the number format, where neither the recipe nor the target says it."""
    seen = quantize or recipe.quantize or target.quantize

    def run(context: Context) -> dict[str, Any]:
        from edgekit.audit.audit import audit, require

        wanted = target.model_copy(update={"quantize": seen})
        document = audit(context.inputs["quantized"] / MODEL, wanted, host_isa=frozenset(host["isa"]), host_arch=host["arch"])
        (context.out / "audit.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        require(document)
        facts = ("matmuls_integer", "matmuls_constant", "matmuls_weight_only", "kept_float", "stray_qdq", "casts")
        return {name: document[name] for name in facts}

    return Stage(
        "audit", "audit what the runtime executes", run, version=2, settings={"quantize": seen.model_dump(exclude_defaults=True)},
        inputs={"quantized": quantized}, external={"host": json.dumps(host, sort_keys=True)},
        target_fields={"name": target.name, "arch": target.arch, "isa": [*target.isa, *target.isa_any], "provider": target.provider,
                       "audit": target.audit.model_dump(), "session": target.session.model_dump()},
        tools=("onnxruntime", "onnx"),
    )  # fmt: skip


def score_stage(
    recipe: Recipe, checkpoint: Stage, model: Stage, file: str, rows: Stage, host: Mapping[str, Any], title: str,
    *, provider: str = CPU, config: Mapping[str, str] = MappingProxyType({}),
) -> Stage:  # fmt: skip
    """Per-row score of one ONNX file on the test rows, at batch 1, by the runtime that is timed; `config`: session entries.

    On the CPU, wherever the file will serve, but for number formats that its `provider` alone has kernels for.
    """

    def run(context: Context) -> dict[str, Any]:
        import numpy as np

        from edgekit.bench.score import score

        found = score(
            context.inputs["model"] / file, context.inputs["checkpoint"], context.inputs["rows"] / "test.jsonl",
            task=recipe.task, max_length=recipe.model.max_length, provider=provider, config=dict(config), progress=context.progress,
        )  # fmt: skip
        np.save(context.out / EVIDENCE, found, allow_pickle=False)
        own = {} if provider == CPU else {"provider": provider}
        return {"quality": find_task(recipe.task).reduce(found), "n": len(found), **own}

    return Stage(
        "score", title, run, version=2,
        settings={"task": recipe.task, "max_length": recipe.model.max_length, "file": file}
        | ({} if provider == CPU else {"provider": provider})
        | ({"session": dict(config)} if config else {}),
        inputs={"checkpoint": checkpoint, "model": model, "rows": rows},
        external={"host": json.dumps(host, sort_keys=True)}, tools=("onnxruntime", "tokenizers"),
    )  # fmt: skip
