"""The stages of encoders as data: plain and fused ONNX, the target's number format, a score at batch 1 by the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.config.quantize import Bfloat16, Quantize, WeightOnly, chosen_by_rows
from edgekit.config.recipe import SHORTEST_INPUT, Calibration, Recipe
from edgekit.config.target import WASM, Target
from edgekit.host import Host
from edgekit.models.anatomy import ENCODERS
from edgekit.models.complete import missing_parts
from edgekit.models.facts import ModelFacts
from edgekit.models.heads import CLASSIFIER
from edgekit.models.image_families import families_for
from edgekit.models.sound_families import SOUND_FAMILIES
from edgekit.plan.plan import EVIDENCE, Exported, HostFacts, Lowering, Shared, Split, host_facts
from edgekit.plan.stages import LOWERING_TOOLS, TORCH
from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.providers.names import CPU, TENSORRT
from edgekit.runtime.tags import scheme_fault
from edgekit.store import NOT_MADE, Context, KeyPart, Stage, metrics_of
from edgekit.tasks import encoder_task

__all__ = ["ENCODER"]


SOFTMAX = ("AutoModelForImageClassification", "AutoModelForAudioClassification")
"""transformers' classes of which heads are served whose labels exclude one another, alone."""
HEAD_MODULES = {
    CLASSIFIER: ("classifier",), "AutoModelForTokenClassification": ("classifier",),
    "AutoModelForQuestionAnswering": ("qa_outputs", "classifier"), "AutoModelForImageClassification": ("classifier", "cls_classifier"),
    "AutoModelForAudioClassification": ("classifier",), "AutoModelForCTC": ("lm_head",),
}  # fmt: skip
"""transformers' class -> names of which its head has one, in every family here; a class without a head is not listed."""
STOCK_INT8 = "stock-int8"


@dataclass(frozen=True)
class ExportSettings:
    """What an export depends on beside the checkpoint."""

    task: str
    max_length: int


@dataclass(frozen=True)
class Selection:
    """What a choice by measured quality and time depends on."""

    floor: float
    """Largest loss of the metric that is accepted, as a share of 1."""
    timed: bool
    """Whether candidates are timed too: only where this host is the target."""


@dataclass(frozen=True)
class QuantizeSettings:
    """What quantization depends on beside its inputs."""

    quantize: Quantize
    calibration: Calibration
    task: str
    max_length: int
    selection: Selection | None
    """None where nothing is chosen by measuring."""


@dataclass(frozen=True)
class ScoreSettings:
    """What a score depends on beside its inputs."""

    task: str
    max_length: int
    provider: str
    """The execution provider that runs the graph."""
    session: Mapping[str, str]
    """Session configuration entries."""
    host: HostFacts


