"""What a task is to every stage that trains, scores or packs a model: one record for encoders, one for decoders.

Shapes: b windows in a batch, s tokens of the longest of them, k numbers a window or a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from edgekit.models.heads import HeadKind

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import ModelOutput

    from edgekit.runtime.jsontypes import JsonObject, JsonValue
    from edgekit.runtime.reader import Reads
    from edgekit.runtime.tokenise import Window
    from edgekit.tasks.reference import Reference

__all__ = ["AGREEMENT", "Alone", "DecoderTask", "EncoderTask", "Kind", "Task", "metrics_beside"]

Kind = Literal["encoder", "decoder"]
Evidence: TypeAlias = "Callable[[list[np.ndarray], list[list[Window]], JsonObject, list[str]], list[float]]"
AGREEMENT = "agreement with the original, no labels"
"""What the metric is called where the original itself says what is right."""


@dataclass(frozen=True)
class Alone:
    """How rows that do not say what is right are scored: by what the original answers to them."""

    how: str
    """What of the two answers is compared, in brackets behind `AGREEMENT`."""
    answer: Callable[[list[np.ndarray], list[list[Window]], JsonObject, list[str]], JsonObject]
    """(the original's outputs of all windows of a row, the windows, the row, label names) -> columns that hold what it answers."""
    columns: tuple[str, ...] = ("text",)
    """Columns such a row must have; the first can be made of a text."""
    unanswered: Mapping[str, None] = field(default_factory=lambda: MappingProxyType({"label": None}))
    """Columns of training rows, which have no answer: a teacher alone says what to learn from them."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Column -> the kind of its values, where its name does not say it."""
    seen: bool = False
    """Whether rows that have these columns alone are such by themselves; otherwise a recipe says so."""

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return f"{AGREEMENT} ({self.how})"


@dataclass(frozen=True)
class EncoderTask:
    """A task that a model answers in one run of its graph: a class, tags, a span, an embedding."""

    kind: ClassVar[Literal["encoder"]] = "encoder"

    name: str
    """Name in recipes; optimum's or the hub's, where they have one for it."""
    title: str
    """What the model answers, for people."""
    columns: tuple[str, ...]
    """Columns a row must have."""
    metric: str
    """Name of the headline metric: higher is better, shown in points of a hundredth."""
    output: str
    """Name of the exported graph's output."""
    auto: str
    """The transformers class that builds the model from a configuration."""
    per_token: bool
    """Whether the output is (b, s, k), k numbers for each token, or (b, k)."""
    items: Callable[[JsonObject], list[JsonValue]]
    """A row -> the inputs it asks about, each as a device receives it."""
    labels: Callable[[JsonObject, Sequence[Window], dict[str, int]], Sequence[int | np.ndarray]]
    """(row, the windows of its first input, index of each label name) -> the true label of each window."""
    tensor: Callable[[PreTrainedModel, ModelOutput, torch.Tensor], torch.Tensor]
    """(model, its transformers output, attention mask (b, s)) -> the task's output."""
    hard: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    """(output, labels, mask (b, s)) -> loss of each window against its true labels, (b,); 0 where it has none."""
    soft: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
    """(student's output, teacher's, labels, mask, temperature) -> mean loss against the teacher, temperature^2 included."""
    draw: Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]
    """(output, mask, generator) -> labels drawn from the model's own predictions, in the form that `hard` takes."""
    evidence: Evidence
    """(outputs of all windows of a row, the windows of each of its inputs, row, label names) -> the numbers the metric needs."""
    reduce: Callable[[np.ndarray], float]
    """Evidence of some rows, float64 (rows, numbers) -> the metric over them."""
    similarities: Mapping[str, Evidence] = field(default_factory=dict)
    """How the model's files call another comparison of two outputs than that of `evidence` -> the numbers with that one."""
    optional: tuple[str, ...] = ()
    """Columns that either all rows of a data set have, or none of them."""
    named: bool = True
    """Whether the model's outputs have label names."""
    pairs: bool = False
    """Whether a window always holds two texts."""
    reads: Reads = "text"
    """What an input is."""
    supervised: bool = True
    """Whether training rows hold labels; otherwise the teacher alone says what to learn."""
    alone: Alone | None = None
    """How rows without an answer are scored; None where such rows are no data."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Column -> the kind of its values (`edgekit.data.columns`), where its name does not say it."""
    head: HeadKind = "classes"
    """What the outputs of a sequence classification head mean to the task."""
    thresholds: bool = False
    """Whether an output applies from a score on, which is chosen on validation rows (`edgekit.tasks.threshold`)."""
    beside: Mapping[str, Callable[[np.ndarray], float]] = field(default_factory=dict)
    """Further metrics of the same evidence, by name."""
    reference: Reference | None = None
    """The library whose answers a bundle's must be; None where there is none."""
    version: int = 0
    """Raised whenever the windows, labels or evidence of existing rows change: stages that read them are made again then."""
    rows_fault: Callable[[Sequence[JsonObject], Sequence[str]], str | None] = lambda rows, labels: None
    """(rows, labels of a model) -> why all of these rows mean something else than that model's labels; None where they do not."""
    metric_of: Callable[[Sequence[str]], str | None] = lambda labels: None
    """Labels of a model -> the name of its metric, where they decide what is counted; None: `metric`."""

    def metric_on(self, columns: Sequence[str], labels: Sequence[str] = ()) -> str:
        """Name of the metric of a model with `labels` on rows of `columns`."""
        if self.alone is not None and set(columns) <= {*self.alone.columns, *self.optional}:
            return self.alone.metric
        return self.metric_of(labels) or self.metric


