"""The stages that encoders and decoders share, as data: what each one reads, and the function that does it.

A stage's function unpacks its inputs and calls one room. Rooms never call one another; they meet here, through artifacts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.compress.method import Work
from edgekit.compress.registry import find_method
from edgekit.config.quantize import Quantize
from edgekit.config.recipe import Finetune, MethodSettings, NewModel, Recipe
from edgekit.config.target import Target
from edgekit.data.rows import RowCheck
from edgekit.data.sources import Sources
from edgekit.models.adapter import Adapter
from edgekit.pack.runner import runtime_digest
from edgekit.plan.facts import digest_of
from edgekit.plan.plan import HostFacts
from edgekit.plan.rows import row_check
from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.session import own_cores
from edgekit.store import Context, Stage
from edgekit.tasks import find_task

__all__ = [
    "LOWERING_TOOLS", "TORCH", "absent_columns", "agreement_stage", "answers_stage", "audit_stage", "calibration_stage", "compress_stage",
    "merge_stage", "original_stage", "rows_stage",
]  # fmt: skip

TORCH = ("torch", "transformers")
LOWERING_TOOLS = ("onnx-ir", "onnxscript", "onnxruntime")
"""Packages whose version may change a graph."""


@dataclass(frozen=True)
class RowsSettings:
    """What reading rows depends on beside the sources' digest."""

    task: str
    optional: tuple[str, ...]
    """The task's optional columns that the rows have."""
    known: tuple[str, ...] | None
    """Names of the outputs of the recipe's model, which the rows' labels have to be; None where the rows name them, or it is on the hub."""


@dataclass(frozen=True)
class MergeSettings:
    """What merging depends on beside the digests of adapter and base."""

    auto: str
    """transformers' class of the task, for an adapter that does not say which it was trained on."""
    base: str
    """What the base is called."""


@dataclass(frozen=True)
class OriginalSettings:
    """What the uncompressed model depends on beside the source model's digest and the rows."""

    task: str
    max_length: int
    seed: int
    pairs: bool
    """Whether rows have a second text."""
    new: NewModel | None
    finetune: Finetune | None


@dataclass(frozen=True)
class AnswersSettings:
    """What the original's answers depend on beside the original and the rows."""

    task: str
    max_length: int


@dataclass(frozen=True)
class AgreementSettings:
    """What the comparison with the original's own library depends on beside the original, its graph and the rows."""

    task: str
    reference: str
    max_length: int
    pairs: bool
    """Whether rows have a second text."""
    runtime: str
    """Digest of the runtime that answers."""


@dataclass(frozen=True)
class CalibrationSettings:
    """What the draw of calibration rows depends on beside the rows."""

    rows: int
    seed: int


@dataclass(frozen=True)
class AuditSettings:
    """What an audit depends on beside the graph and the target."""

    quantize: Quantize
    host: HostFacts
    kernels: bool
    """Whether onnxruntime here has the target's provider, so that its own kernels are seen."""


def rows_stage(
    recipe: Recipe,
    columns: tuple[str, ...],
    kinds: Mapping[str, str],
    sources: Sources,
    digest: str,
    known: tuple[str, ...] | None,
    hub: str | None = None,
    check: RowCheck | None = None,
    *,
    writer: tuple[str, str] | None = None,
) -> Stage:
    """Read, check, deduplicate and hash the three splits.

    `columns`: the task's, and those of its optional ones that rows have; `kinds`: of their values, where the names do not say it.
    `sources`: what to read, and its `digest`. `known`: names of the outputs of the recipe's model; None where the rows name them.
    `hub`: the hub id of a model whose names of outputs are read here. `check`: what is wrong with a row for the model.
    `writer`: the model, and its digest, that says how the rows' conversations are written.
    """
    task, absent = find_task(recipe.task), absent_columns(recipe, columns)

    def run(context: Context) -> JsonObject:
        from edgekit.data.splits import prepare

        names, reader = known, check
        if reader is None and writer is not None:
            from edgekit.models.checkpoint import resolve

            reader = row_check(recipe, str(resolve(writer[0], recipe.model.revision)))
        if hub is not None:
            from edgekit.models.checkpoint import resolve
            from edgekit.models.facts import facts_of_checkpoint

            names = facts_of_checkpoint(str(resolve(hub, recipe.model.revision))).labels
        record = prepare(sources, columns, context.out, absent, kinds, names, reader)
        return {"splits": record["splits"], "notes": record["notes"], "doubts": record["doubts"]}

    return Stage(
        "rows", "read and check the rows", run,
        external={
            "source": digest,
            **({"model": f"{hub}@{recipe.model.revision}"} if hub is not None else {}),
            **({"writer": writer[1]} if writer is not None else {}),
        },
        settings=RowsSettings(recipe.task, tuple(column for column in columns if column in task.optional), known),
    )  # fmt: skip


