"""distill: a frozen teacher trains a student on soft labels, hard labels, hidden states and relations between tokens.

Loss (Hinton et al. 2015, eq. 1 and section 2; hidden states after Jiao et al. 2020, TinyBERT, eq. 8):

    alpha * T^2 * KL(softmax(z_teacher / T) || softmax(z_student / T)) + (1 - alpha) * CE(z_student, label)
    + hidden_weight * mean over mapped layers of MSE(P h_student, h_teacher) + relations_weight * KL of relations

P is a learned projection where the widths differ, the identity elsewhere. The student starts from chosen teacher layers (see
`edgekit.compress.distillation.student` for other starts). Its word embeddings stay as they are, unless its width was cut: half of the
weights, which would be most of the optimizer's work, and words that the training rows lack keep their meaning. Rows without
a label count in all parts but the hard one; embeddings have the teacher's cosine and similarities in place of the first two
parts (see `edgekit.tasks.losses`). Several teachers are averaged (see `edgekit.compress.distillation.objective`); hidden states and
relations are those of the first.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from edgekit.compress.method import Work
from edgekit.config.toml import Strict
from edgekit.errors import BadInput

__all__ = ["METHOD", "VERSION", "Settings", "run", "starting_layers"]

METHOD = "distill"
VERSION = 1
SPREAD = True
CHECKPOINTS = ("student", "teachers", "fill_model")


class Settings(Strict):
    """Distil the original model into a smaller student, or back into a pruned one."""

    method: Literal["distill"]
    layers: int | None = Field(None, ge=1)
    """Layers of the student, taken evenly from the current model; left out: keep the current shape (recovery)."""
    take: list[int] | None = None
    """Which layers to start from, counted from 0, instead of evenly."""
    width: int | None = Field(None, ge=1)
    """Numbers that stand for a token between layers: the current model's most important ones (`edgekit.compress.pruning.importance`)."""
    heads: int | None = Field(None, ge=1)
    """Heads of each layer, the most important ones."""
    neurons: int | None = Field(None, ge=1)
    """Neurons of each layer's feed-forward block, the most important ones."""
    student: str | None = None
    """A checkpoint to start from as it is, a folder or hub id, instead of the current model."""
    teacher: Literal["original", "dense", "none"] = "original"
    """Who teaches: the uncompressed original, the model from before the first pruning, or only those of `teachers`."""
    teachers: list[str] = Field(default_factory=list)
    """More teachers, each a folder (relative to the recipe) or hub id (owner/name@revision): soft labels are the mean of all."""
    temperature: float = Field(4.0, gt=0, le=100)
    alpha: float = Field(0.9, ge=0, le=1)
    """Weight of the soft labels against the hard ones."""
    hidden: Literal["uniform", "skip", "last", "dynamic", "none"] = "uniform"
    """Map of student layers to teacher layers for the hidden-state loss; dynamic: in each batch the nearest, in order."""
    hidden_weight: float = Field(1.0, ge=0)
    relations: Literal["minilmv2", "attention", "none"] = "none"
    """Relations between tokens in the student's last layer that follow the teacher's."""
    relation_heads: int | None = Field(None, ge=1)
    """Heads that MiniLMv2's relations are cut into; left out: the teacher's own number."""
    relation_layer: int | None = None
    """The teacher's layer that shows its relations, counted from 0; left out: the last."""
    relations_weight: float = Field(1.0, ge=0)
    augment: int = Field(0, ge=0, le=100)
    """Texts made from each training row (words dropped, exchanged, spliced), which the teacher labels."""
    fill: int = Field(0, ge=0, le=100)
    """Texts made from each training row by masking words and drawing others from `fill_model`, which the teacher labels."""
    fill_model: str | None = None
    """A masked language model, a folder or hub id."""
    unlabelled: int = Field(0, ge=0)
    """Rows of [data] unlabelled to learn from too: the first so many."""
    lora: int | None = Field(None, ge=1)
    """Train low-rank adapters of this rank and the head instead of all weights, and fold them in at the end."""
    lora_alpha: float = Field(16.0, gt=0)
    """Scale of the adapters, in units of 1 / rank."""
    lora_targets: list[str] | None = None
    """Linear modules that get adapters, by the end of their path; left out: all of the encoder's."""
    epochs: int = Field(10, ge=1, le=10_000)
    batch: int = Field(32, ge=1, le=65_536)
    learning_rate: float = Field(3e-4, gt=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, le=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    """Numbers of the matrix products while training: bf16 is up to twice as fast where the chip multiplies it."""

    @model_validator(mode="after")
    def _taught(self) -> Settings:
        if self.teacher == "none" and not self.teachers:
            raise ValueError('teacher = "none" leaves nobody to teach; name `teachers`')
        if len(set(self.teachers)) < len(self.teachers):
            raise ValueError("one of `teachers` stands twice")
        return self

    @model_validator(mode="after")
    def _shaped(self) -> Settings:
        own = [name for name in ("layers", "take", "width", "heads", "neurons") if getattr(self, name) is not None]
        if self.student is not None and own:
            raise ValueError(f"a `student` comes in its own shape; leave out {', '.join(own)}")
        return self

    @model_validator(mode="after")
    def _filled(self) -> Settings:
        if (self.fill > 0) != (self.fill_model is not None):
            raise ValueError("`fill` copies need a `fill_model`, and a `fill_model` needs `fill` copies")
        return self

    @property
    def narrows(self) -> bool:
        """Whether layers change their shape."""
        return any(size is not None for size in (self.width, self.heads, self.neurons))

    @property
    def looks_inside(self) -> bool:
        """Whether tokens are compared with the first teacher's, and not answers alone."""
        hidden, relations = (self.hidden, self.hidden_weight), (self.relations, self.relations_weight)
        return any(kind != "none" and weight > 0 for kind, weight in (hidden, relations))


def starting_layers(settings: Settings, have: int) -> list[int]:
    """Layers of the current model that the student starts from.

    Raises:
        BadInput: more layers than there are, or a layer that does not exist.
    """
    if settings.take is not None:
        wrong = [layer for layer in settings.take if not 0 <= layer < have]
        if wrong or (settings.layers is not None and settings.layers != len(settings.take)):
            raise BadInput(
                f"take = {settings.take} does not name {settings.layers or 'existing'} layers of a model with {have}",
                where="compress, distill",
                fix=f"name layers from 0 to {have - 1}, as many as `layers` says",
            )
        return sorted(settings.take)
    count = settings.layers or have
    if count > have:
        raise BadInput(f"a student of {count} layers cannot start from a model of {have}", where="compress, distill, layers")
    return [(2 * number + 1) * have // (2 * count) for number in range(count)]


def _relation_layer(settings: Settings, depth: int) -> int:
    layer = depth - 1 if settings.relation_layer is None else settings.relation_layer
    if not 0 <= layer < depth:
        raise BadInput(
            f"relation_layer = {layer} is no layer of a teacher of {depth}",
            where="compress, distill",
            fix=f"name one from 0 to {depth - 1}",
        )
    return layer


def run(work: Work, settings: Settings) -> dict[str, Any]:
    """Train the student and write it to `work.out`; returns its history."""
    import torch

    from edgekit.compress.distillation.augment import more_rows
    from edgekit.compress.distillation.layer_map import layer_map
    from edgekit.compress.distillation.objective import Objective
    from edgekit.compress.distillation.relations import heads_for
    from edgekit.compress.distillation.student import masters_of, starting_student
    from edgekit.compress.distillation.teacher import Teacher, depth_of
    from edgekit.compress.pruning.zeros import kept_zeros
    from edgekit.models.checkpoint import load, parameters, save
    from edgekit.models.shapes import layer_count
    from edgekit.tasks import find_task
    from edgekit.tasks.encode import encode, labels_of, read_split
    from edgekit.train.loop import Plan, fit, quality_of
    from edgekit.train.lora import attach, merge

    task = find_task(work.task)
    start = starting_student(work, settings, task)
    student, folder = start.model, start.folder
    labels, given = (labels_of(place) if task.named else [] for place in (folder, work.source))
    if labels != given and sorted(labels) == sorted(given):
        raise BadInput("the student has the original's labels in another order", where="compress, distill, student")
    rows = {split: read_split(work.rows, split) for split in ("train", "validation")}
    rows["train"] += more_rows(work, settings, rows["train"])
    train, validation = (encode(folder, rows[split], task, work.max_length) for split in ("train", "validation"))
    masters = masters_of(work, settings, task)
    student.get_input_embeddings().weight.requires_grad_(start.kept is not None)
    zeros = kept_zeros(student)
    deep = settings.hidden != "none" and settings.hidden_weight > 0
    related = settings.relations != "none" and settings.relations_weight > 0
    depth = depth_of(masters[0])
    dynamic = deep and settings.hidden == "dynamic"
    pairs = layer_map(settings.hidden, layer_count(student), depth) if deep and not dynamic else []
    heads = heads_for(settings.relations, settings.relation_heads, student, load(masters[0], task.auto)) if related else 0
    shown = list(range(1, depth + 1)) if dynamic else [theirs for _, theirs in pairs]
    teachers = [
        Teacher.prepare(
            master, task, rows["train"], labels, work.max_length, work.scratch / f"teacher-{number}" if number else work.scratch,
            shown=[] if number else shown,
            relation_layer=_relation_layer(settings, depth) if related and not number else None,
            student=train, progress=work.progress,
        )
        for number, master in enumerate(masters)
    ]  # fmt: skip
    projection = None
    if deep and teachers[0].width != student.config.hidden_size:
        torch.manual_seed(work.seed)
        projection = torch.nn.Linear(student.config.hidden_size, teachers[0].width, bias=False)
        if start.kept is not None and masters[0] == work.source:
            projection.weight.data = torch.eye(teachers[0].width)[:, start.kept]
    loss = Objective(settings, task, train, teachers, None if dynamic else [ours for ours, _ in pairs], heads)

    def evaluate(model: Any) -> float:
        return quality_of(model, task, validation, rows["validation"], labels)

    if settings.lora is not None:
        attach(student, settings.lora, settings.lora_alpha, settings.lora_targets, seed=work.seed)
    plan = Plan(
        settings.epochs, settings.batch, settings.learning_rate, settings.weight_decay, settings.warmup, settings.precision
    )
    history = fit(
        student, train, loss, evaluate, plan,
        seed=work.seed, scratch=work.scratch / "epochs", progress=work.progress, label="distill", extra=projection,
        after_step=zeros if settings.lora is None else lambda: None,
    )  # fmt: skip
    if settings.lora is not None:
        merge(student)
        zeros()
    save(student, work.out, tokenizer_files_from=folder)
    return {"parameters": parameters(student), "validation": history["quality"][history["best_epoch"] - 1], "history": history}