def faults_of(recipe: Recipe, targets: Sequence[Target], original: ModelFacts, host: Host | None) -> list[str]:
    """What a recipe cannot have an encoder do: training without labels, columns that the task does not read, inputs longer than the
    model has positions for or its tokenizer gives, tokens that its embedding has no row for, a cache, and number formats that `host`
    could write but neither audit nor score."""
    task, faults = encoder_task(recipe.task), []
    if isinstance(recipe.quantize, WeightOnly) and recipe.quantize.cache != "float32":
        faults.append(f'quantize, cache = "{recipe.quantize.cache}": only a language model has a cache; leave it out')
    chosen = [recipe.quantize, *(target.chosen(recipe.quantize) for target in targets)]
    if any(isinstance(one, WeightOnly) and one.eight_bits is not None for one in chosen):
        faults.append("quantize, eight_bits: chosen by the next tokens of a language model; leave it out")
    known = {
        *task.columns,
        *task.optional,
        *(task.alone.columns if task.alone else []),
        *(["text"] if recipe.data.unlabelled else []),
    }
    faults += [
        f"data, columns: {name!r} is no column of {recipe.task}, whose rows have {', '.join(sorted(known))}"
        for name in sorted(set(recipe.data.columns) - known)
    ]
    tables = [table for table in ("new", "finetune") if getattr(recipe.model, table) is not None]
    if tables and not task.supervised:
        faults.append(f"model, {tables[0]}: rows of {recipe.task} do not say what to learn; name a trained model with `id`")
    read, kind = {
        "image": (families_for(task.auto), "of images of "),
        "sound": ([*SOUND_FAMILIES], "of sounds of "),
        "text": ([*ENCODERS], "of "),
    }[task.reads]
    if (
        original.architecture is not None
        and original.architecture not in read
        and not (task.auto == "AutoModel" and original.embedding_faults)
    ):
        faults.append(
            f'model: config.json, model_type = "{original.architecture}": no encoder {kind}this architecture is known here; use one of '
            f"{', '.join(read)}"
        )
    head = HEAD_MODULES.get(task.auto, ())
    if (
        not tables
        and head
        and original.modules is not None
        and not any(name.split(".")[0] in head for name in original.modules)
    ):
        faults.append(
            f"model: its weights have no head for {recipe.task} ({' or '.join(head)}); use a model that was trained for it, or train a head on "
            "your rows with a [model.finetune] table"
        )
    elif not tables and task.auto == CLASSIFIER and original.modules is not None:
        missing = missing_parts(original.architecture, original.modules)
        faults += [f"model: its weights have no {part}, which is a part of its head" for part in missing]
    faults += [f"model: {fault}" for fault in original.unread]
    if task.reads != "sound" and recipe.model.new is not None and (recipe.model.new.sound or recipe.model.new.changes):
        faults.append(
            f"model, new: sound and changes are of models of sounds, and {recipe.task} reads {task.reads}s; leave them out"
        )
    if not tables and task.auto in SOFTMAX and original.head is not None and original.head.kind != "classes":
        asks = (
            "use one of two labels or more"
            if original.head.outputs == 1
            else 'write problem_type = "single_label_classification" where the model was trained so'
        )
        faults.append(
            f"model: {original.head.decided}: of models of {task.reads}s, heads are served whose labels exclude one another (a softmax); {asks}"
        )
    if task.auto == "AutoModelForCTC":
        faults += [
            f"model, {table}: a CTC head needs a vocabulary, which rows do not say; name a trained model with `id`"
            for table in tables
        ]
    if original.architecture == "whisper" and recipe.model.finetune is not None:
        faults.append(
            "model, finetune: not of whisper yet, whose encoder has no name of its own among the tensors; name a trained model with `id`"
        )
    if task.reads != "text":
        faults += _faults_without_text(recipe, targets, f"{task.reads}s")
    positions = original.positions
    if positions is not None and recipe.model.max_length > positions:
        faults.append(f"model, max_length: {recipe.model.max_length} tokens, but the model has positions for {positions}")
    longest, decided = original.longest, "transformers cuts this model's texts to {} (tokenizer_config.json, model_max_length)"
    if task.auto == "AutoModel" and original.sentence is not None and original.sentence.longest is not None:
        longest = original.sentence.longest
        decided = f"sentence-transformers cuts this model's texts to {{}} ({original.sentence.settings}, max_seq_length)"
    if longest is not None and recipe.model.max_length > longest:
        asks = f"ask for {longest} or fewer, or correct the file" if longest >= SHORTEST_INPUT else "correct the file"
        faults.append(f"model, max_length: {recipe.model.max_length} tokens, but {decided.format(longest)}; {asks}")
    if original.cuts_left and task.per_token and task.named:
        faults.append(
            "model: its tokenizer cuts the beginning of a long text off (tokenizer_config.json, truncation_side), and tags are of words "
            'from the first one on; write "right" where the model was trained so'
        )
    if original.head is not None and task.auto == CLASSIFIER:
        faults += [f"model: {fault}" for fault in original.head.faults(task.head)]
    if task.auto == "AutoModel":
        faults += [f"model: {fault}" for fault in original.sentence_faults]
        faults += [f"model: {fault}" for fault in original.embedding_faults]
    faults += [f"model: {fault}" for fault in original.unreadable]
    if not tables and task.named and original.labels_fault is not None:
        faults.append(f"model: config.json, {original.labels_fault}")
    elif not tables and task.per_token and task.named and (fault := scheme_fault(original.labels or ())):
        faults.append(f"model: config.json, id2label: {fault}")
    if original.token_ids is not None and original.token_ids.fault is not None:
        faults.append(f"model: {original.token_ids.fault}")
    if host is not None:
        faults += [
            f"{target.name}: bf16 has kernels on the {target.provider} alone, and this machine, which has to audit and score the "
            "result, is without it; export it where the provider is, or use float16"
            for target in targets
            if isinstance(number_format(recipe, target), Bfloat16)
            and target.provider != CPU
            and target.provider not in host.providers
        ]
    return faults


