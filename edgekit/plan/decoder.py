"""The stages of decoders as data: a graph with its key-value cache as inputs and outputs, weights quantized by blocks, a score by the
runtime that serves it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.config.quantize import Float16, Float32, Quantize, WeightOnly
from edgekit.config.recipe import Recipe
from edgekit.config.target import Target
from edgekit.host import Host
from edgekit.models.facts import ModelFacts
from edgekit.plan.facts import digest_of
from edgekit.plan.plan import EVIDENCE, Exported, HostFacts, Lowering, Shared, Split, host_facts
from edgekit.plan.stages import LOWERING_TOOLS, TORCH
from edgekit.runtime.bundle.names import CHAT_TEMPLATE, GENERATION, MODEL, MODEL_DATA
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.names import CPU, CUDA
from edgekit.store import Context, KeyPart, Stage
from edgekit.tasks import decoder_task

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BESIDE", "DECODER", "DEFAULT", "draft_stage", "number_format"]

BESIDE = (MODEL_DATA, GENERATION, CHAT_TEMPLATE)
"""Files that belong to a decoder's graph."""
LEARNED_POSITIONS = {"gpt2", "opt"}
"""Decoders that look positions up in a table."""
BYTES = {"int8": 1, "float16": 2, "float32": 4}


@dataclass(frozen=True)
class ExportSettings:
    """What an export depends on beside the checkpoint."""

    max_length: int


DEFAULT = WeightOnly(format="int8-weights", block=64)
"""Of what was measured on a language model that was really trained (benchmarks/language_quality), the smallest that costs less than 0.5% of its
perplexity and gives a row the bits that it has alone, whoever is beside it (runtime/generate/neighbours.py)."""


@dataclass(frozen=True)
class QuantizeSettings:
    """What quantization depends on beside its inputs."""

    quantize: Quantize
    task: str
    max_length: int


@dataclass(frozen=True)
class ScoreSettings:
    """What a score depends on beside its inputs."""

    task: str
    host: HostFacts


def number_format(recipe: Recipe, target: Target) -> Quantize:
    """The recipe's, or else the target's own on a GPU, and on a CPU float32 where the target says so, `DEFAULT` where it says anything else,
    which no language model has on a CPU."""
    own = target.provider != CPU or isinstance(target.quantize, Float32 | WeightOnly)
    return target.chosen(recipe.quantize or (None if own else DEFAULT))


def faults_of(recipe: Recipe, targets: Sequence[Target], original: ModelFacts, host: Host | None) -> list[str]:
    """What a recipe cannot have a language model do: architectures, training, number formats and providers that are not supported."""
    from edgekit.models.decoders import decoder_types

    architecture, faults = (
        original.architecture,
        [
            *original.odd_ends,
            *(f"model: {fault}" for fault in (*original.unreadable, *original.unserved)),
            *(f"model: {fault}" for fault in original.unread if "is_decoder" not in fault),
        ],
    )
    if original.positions is not None and recipe.model.max_length > original.positions:
        faults.append(_too_long(recipe.model.max_length, original))
    if original.template_fault is not None:
        faults.append(original.template_fault)
    if architecture is not None and architecture not in decoder_types():
        known = ", ".join(decoder_types())
        faults.append(f"model: no decoder of architecture {architecture!r} is known here; use one of {known}")
    if recipe.model.finetune is not None:
        faults.append("model, finetune: puts a new head on an encoder; a language model has its head")
    takes = 'a language model takes "int8-weights", "int4-weights", on a CPU "float32", on a GPU "float16"'
    for target in targets:
        chosen = number_format(recipe, target)
        if not isinstance(chosen, WeightOnly | (Float32 if target.provider == CPU else Float16)):
            where = "quantize" if recipe.quantize else f"{target.name}, quantize"
            faults.append(f'{where}, format = "{chosen.format}": {takes}')
    faults = list(dict.fromkeys(faults))
    faults += [
        f"{target.name}: language models are lowered for the CPU and the CUDA provider; their attention is no operator of {target.provider}"
        for target in targets
        if target.provider not in (CPU, CUDA)
    ]
    faults += [
        f"{target.name}: {architecture} looks its positions up by numbers that ONNX Runtime keeps on the CPU; export it for a CPU"
        for target in targets
        if target.provider == CUDA and architecture in LEARNED_POSITIONS
    ]
    return faults


