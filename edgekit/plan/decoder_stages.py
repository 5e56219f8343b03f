"""The stages of a language model: lowered from its description, its weights rounded block by block, scored by the runtime that serves it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.config.recipe import Recipe
from edgekit.config.target import Quantize, Target
from edgekit.plan.stages import EVIDENCE, LOWERING, TORCH
from edgekit.runtime.bundle.names import CHAT_TEMPLATE, GENERATION, MODEL, MODEL_DATA
from edgekit.runtime.providers.names import CPU
from edgekit.store import Context, Stage

__all__ = ["BESIDE", "export_decoder_stage", "quantize_decoder_stage", "score_decoder_stage", "weights_of"]

BESIDE = (MODEL_DATA, GENERATION, CHAT_TEMPLATE)
"""What travels with the graph."""


def weights_of(recipe: Recipe, target: Target) -> Quantize:
    """How a language model's numbers are stored: as the recipe says, else its weights in 8 bits by blocks of 32 on a CPU and all of it as
    the target says on a GPU."""
    return target.chosen(recipe.quantize or (Quantize(format="int8-weights") if target.provider == CPU else None))


def export_decoder_stage(recipe: Recipe, checkpoint: Stage, title: str) -> Stage:
    """Checkpoint -> graph with its cache outside, compared with eager."""

    def run(context: Context) -> dict[str, Any]:
        from edgekit.exporter.decoder import export_decoder

        return export_decoder(
            context.inputs["checkpoint"], context.out, max_length=recipe.model.max_length, progress=context.progress
        )

    return Stage(
        "export-decoder", title, run, version=2, settings={"max_length": recipe.model.max_length},
        inputs={"checkpoint": checkpoint}, tools=(*TORCH, *LOWERING),
    )  # fmt: skip


def quantize_decoder_stage(
    recipe: Recipe, target: Target, checkpoint: Stage, exported: Stage, calibration: Stage, title: str
) -> Stage:
    """Graph -> the same with weights in a few bits; for a GPU all else in float16."""
    quantize = weights_of(recipe, target)
    half = target.provider != CPU

    def run(context: Context) -> dict[str, Any]:
        from edgekit.quantize.cache import cache_ranges
        from edgekit.quantize.decoder import quantize_decoder
        from edgekit.quantize.float16_decoder import decoder_for_gpu
        from edgekit.quantize.float16_range import check_range
        from edgekit.quantize.hessians import hessians_of
        from edgekit.tasks import find_task
        from edgekit.tasks.encode import encode, read_split

        source, hessians, ranges = context.inputs["exported"], None, None
        if quantize.rounding == "gptq" or quantize.cache == "int8" or half:
            rows = read_split(context.inputs["calibration"], "calibration")
            data = encode(context.inputs["checkpoint"], rows, find_task(recipe.task), recipe.model.max_length)
            texts = [one.ids for one in data.passes]
            hessians = hessians_of(source, texts, context.scratch) if quantize.rounding == "gptq" else None
            ranges = cache_ranges(source / MODEL, texts) if quantize.cache == "int8" else None
        made: dict[str, Any]
        if half:
            made = {"largest": check_range(source, texts, context.scratch / "range")}
            made |= decoder_for_gpu(
                source, context.out, context.scratch, quantize, hessians=hessians, progress=context.progress
            )
        else:
            made = quantize_decoder(source, context.out, quantize, hessians=hessians, cache=ranges, progress=context.progress)
        _carry(source, context.out)
        stated = json.loads((source / GENERATION).read_text(encoding="utf-8"))
        wide = "float16" if half else quantize.cache
        if wide != "float32":
            stated["cache"] = wide
            (context.out / GENERATION).write_text(json.dumps(stated, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        numbers = 2 * stated["layers"] * stated["kv_heads"] * stated["head_size"]
        return {
            **made,
            "bytes": sum((context.out / name).stat().st_size for name in (MODEL, BESIDE[0])),
            "cache_bytes_per_token": numbers * {"int8": 1, "float16": 2, "float32": 4}[wide],
        }

    return Stage(
        "quantize-decoder", title, run, version=2,
        settings={"quantize": quantize.model_dump(exclude_defaults=True), "max_length": recipe.model.max_length},
        inputs={"checkpoint": checkpoint, "exported": exported, "calibration": calibration}, tools=LOWERING,
        target_fields={"provider": target.provider} if half else {},
    )  # fmt: skip


def _carry(source: Path, out: Path) -> None:
    for name in BESIDE[1:]:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def score_decoder_stage(
    recipe: Recipe, checkpoint: Stage, model: Stage, rows: Stage, host: Mapping[str, Any], title: str
) -> Stage:
    """Probability of every test text, by the runtime that serves it."""

    def run(context: Context) -> dict[str, Any]:
        import numpy as np

        from edgekit.bench.greedy import CONTINUED, PREDICTED
        from edgekit.bench.score import score_texts
        from edgekit.tasks import find_task

        found = score_texts(
            context.inputs["model"],
            context.inputs["checkpoint"],
            context.inputs["rows"] / "test.jsonl",
            progress=context.progress,
        )
        for name, array in ((EVIDENCE, found.evidence), (PREDICTED, found.predicted), (CONTINUED, found.continued)):
            np.save(context.out / name, array, allow_pickle=False)
        quality = find_task(recipe.task).reduce(found.evidence)
        return {"quality": quality, "perplexity": 1 / quality, "n": len(found.evidence), "skipped": found.skipped}

    return Stage(
        "score-decoder", title, run, version=2, inputs={"checkpoint": checkpoint, "model": model, "rows": rows},
        external={"host": json.dumps(host, sort_keys=True)}, tools=("onnxruntime", "tokenizers"),
    )  # fmt: skip
