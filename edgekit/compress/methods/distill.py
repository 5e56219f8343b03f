"""distill: a frozen teacher trains a student on soft labels, hard labels, hidden states and relations between tokens.

Loss (Hinton et al. 2015, eq. 1 and section 2; hidden states after Jiao et al. 2020, TinyBERT, eq. 8):

    alpha * T^2 * KL(softmax(z_teacher / T) || softmax(z_student / T)) + (1 - alpha) * CE(z_student, label)
    + hidden_weight * mean over mapped layers of MSE(P h_student, h_teacher) + relations_weight * KL of relations

P is a learned projection where the hidden sizes differ, the identity elsewhere. The student starts from chosen teacher layers (see
`edgekit.compress.distillation.student` for other starts). Its word embeddings are frozen unless its hidden size was cut: they are half
of the weights, which would be most of the optimizer's work, and words that the training rows lack keep their meaning. Rows without
a label count in all terms but the hard one; embeddings have the teacher's cosine and similarities in place of the first two
terms (see `edgekit.tasks.losses`). Several teachers are averaged (see `edgekit.compress.distillation.objective`); hidden states and
relations are those of the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.compress.checks import absent_labels, absent_modules, unlisted_layers
from edgekit.compress.distillation.layer_map import layer_map, map_faults
from edgekit.compress.distillation.settings import Settings, layer_faults
from edgekit.compress.method import Method, StepContext, Work, share_left
from edgekit.compress.methods import prune_structured
from edgekit.config.recipe import MethodSettings
from edgekit.config.search import Integers, Ranges, Reals
from edgekit.errors import BadInput
from edgekit.models.anatomy import REFUSED, anatomy_named
from edgekit.models.facts import ModelFacts, cut_to
from edgekit.models.heads import CLASSIFIER
from edgekit.models.sentence import Dense
from edgekit.models.sound_families import SOUND_FAMILIES
from edgekit.runtime.jsontypes import JsonObject

if TYPE_CHECKING:
    from edgekit.compress.distillation.teacher import LiveTeacher, Teacher
    from edgekit.tasks import Task
    from edgekit.tasks.encode import Encoded

__all__ = ["METHOD", "Settings", "run"]

NAME = "distill"
FEW_ROWS = 32
"""Rows by which layers are chosen where only their number matters."""
TEACHING: Ranges = {
    "epochs": Integers(2, 32, log=True),
    "learning_rate": Reals(1e-4, 2e-3, log=True),
    "augment": Integers(0, 4),
}
"""What a search draws of any student."""


def check(settings: Settings, context: StepContext) -> list[str]:
    """Sizes, layers, tokens, labels and rows that the student, its teachers or the data do not have."""
    start = _start(settings, context.model, context.checkpoints)
    student = transform(settings, context.model, context.checkpoints)
    teachers = _teachers(settings, context)
    faults = []
    if settings.student is not None and context.number > 1:
        faults.append("`student` replaces what the steps before it made; put this step first")
    faults += layer_faults(settings, start.layers)
    if settings.hidden_weight > 0:
        faults += map_faults(settings.hidden, student.layers, teachers[0].layers)
    faults += _relation_layer_faults(settings, teachers[0].layers) + _relation_faults(settings, start, teachers[0])
    faults += _size_faults(settings, start, student, teachers[0], context)
    faults += _sentence_faults(settings, start, context)
    faults += absent_labels(settings, settings.alpha, context) + absent_modules(settings.lora_targets, start.modules)
    if settings.lora is not None and settings.lora_targets is None:
        faults += unlisted_layers(start, "name the modules that get adapters (lora_targets), or leave `lora` out")
    faults += _token_faults(settings, start, teachers, context) + _image_faults(settings, context)
    return faults + _unlabelled_faults(settings, context) + _checkpoint_faults(settings, context)


def _image_faults(settings: Settings, context: StepContext) -> list[str]:
    """Settings that change texts, or matrices that an encoder of images or sounds keeps elsewhere."""
    if context.task.reads == "text":
        return [] if settings.images is None else [f"images: {context.recipe.task} reads text; leave it out"]
    asked = {
        "augment": settings.augment,
        "images": settings.images if context.task.reads == "sound" else None,
        "unlabelled": settings.unlabelled,
        "fill_model": settings.fill_model,
        "width": settings.width,
    }
    faults = [f"{name}: not for {context.task.reads}s yet; leave it out" for name, value in asked.items() if value]
    kind = context.model.architecture
    if kind in REFUSED and settings.relations != "none":
        faults.append(f'relations = "{settings.relations}": not of {kind}, as {REFUSED[kind]}; leave it out')
    if kind in SOUND_FAMILIES and kind in REFUSED and settings.hidden != "none":
        faults.append(f'hidden = "{settings.hidden}": not of {kind}, as {REFUSED[kind]}; set hidden = "none"')
    if kind == "swin" and settings.hidden != "none":
        faults.append('hidden: the layers of swin are stages whose hidden states have different sizes; set hidden = "none"')
    return faults


def transform(settings: Settings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """A model of the layers and sizes that are asked for, or of the `student` that it started from."""
    start = _start(settings, model, checkpoints)
    layers = len(settings.take) if settings.take is not None else settings.layers
    return replace(
        start,
        layers=cut_to(start.layers, layers),
        hidden_size=cut_to(start.hidden_size, settings.width),
        heads=cut_to(start.heads, settings.heads),
        kv_heads=cut_to(start.kv_heads, settings.heads),
        intermediate_size=cut_to(start.intermediate_size, settings.neurons),
        uniform=start.uniform,
        pruned=model.pruned,
    )


def _start(settings: Settings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """What the student starts from."""
    return model if settings.student is None else checkpoints.get(settings.student, ModelFacts(settings.student))


def _teachers(settings: Settings, context: StepContext) -> list[ModelFacts]:
    """All teachers; hidden states and relations are those of the first."""
    own = {"original": [context.original], "dense": [context.dense], "none": []}[settings.teacher]
    return own + [context.checkpoint(name) for name in settings.teachers]


def _relation_layer_faults(settings: Settings, have: int | None) -> list[str]:
    """A layer of relations that a teacher of `have` layers lacks."""
    if settings.relation_layer is None or have is None or 0 <= settings.relation_layer < have:
        return []
    return [f"relation_layer = {settings.relation_layer} is no layer of a teacher of {have}"]


def _relation_faults(settings: Settings, start: ModelFacts, teacher: ModelFacts) -> list[str]:
    """Queries, keys and values that a student or its teacher has in one matrix."""
    if settings.relations == "none" or settings.relations_weight == 0:
        return []
    kinds = dict.fromkeys(model.architecture for model in (start, teacher) if model.architecture is not None)
    return [
        f'relations: queries, keys and values of {kind} are one Linear and cannot be compared; set relations = "none"'
        for kind in kinds
        if (anatomy := anatomy_named(kind)) is not None and anatomy.packed
    ]


def _size_faults(
    settings: Settings, start: ModelFacts, student: ModelFacts, teacher: ModelFacts, context: StepContext
) -> list[str]:
    """Sizes larger than those of the model that the student starts from, or that the teacher's cannot be compared with."""
    faults = []
    sizes = {
        "width": (settings.width, start.hidden_size),
        "heads": (settings.heads, start.heads),
        "neurons": (settings.neurons, start.intermediate_size),
    }
    for setting, (asked, have) in sizes.items():
        if asked is not None and have is not None and asked > have:
            faults.append(f"{setting} = {asked} is more than the {have} of the model that the student starts from")
    attention = settings.relations == "attention" and settings.relations_weight > 0
    ours = student.heads if student.uniform or settings.heads is not None else None
    theirs = teacher.heads if teacher.uniform else None
    if attention and ours is not None and theirs is not None and ours != theirs:
        faults.append(f'attention maps of {ours} heads cannot be compared with {theirs}; use relations = "minilmv2"')
    reshaped = settings.student is not None or settings.width is not None
    given, wanted = student.embedding_size, context.original.embedding_size
    if context.alone and reshaped and given is not None and wanted is not None and given != wanted:
        faults.append(
            f"embeddings of {given} numbers cannot be compared with the original's of {wanted}, which is the metric on rows of a text alone; "
            "keep their size, or give rows of sentence1, sentence2 and score"
        )
    return faults