@dataclass(frozen=True)
class DecoderTask:
    """A task of a causal language model, which makes text one token after the other and is scored by the tokens of given texts."""

    kind: ClassVar[Literal["decoder"]] = "decoder"
    per_token: ClassVar[Literal[True]] = True
    """The output is logits for each token, (b, s, vocabulary)."""
    named: ClassVar[Literal[False]] = False
    """Its outputs are tokens, which have no label names."""
    pairs: ClassVar[Literal[False]] = False
    reads: ClassVar[Literal["text"]] = "text"
    similarities: ClassVar[Mapping[str, Evidence]] = MappingProxyType({})
    optional: ClassVar[tuple[str, ...]] = ()
    supervised: ClassVar[Literal[True]] = True
    """Every text says which token comes next."""
    alone: ClassVar[None] = None
    """Rows of a single `text` are what its own metric is for."""
    version: ClassVar[Literal[0]] = 0
    kinds: ClassVar[Mapping[str, str]] = MappingProxyType({})
    head: ClassVar[Literal["classes"]] = "classes"
    thresholds: ClassVar[Literal[False]] = False
    beside: ClassVar[Mapping[str, Callable[[np.ndarray], float]]] = MappingProxyType({})

    name: str
    """Name in recipes; one of optimum's task names."""
    title: str
    """What the model answers, for people."""
    columns: tuple[str, ...]
    """Columns a row must have."""
    metric: str
    """Name of the headline metric: higher is better, shown in points of a hundredth."""
    output: str
    """Name of the exported graph's output."""
    auto: str
    """The transformers class that builds the model from a configuration."""
    items: Callable[[JsonObject], list[JsonValue]]
    """A row -> the texts in it."""
    labels: Callable[[JsonObject, Sequence[Window], dict[str, int]], Sequence[np.ndarray]]
    """(row, its windows, nothing) -> the token after each token of each window, -1 after the last."""
    tensor: Callable[[PreTrainedModel, ModelOutput, torch.Tensor], torch.Tensor]
    """(model, its transformers output, attention mask (b, s)) -> logits (b, s, vocabulary)."""
    hard: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    """(logits, labels, mask (b, s)) -> loss of each window against the tokens that came, (b,)."""
    soft: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
    """(student's logits, teacher's, labels, mask, temperature) -> mean loss against the teacher, temperature^2 included."""
    evidence: Evidence
    """(log-probabilities or logits of a text, its window, row, nothing) -> the numbers the metric needs."""
    reduce: Callable[[np.ndarray], float]
    """Evidence of some rows, float64 (rows, numbers) -> the metric over them."""
    reference: Reference | None = None
    """The library whose answers a bundle's must be; None where there is none."""

    def metric_on(self, columns: Sequence[str], labels: Sequence[str] = ()) -> str:
        """Name of the metric on rows of `columns`."""
        return self.metric


Task: TypeAlias = EncoderTask | DecoderTask
"""Told apart by `kind`; what both have is what training, rows and scores need of any task."""


def metrics_beside(task: Task, original: np.ndarray, other: np.ndarray) -> JsonObject:
    """{"beside": ...}: further metrics of the same evidence of the original and of another model; nothing of a task without any, nor of
    evidence of one number, which is the metric."""
    found: JsonObject = {
        name: {"original": measure(original), "value": measure(other)}
        for name, measure in task.beside.items()
        if original.shape[1] > 1
    }
    return {"beside": found} if found else {}