def _faults_without_text(recipe: Recipe, targets: Sequence[Target], what: str) -> list[str]:
    """What a recipe asks of a model of images or sounds (`what`) that is of texts, or not made yet."""
    faults = []
    if recipe.model.new is not None and encoder_task(recipe.task).reads != "sound":
        faults.append(f"model, new: only encoders of texts and sounds are built from nothing; name a model of {what} with `id`")
    elif recipe.model.new is not None and recipe.model.new.sound is None:
        faults.append("model, new: does not say what it reads; give a table [model.new.sound], which may be empty")
    if recipe.data.unlabelled is not None:
        faults.append(f"data, unlabelled: texts, which a model of {what} does not read; leave it out")
    if "max_length" in recipe.model.model_fields_set:
        faults.append(f"model, max_length: {what} have no tokens that could be cut; leave it out")
    faults += [
        f"{target.name}: bundles of {what} are for CPUs yet; choose such a target"
        for target in targets
        if target.provider != CPU or target.arch == "wasm32"
    ]
    return faults


def export_stage(recipe: Recipe, checkpoint: Stage, title: str) -> Stage:
    """Checkpoint -> plain and fused ONNX, compared with PyTorch eager."""
    settings = ExportSettings(recipe.task, recipe.model.max_length)

    def run(context: Context) -> JsonObject:
        from edgekit.exporter.encoder import export

        return export(context.inputs["checkpoint"], context.out, task=settings.task, max_length=settings.max_length)

    return Stage(
        "export",
        title,
        run,
        version=4,
        settings=settings,
        inputs={"checkpoint": checkpoint},
        tools=(*TORCH, "optimum", "onnx", *LOWERING_TOOLS),
    )


def number_format(recipe: Recipe, target: Target) -> Quantize:
    """The recipe's, or else the target's own."""
    return target.chosen(recipe.quantize)


def quantize_stage(shared: Shared, target: Target, exported: Exported, title: str) -> Stage:
    """Fused ONNX -> the target's number format."""
    recipe = shared.recipe
    quantize = number_format(recipe, target)
    selects = chosen_by_rows(quantize)
    drop = recipe.accept.max_quality_drop
    selection = Selection(0.01 if drop is None else drop, timed=target.arch != WASM and target.matches(shared.host))
    settings = QuantizeSettings(
        quantize, recipe.calibration, recipe.task, recipe.model.max_length, selection if selects else None
    )
    plain = target.provider == TENSORRT  # it knows none of the fused operators
    reads: dict[str, KeyPart] = {}
    if recipe.quantize is None:
        reads["quantize"] = target.quantize
    if selects or isinstance(quantize, Bfloat16):
        reads["session"] = target.session
    if plain:
        reads["provider"] = target.provider

    def run(context: Context) -> JsonObject:
        from edgekit.exporter.encoder import FUSED
        from edgekit.quantize.encoder import QuantizeWork, quantize_encoder
        from edgekit.quantize.learned_ranges import learned_ranges
        from edgekit.quantize.selection import Evidence
        from edgekit.tasks.encode import encode, labels_of, read_split
        from edgekit.tasks.threshold import quality_on

        task, folder = encoder_task(settings.task), context.inputs["checkpoint"]
        rows = read_split(context.inputs["rows"], "validation") if selects else []
        validation = encode(folder, rows, task, settings.max_length)
        calibration = encode(folder, read_split(context.inputs["calibration"], "calibration"), task, settings.max_length)
        evidence = Evidence(
            feeds=[window.feed() for window in validation.windows],
            score=lambda outputs: quality_on(task, outputs, validation, rows, labels_of(folder)),
            floor=selection.floor,
            timed=selection.timed,
        )
        work = QuantizeWork(
            source=context.inputs["exported"] / (MODEL if plain else FUSED),
            out=context.out,
            session=target.session,
            calibration=settings.calibration,
            feeds=[window.feed() for window in calibration.windows],
            evidence=evidence,
            progress=context.progress,
            learned=learned_ranges(folder),
            provider=target.provider,
        )
        metrics = quantize_encoder(quantize, work)
        return {**metrics, "bytes": (context.out / MODEL).stat().st_size}

    return Stage(
        "quantize", title, run, version=7 + encoder_task(recipe.task).version, settings=settings, target_fields=reads, tools=LOWERING_TOOLS,
        inputs={"checkpoint": exported.checkpoint, "exported": exported.graph, "calibration": shared.calibration, "rows": shared.rows},
    )  # fmt: skip