def _sentence_faults(settings: Settings, start: ModelFacts, context: StepContext) -> list[str]:
    """Embeddings of a `student` or of teachers that would not be sentence-transformers' own, and a Dense module that cannot be narrowed."""
    if context.task.auto != "AutoModel":
        return []
    named = [("student", settings.student), *(("teachers", teacher) for teacher in settings.teachers)]
    faults = [
        f"{setting}: {name}: {fault}"
        for setting, name in named
        if name is not None
        for fault in context.checkpoint(name).sentence_faults
    ]
    first = next((module for module in start.sentence.modules if isinstance(module, Dense)), None) if start.sentence else None
    if settings.width is not None and settings.width != start.hidden_size and first is not None and first.adds_itself:
        faults.append(
            f"width = {settings.width}: {first.path} adds its input to its output (config.json, use_residual), so that it cannot read fewer "
            "numbers; leave `width` out"
        )
    return faults


def _token_faults(settings: Settings, start: ModelFacts, teachers: list[ModelFacts], context: StepContext) -> list[str]:
    """Teachers of other tokens than the student's, where what they say of each token is compared."""
    per_token = context.task.per_token
    compared = teachers if per_token else teachers[:1] if settings.looks_inside else []
    faults = []
    if compared and start.token_changes and any(teacher.token_changes != start.token_changes for teacher in compared):
        changed_by = start.token_changes[-1]
        faults.append(
            f"distil cannot compare tokens once {changed_by} has changed them; put {changed_by} last"
            + ("" if per_token else ', or set hidden = "none" and relations = "none"')
        )
    for teacher in compared:
        if start.vocabulary and teacher.vocabulary and teacher.vocabulary != start.vocabulary:
            faults.append(
                f"{Path(str(teacher.checkpoint)).name} tokenizes text otherwise than the student, so that their tokens cannot "
                "be compared"
                + ("" if per_token else '; set hidden = "none" and relations = "none", or let another teacher be the first')
            )
    return faults