def absent_columns(recipe: Recipe, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Columns of the recipe's task that rows of `columns` are without, and that none of them may have."""
    return tuple(column for column in find_task(recipe.task).optional if column not in columns)


def merge_stage(recipe: Recipe, adapter: Adapter, digest: str) -> Stage:
    """The checkpoint that an adapter and its base make. `digest`: of both."""
    settings = MergeSettings(find_task(recipe.task).auto, adapter.base_name)

    def run(context: Context) -> JsonObject:
        from edgekit.models.merge import merge_adapter

        return merge_adapter(adapter, context.out, auto=settings.auto)

    return Stage(
        "merge", f"merge the adapter into {adapter.base_name}", run, settings=settings, external={"model": digest},
        tools=(*TORCH, "peft"),
    )  # fmt: skip


def original_stage(
    recipe: Recipe, rows: Stage, source: str | None, digest: str | None, *, pairs: bool = False, merged: Stage | None = None,
    vocabulary_alone: bool = False,
) -> Stage:  # fmt: skip
    """The uncompressed model: imported from a folder or the hub, or trained from nothing.

    `source`: folder or hub id of the model that the recipe names, and its `digest`; of an adapter what it was `merged` to is read.
    `pairs`: rows have a second text. `vocabulary_alone`: the folder has no tokenizer.json.
    """
    model = recipe.model
    settings = OriginalSettings(recipe.task, model.max_length, recipe.seed, pairs, model.new, model.finetune)
    from_merged: dict[str, Stage] = {} if merged is None else {"merged": merged}
    external = {"model": str(digest)} if merged is None else {}

    def train(context: Context) -> JsonObject:
        from edgekit.train.supervised import train_from_scratch

        assert model.new is not None, "the stage is for [model.new]"
        return train_from_scratch(
            context.inputs["rows"], context.out, context.scratch, task=recipe.task, new=model.new,
            max_length=model.max_length, seed=recipe.seed, progress=context.progress,
        )  # fmt: skip

    def finetune(context: Context) -> JsonObject:
        from edgekit.models.checkpoint import resolve
        from edgekit.train.supervised import finetune

        assert source is not None and model.finetune is not None, "checked with the recipe"
        return finetune(
            context.inputs.get("merged") or resolve(source, model.revision), context.inputs["rows"], context.out, context.scratch, task=recipe.task,
            settings=model.finetune, max_length=model.max_length, seed=recipe.seed, progress=context.progress,
        )  # fmt: skip

    def load(context: Context) -> JsonObject:
        from edgekit.models.checkpoint import load, parameters, save
        from edgekit.models.conversations import settle_conversations
        from edgekit.models.embedding import embedding_of
        from edgekit.models.preprocessing import fit_positions
        from edgekit.models.settle import settle, settle_reader
        from edgekit.tasks.encode import texts_in
        from edgekit.train.supervised import mark_pairs

        assert source is not None, "a recipe names a model or trains one"
        task = find_task(recipe.task)
        original = load(context.inputs.get("merged") or source, task.auto, revision=model.revision, head=task.head)
        folder = Path(original.config.name_or_path)
        mark_pairs(original.config, pairs)
        if task.reads == "image":
            fit_positions(original, folder)
        save(original, context.out, tokenizer_files_from=folder)
        if task.reads != "text":
            settle_reader(task.reads, folder, context.out)
            return {"parameters": parameters(original)}
        encoder = find_task(recipe.task).kind == "encoder"
        lower_case = encoder and embedding_of(original).sentence.lower_case
        texts = texts_in(context.inputs["rows"], task) if "rows" in context.inputs else ()
        settle(folder, context.out, inputs=encoder, trim=encoder, lower_case=lower_case, texts=texts)
        if not encoder:
            settle_conversations(folder, context.out)
        return {"parameters": parameters(original)}

    if model.new is not None:
        return Stage(
            "train", "train the original from nothing", train, settings=settings, inputs={"rows": rows},
            version=1 + find_task(recipe.task).version, tools=(*TORCH, "tokenizers"), spread=True,
        )  # fmt: skip
    if model.finetune is not None:
        return Stage(
            "finetune", "train the original's head and encoder", finetune, settings=settings, inputs={"rows": rows, **from_merged},
            version=2 + find_task(recipe.task).version, external=external, tools=(*TORCH, "tokenizers"), spread=True,
        )  # fmt: skip
    return Stage(
        "original",
        "load and check the original",
        load,
        version=3
        if find_task(recipe.task).kind == "decoder"
        or find_task(recipe.task).auto == "AutoModel"
        or find_task(recipe.task).reads == "image"
        else 2,
        settings=settings,
        inputs={**({"rows": rows} if vocabulary_alone else {}), **from_merged},  # rows: what its conversion is compared on
        external=external,
        tools=(*TORCH, "tokenizers"),
    )


def answers_stage(recipe: Recipe, rows: Stage, original: Stage) -> Stage:
    """Rows without an answer, with the original's own as what they are scored against."""
    settings = AnswersSettings(recipe.task, recipe.model.max_length)

    def run(context: Context) -> JsonObject:
        from edgekit.train.reference_outputs import add_reference_outputs

        return add_reference_outputs(
            context.inputs["original"], context.inputs["rows"], context.out,
            task=settings.task, max_length=settings.max_length, progress=context.progress,
        )  # fmt: skip

    return Stage(
        "answers", "the original's answers to rows without any", run, settings=settings,
        inputs={"rows": rows, "original": original}, tools=(*TORCH, "tokenizers"),
    )  # fmt: skip


def compress_stage(
    recipe: Recipe, settings: MethodSettings, *, number: int, source: Stage, original: Stage, dense: Stage, rows: Stage,
    locations: Mapping[str, str],
) -> Stage:  # fmt: skip
    """One compression method. `locations`: folder or hub id of each checkpoint that steps name."""
    method = find_method(settings.method)
    named = method.named_checkpoints(settings)

    def run(context: Context) -> JsonObject:
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
        version=method.version + find_task(recipe.task).version,
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


def agreement_stage(
    recipe: Recipe, rows: Stage, original: Stage, exported: Stage, float_graph: Callable[[Path], dict[str, Path]], source: str | None,
    *, pairs: bool, merged: Stage | None = None,
) -> Stage:  # fmt: skip
    """The float32 bundle's answers beside those of the model's own library.

    `float_graph`: files of the exported graph by their names in a bundle. `source`: folder or hub id of the checkpoint as it came, which
    the library reads; None for one that the recipe trained. `merged`: what peft made of an adapter and its base, read in its place.
    """
    reference = find_task(recipe.task).reference
    assert reference is not None, "the plan asks for this stage where there is one"
    settings = AgreementSettings(recipe.task, reference.title, recipe.model.max_length, pairs, runtime_digest())

    def run(context: Context) -> JsonObject:
        from edgekit.agreement.check import check_agreement
        from edgekit.models.checkpoint import resolve
        from edgekit.pack.manifest import pack_for_comparison
        from edgekit.runtime.model import load
        from edgekit.tasks.encode import read_split

        checkpoint, graph = context.inputs["original"], context.inputs["exported"]
        bundle = context.scratch / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        bundle.mkdir()
        pack_for_comparison(bundle, recipe, checkpoint, graph, float_graph(graph))
        return check_agreement(
            load(bundle, threads=own_cores()),
            context.inputs.get("merged") or (checkpoint if source is None else resolve(source, recipe.model.revision)),
            find_task(settings.task), read_split(context.inputs["rows"], "test"), longest=settings.max_length, pairs=settings.pairs,
            progress=context.progress,
        )  # fmt: skip

    return Stage(
        "agreement", "compare answers with the model's own library", run, settings=settings,
        inputs={"original": original, "exported": exported, "rows": rows, **({} if merged is None else {"merged": merged})},
        tools=(*TORCH, "sentence-transformers", "onnxruntime", "tokenizers"),
    )  # fmt: skip


def calibration_stage(recipe: Recipe, rows: Stage) -> Stage:
    """Draw the calibration rows."""
    settings = CalibrationSettings(recipe.calibration.rows, recipe.seed)

    def run(context: Context) -> JsonObject:
        from edgekit.exporter.calibration import choose_rows

        return choose_rows(context.inputs["rows"], context.out, settings.rows, settings.seed)

    return Stage("calibration", "draw the calibration rows", run, settings=settings, inputs={"rows": rows})


def audit_stage(target: Target, quantize: Quantize, quantized: Stage, host: HostFacts, *, kernels: bool) -> Stage:
    """What the runtime really executes. `quantize`: the number format; `kernels`: whether the target's own provider is here."""

    def run(context: Context) -> JsonObject:
        from edgekit.audit.audit import audit
        from edgekit.audit.document import require

        document = audit(
            context.inputs["quantized"] / MODEL, target.model_copy(update={"quantize": quantize}),
            host_isa=frozenset(host.isa), host_arch=host.arch,
        )  # fmt: skip
        (context.out / "audit.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        require(document)
        return {
            "matmuls_integer": document["matmuls_integer"],
            "matmuls_constant": document["matmuls_constant"],
            "matmuls_weight_only": document["matmuls_weight_only"],
            "kept_float": document["kept_float"],
            "stray_qdq": document["stray_qdq"],
            "casts": document["casts"],
        }

    return Stage(
        "audit", "audit what the runtime executes", run, version=3, settings=AuditSettings(quantize, host, kernels),
        inputs={"quantized": quantized}, tools=("onnxruntime", "onnx"),
        target_fields={"name": target.name, "arch": target.arch, "isa": [*target.isa, *target.isa_any], "provider": target.provider,
                       "audit": target.audit, "session": target.session},
    )  # fmt: skip