def _too_long(asked: int, original: ModelFacts) -> str:
    """Why a model cannot read as many tokens as a recipe asks for."""
    if original.short_positions is None:
        return (
            f"model, max_length: {asked} tokens, but the model has positions for {original.positions}; ask for so many or fewer"
        )
    return (
        f"model, max_length: {asked} tokens, but texts of more than {original.short_positions} are read with other angles (config.json, "
        f"original_max_position_embeddings: longrope's long_factor), which no graph here has; ask for {original.short_positions} or fewer"
    )


def export_stage(recipe: Recipe, checkpoint: Stage, title: str) -> Stage:
    """Checkpoint -> graph with its key-value cache as inputs and outputs, compared with PyTorch eager."""
    settings = ExportSettings(recipe.model.max_length)

    def run(context: Context) -> JsonObject:
        from edgekit.exporter.decoder import export_decoder

        return export_decoder(
            context.inputs["checkpoint"], context.out, max_length=settings.max_length, progress=context.progress
        )

    return Stage(
        "export-decoder",
        title,
        run,
        version=3,
        settings=settings,
        inputs={"checkpoint": checkpoint},
        tools=(*TORCH, *LOWERING_TOOLS),
    )


def quantize_stage(shared: Shared, target: Target, exported: Exported, title: str) -> Stage:
    """Graph -> the same with weights in 8 or 4 bits; for a GPU everything else in float16."""
    recipe = shared.recipe
    quantize = number_format(recipe, target)
    assert isinstance(quantize, WeightOnly | Float16 | Float32), "the plan's check takes no other format for a language model"
    rounding, cache = (quantize.rounding, quantize.cache) if isinstance(quantize, WeightOnly) else (None, "float32")
    raised = isinstance(quantize, WeightOnly) and quantize.eight_bits is not None
    settings = QuantizeSettings(quantize, recipe.task, recipe.model.max_length)
    on_gpu = target.provider != CPU
    reads: dict[str, KeyPart] = {"provider": target.provider} if on_gpu else {}

    def run(context: Context) -> JsonObject:
        from edgekit.quantize.decoder import quantize_decoder
        from edgekit.quantize.float16_decoder import decoder_for_gpu
        from edgekit.quantize.float16_range import check_range
        from edgekit.quantize.hessians import hessians_of
        from edgekit.quantize.kv_cache import cache_ranges
        from edgekit.tasks.encode import encode, read_split

        source, hessians, ranges = context.inputs["exported"], None, None
        texts: list[np.ndarray] = []
        if rounding == "gptq" or cache == "int8" or on_gpu or raised:
            rows = read_split(context.inputs["calibration"], "calibration")
            data = encode(context.inputs["checkpoint"], rows, decoder_task(settings.task), settings.max_length)
            texts = [window.ids for window in data.windows]
            hessians = hessians_of(source, texts, context.scratch) if rounding == "gptq" else None
            ranges = cache_ranges(source / MODEL, texts) if cache == "int8" else None
        metrics: JsonObject
        if on_gpu:
            assert not isinstance(quantize, Float32), "the plan's check takes none on a GPU"
            largest = check_range(source, texts, context.scratch / "range")
            counts = decoder_for_gpu(
                source, context.out, context.scratch, quantize, hessians=hessians, texts=texts, progress=context.progress
            )
            metrics = {"largest": largest, **counts}
        elif isinstance(quantize, Float32):
            for name in (MODEL, MODEL_DATA):
                shutil.copyfile(source / name, context.out / name)
            metrics = {}
        else:
            assert isinstance(quantize, WeightOnly), "no CPU target takes float16"
            metrics = quantize_decoder(
                source, context.out, quantize, hessians=hessians, cache=ranges, texts=texts,
                scratch=context.scratch / "sensitivity", progress=context.progress,
            )  # fmt: skip
        for name in (GENERATION, CHAT_TEMPLATE):
            if (source / name).is_file():
                shutil.copyfile(source / name, context.out / name)
        generation = json.loads((source / GENERATION).read_text(encoding="utf-8"))
        stored = "float16" if on_gpu else cache
        if stored != "float32":
            generation["cache"] = stored
            (context.out / GENERATION).write_text(json.dumps(generation, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        numbers = 2 * generation["layers"] * generation["kv_heads"] * generation["head_size"]
        return {
            **metrics,
            "bytes": sum((context.out / name).stat().st_size for name in (MODEL, MODEL_DATA)),
            "cache_bytes_per_token": numbers * BYTES[stored],
        }

    return Stage(
        "quantize-decoder", title, run, version=6, settings=settings, target_fields=reads, tools=LOWERING_TOOLS,
        inputs={"checkpoint": exported.checkpoint, "exported": exported.graph, "calibration": shared.calibration},
    )  # fmt: skip


def draft_stage(shared: Shared, target: Target, location: str, checkpoint: Stage, positions: int | None) -> Stage:
    """The small model that guesses -> its graph, in its own number format.

    `location`: its folder or hub id; `checkpoint`: of the bundle's model, whose tokenizer it must have; `positions`: that it has, where
    that is known: beyond them it guesses nothing.
    """
    draft, model = shared.recipe.draft, shared.recipe.model
    assert draft is not None, "asked of a recipe with a draft"

    def run(context: Context) -> JsonObject:
        from edgekit.models.checkpoint import load, parameters, save
        from edgekit.models.settle import settle
        from edgekit.models.tokens import same_tokens

        small = load(location, decoder_task(shared.recipe.task).auto)
        folder = Path(small.config.name_or_path)
        save(small, context.out, tokenizer_files_from=folder)
        settle(folder, context.out, inputs=False, trim=False, lower_case=False, texts=())
        same_tokens(context.out, context.inputs["checkpoint"])
        return {"parameters": parameters(small)}

    loaded = Stage(
        "draft", "load the draft and compare its tokenizer", run, inputs={"checkpoint": checkpoint},
        external={"model": digest_of(location)}, tools=(*TORCH, "tokenizers"),
    )  # fmt: skip
    length = model.max_length if positions is None else min(model.max_length, positions)
    own = Float32(format="float32") if draft.format == "float32" else WeightOnly(format=draft.format)
    recipe = shared.recipe.model_copy(update={"model": model.model_copy(update={"max_length": length}), "quantize": own})
    exported = Exported("draft", loaded, export_stage(recipe, loaded, "export the draft to ONNX"))
    return quantize_stage(replace(shared, recipe=recipe), target, exported, f"quantize the draft for {target.name}")


def score_stage(shared: Shared, checkpoint: Stage, model: Stage, target: Target | None, title: str, split: Split) -> Stage:
    """Log-probability of every text of `split`, by the runtime that serves the graph, on the CPU."""
    settings = ScoreSettings(shared.recipe.task, host_facts(shared.host))

    def run(context: Context) -> JsonObject:
        import numpy as np

        from edgekit.bench.greedy import CONTINUED, PREDICTED
        from edgekit.bench.score import score_texts

        scores = score_texts(
            context.inputs["model"],
            context.inputs["checkpoint"],
            context.inputs["rows"] / f"{split}.jsonl",
            progress=context.progress,
        )
        for name, array in ((EVIDENCE, scores.evidence), (PREDICTED, scores.predicted), (CONTINUED, scores.continued)):
            np.save(context.out / name, array, allow_pickle=False)
        quality = decoder_task(settings.task).reduce(scores.evidence)
        return {"quality": quality, "perplexity": 1 / quality, "n": len(scores.evidence), "skipped": scores.skipped}

    return Stage(
        "score-decoder" if split == "test" else "score-decoder-validation", title, run, version=3, settings=settings,
        inputs={"checkpoint": checkpoint, "model": model, "rows": shared.rows}, tools=("onnxruntime", "tokenizers"),
    )  # fmt: skip


def greedy_agreement(original: Path, variant: Path, seed: int) -> JsonObject:
    """{"greedy"}: how often a variant chooses the token that the original chooses."""
    from edgekit.bench.greedy import agreement

    return {"greedy": agreement(original, variant, EVIDENCE, seed)}


def float_graph(exported: Path) -> dict[str, Path]:
    """The graph, its weights, and the chat template where there is one."""
    names = (MODEL, MODEL_DATA, CHAT_TEMPLATE)
    return {name: exported / name for name in names if (exported / name).is_file()}


DECODER = Lowering(
    faults=faults_of,
    number_format=number_format,
    export=export_stage,
    quantize=quantize_stage,
    score=score_stage,
    beside_metric=greedy_agreement,
    float_graph=float_graph,
)