def _unlabelled_faults(settings: Settings, context: StepContext) -> list[str]:
    """Rows without labels that there are none of, or that the task cannot read."""
    if not settings.unlabelled:
        return []
    faults = []
    if context.recipe.data.unlabelled is None:
        faults.append(f"unlabelled = {settings.unlabelled}, but [data] names no `unlabelled` rows")
    if context.task.pairs or context.pairs:
        what = "rows of pairs" if context.pairs else context.recipe.task
        faults.append(f"a text alone is no input of {what}, so unlabelled rows are of no use")
    return faults


def _checkpoint_faults(settings: Settings, context: StepContext) -> list[str]:
    """A `student` or teachers of other labels than the original, and a `fill_model` that cannot fill masks."""
    faults = []
    ours = context.original.labels if context.task.named and context.recipe.model.finetune is None else None
    for setting, name in [("student", settings.student), *(("teachers", teacher) for teacher in settings.teachers)]:
        if name is None:
            continue
        head, labels = context.checkpoint(name).head, context.checkpoint(name).labels
        if head is not None and context.task.auto == CLASSIFIER:
            faults += [f"{setting}: {name}: {fault}" for fault in head.faults(context.task.head)]
        if not labels or not ours:
            continue
        if sorted(labels) != sorted(ours):
            faults.append(f"{setting}: {name} has other labels than the original")
        elif setting == "student" and _reordered(
            labels, ours
        ):  # a teacher's outputs are put in order, a student's head is kept
            faults.append(f"{setting}: {name} has the original's labels in another order")
    if settings.fill_model is not None and context.checkpoint(settings.fill_model).fills_masks is False:
        faults.append(
            f"fill_model: {settings.fill_model} has no head that fills masks in its weights; name a masked language model, as "
            "pretraining left it"
        )
    return faults


def _reordered(labels: Sequence[str], others: Sequence[str]) -> bool:
    """Whether these are the same labels in another order."""
    return list(labels) != list(others) and sorted(labels) == sorted(others)


def _relation_layer(settings: Settings, depth: int) -> int:
    if faults := _relation_layer_faults(settings, depth):
        raise BadInput(faults[0], where=f"compress, {NAME}", fix=f"name one from 0 to {depth - 1}")
    return depth - 1 if settings.relation_layer is None else settings.relation_layer