def stock_stage(exported: Stage) -> Stage:
    """The off-the-shelf baseline: onnxruntime's own dynamic INT8 of the plain graph."""

    def run(context: Context) -> JsonObject:
        from edgekit.quantize.baseline import stock_int8

        return stock_int8(context.inputs["exported"] / MODEL, context.out)

    return Stage(
        STOCK_INT8,
        "off-the-shelf INT8 of the original",
        run,
        version=2,
        inputs={"exported": exported},
        tools=("onnxruntime", "onnx"),
    )


def score_stage(shared: Shared, checkpoint: Stage, model: Stage, target: Target | None, title: str, split: Split) -> Stage:
    """Per-row score of one graph on the rows of `split`, at batch 1, by the runtime that is timed.

    On the CPU, wherever the graph will serve, but for bf16, for which the CPU provider has no kernels everywhere.
    """
    recipe = shared.recipe
    bf16 = target is not None and number_format(recipe, target).format == "bf16"
    of_original = split == "test" and target is None and model.name != STOCK_INT8
    settings = ScoreSettings(
        recipe.task, recipe.model.max_length, target.provider if target and bf16 else CPU, target.stand_in if target else {},
        host_facts(shared.host),
    )  # fmt: skip

    def run(context: Context) -> JsonObject:
        import numpy as np

        from edgekit.bench.doubts import label_doubts
        from edgekit.bench.score import choose_threshold, read_rows, score

        if not (context.inputs["model"] / MODEL).is_file():
            return {NOT_MADE: metrics_of(context.inputs["model"])[NOT_MADE]}
        task, model, checkpoint = encoder_task(settings.task), context.inputs["model"] / MODEL, context.inputs["checkpoint"]
        rows, config, threshold = context.inputs["rows"], dict(settings.session), None
        if task.thresholds:
            threshold = choose_threshold(
                model, checkpoint, read_rows(rows / "validation.jsonl"), task=settings.task, max_length=settings.max_length,
                provider=settings.provider, config=config, progress=context.progress,
            )  # fmt: skip
        scored = read_rows(rows / f"{split}.jsonl")
        evidence = score(
            model, checkpoint, scored, task=settings.task, max_length=settings.max_length,
            provider=settings.provider, config=config, threshold=threshold, progress=context.progress,
        )  # fmt: skip
        np.save(context.out / EVIDENCE, evidence, allow_pickle=False)
        metrics: dict[str, JsonValue] = {"quality": task.reduce(evidence), "n": len(evidence)}
        if of_original and task.metric == "accuracy" and "label" in task.columns:
            labels = [str(row["label"]) for row in scored]
            metrics["doubts"] = [*label_doubts(evidence.reshape(len(labels), -1)[:, 0], labels)]
        if threshold is not None:
            metrics["threshold"] = threshold
        return metrics if settings.provider == CPU else {**metrics, "provider": settings.provider}

    return Stage(
        "score" if split == "test" else "score-validation", title, run, version=2 + encoder_task(recipe.task).version, settings=settings,
        inputs={"checkpoint": checkpoint, "model": model, "rows": shared.rows},
        tools=("onnxruntime", "tokenizers"),
    )  # fmt: skip


def nothing_beside(original: Path, variant: Path, seed: int) -> JsonObject:
    """Nothing: an encoder's quality is its metric alone."""
    return {}


def float_graph(exported: Path) -> dict[str, Path]:
    """The fused graph."""
    from edgekit.exporter.encoder import FUSED

    return {MODEL: exported / FUSED}


ENCODER = Lowering(
    faults=faults_of,
    number_format=number_format,
    export=export_stage,
    quantize=quantize_stage,
    score=score_stage,
    beside_metric=nothing_beside,
    float_graph=float_graph,
    stock=stock_stage,
)