def run(work: Work, settings: Settings) -> JsonObject:
    """Train the student and write it to `work.out`; returns its history."""
    import torch

    from edgekit.compress.distillation.objective import LabelObjective, Objective
    from edgekit.compress.distillation.relations import heads_for
    from edgekit.compress.distillation.student import starting_student, teachers_of
    from edgekit.compress.distillation.teacher import depth_of
    from edgekit.compress.distillation.unlabelled import more_rows
    from edgekit.compress.pruning.masked_weights import adapt, kept_zeros
    from edgekit.models.checkpoint import load, parameters, save
    from edgekit.models.shapes import input_module, layer_count
    from edgekit.tasks import find_task
    from edgekit.tasks.encode import encode, labels_of, read_split
    from edgekit.train.evaluate import quality_of
    from edgekit.train.loop import Hyperparameters, fit

    task = find_task(work.task)
    start = starting_student(work, settings, task)
    student, folder = start.model, start.folder
    labels, current = (labels_of(checkpoint) if task.named else [] for checkpoint in (folder, work.source))
    if _reordered(labels, current):
        raise BadInput("the student has the original's labels in another order", where="compress, distill, student")
    rows = {split: read_split(work.rows, split) for split in ("train", "validation")}
    rows["train"] += more_rows(work, settings, rows["train"])
    train, validation = (encode(folder, rows[split], task, work.max_length) for split in ("train", "validation"))
    checkpoints = teachers_of(work, settings, task)
    input_module(student).requires_grad_(start.kept is not None)
    zeros = kept_zeros(student)
    deep = settings.hidden != "none" and settings.hidden_weight > 0
    related = settings.relations != "none" and settings.relations_weight > 0
    depth = depth_of(checkpoints[0])
    dynamic = deep and settings.hidden == "dynamic"
    pairs = layer_map(settings.hidden, layer_count(student), depth) if deep and not dynamic else []
    heads = heads_for(settings.relations, settings.relation_heads, student, load(checkpoints[0], task.auto)) if related else 0
    shown = list(range(1, depth + 1)) if dynamic else [theirs for _, theirs in pairs]
    ask = partial(_teacher, work=work, settings=settings, task=task, rows=rows["train"], labels=labels, student=train)
    related_layer = _relation_layer(settings, depth) if related else None
    first = ask(checkpoints[0], work.scratch, shown, related_layer)
    teachers = [
        first,
        *(
            ask(checkpoint, work.scratch / f"teacher-{number}", [], None)
            for number, checkpoint in enumerate(checkpoints[1:], 1)
        ),
    ]
    projection = None
    if deep and teachers[0].hidden_size != student.config.hidden_size:
        torch.manual_seed(work.seed)
        projection = torch.nn.Linear(student.config.hidden_size, teachers[0].hidden_size, bias=False)
        if start.kept is not None and checkpoints[0] == work.source:
            projection.weight.data = torch.eye(teachers[0].hidden_size)[:, start.kept]
    by_labels = LabelObjective(task, train, teachers, settings.temperature, settings.alpha)
    loss = Objective(settings, by_labels, None if dynamic else [ours for ours, _ in pairs], heads)

    fold = adapt(student, settings, seed=work.seed) if settings.lora is not None else None
    history = fit(
        student, train, loss, lambda model: quality_of(model, task, validation, rows["validation"], labels),
        Hyperparameters.of(settings),
        seed=work.seed, scratch=work.scratch / "epochs", progress=work.progress, label="distill", extra=projection,
        after_step=zeros if fold is None else lambda: None, changes=settings.images,
    )  # fmt: skip
    if fold is not None:
        fold()
    save(student, work.out, tokenizer_files_from=folder)
    return {"parameters": parameters(student), "validation": history.best, "history": history.to_json()}


def _teacher(
    checkpoint: Path, scratch: Path, shown: list[int], relation_layer: int | None, *, work: Work, settings: Settings, task: Task,
    rows: Sequence[JsonObject], labels: list[str], student: Encoded,
) -> Teacher | LiveTeacher:  # fmt: skip
    """A teacher: what it says of the training rows, or itself where these are changed in every step."""
    from edgekit.compress.distillation.teacher import LiveTeacher, Teacher

    if settings.images is not None:
        return LiveTeacher.prepare(
            checkpoint, task, rows, labels, work.max_length, shown=shown, relation_layer=relation_layer, student=student
        )
    return Teacher.prepare(
        checkpoint, task, rows, labels, work.max_length, scratch,
        shown=shown, relation_layer=relation_layer, student=student, progress=work.progress,
    )  # fmt: skip


def _a_student(model: ModelFacts) -> Ranges | None:
    """Fewer layers, of a model that has several."""
    if model.layers is None or model.layers < 2:
        return None
    return {"layers": Integers(1, model.layers - 1), **TEACHING}


def _recovery(model: ModelFacts) -> Ranges:
    """The same shape: what the steps before it cost."""
    return TEACHING


def _leaves(settings: Settings, model: ModelFacts) -> tuple[float, float]:
    """The layers and the width that are asked for."""
    layers, width = (
        len(settings.take) if settings.take is not None else settings.layers,
        share_left(settings.width, model.hidden_size),
    )
    return share_left(layers, model.layers) * width, width


def _untrained(settings: Settings) -> Sequence[MethodSettings] | None:
    """A model with as many layers, or the same one."""
    if any(getattr(settings, name) is not None for name in ("student", "width", "heads", "neurons")):
        return None
    layers = len(settings.take) if settings.take is not None else settings.layers
    return [] if layers is None else [prune_structured.Settings(method="prune-structured", layers=layers, rows=FEW_ROWS)]


METHOD = Method(
    name=NAME, version=3, settings=Settings, serves=("encoder",), reads=("text", "image", "sound"),
    run=run, check=check, transform=transform, spread=True,
    checkpoints=("student", "teachers", "fill_model"), instead="distill-decoder",
    search={"student": _a_student, "recovery": _recovery}, of_texts=("augment",),
    untrained=_untrained, leaves=_leaves,
)  # fmt: skip
