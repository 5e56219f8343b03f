"""What a student is trained for: its teachers' outputs, its labels, and the hidden states and relations of the first teacher.

Several teachers weigh the same (You et al. 2017, "Learning from Multiple Teacher Networks", section 3: their softened outputs are
averaged). With m teachers p_i and student q, at one temperature,

    1/m sum_i KL(p_i || q) = KL(1/m sum_i p_i || q) + a constant without q,

so the mean of the losses has the same gradient as the loss to the mean of their probabilities. The same holds for embeddings:
1 - cosine is linear in the teacher's unit vector, and the squared error of similarities has the gradient of that to their mean.
So the mean of the losses is what is computed, and teachers of any hidden size and tokenizer can stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.compress.distillation.hidden import dynamic_loss, mapped_loss
from edgekit.compress.distillation.relations import relation_loss, tapped
from edgekit.compress.distillation.settings import Settings
from edgekit.compress.distillation.teacher import Answers, LiveTeacher, Teacher
from edgekit.models.device import Feed
from edgekit.models.shapes import layer_count
from edgekit.tasks import Task
from edgekit.tasks.encode import Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["LabelObjective", "Objective", "label_loss"]


def label_loss(
    task: Task,
    output: torch.Tensor,
    teachers: Sequence[torch.Tensor],
    labels: torch.Tensor,
    mask: torch.Tensor,
    *,
    temperature: float,
    alpha: float,
) -> torch.Tensor:
    """alpha * mean over teachers of the soft-label loss + (1 - alpha) * the hard-label loss (Hinton et al. 2015); a scalar.

    `output`: the student's, as `task.tensor` gives it; `teachers`: the same of each teacher, which may be none where alpha is 0.
    `labels`, -1 for none, and `mask` int64 (b, s) as the task's losses take them.
    """
    value = output.new_zeros(())
    if alpha > 0:
        soft = [task.soft(output, teacher, labels, mask, temperature) for teacher in teachers]
        value = value + alpha * torch.stack(soft).mean()
    if alpha < 1:
        value = value + (1 - alpha) * task.hard(output, labels, mask).mean()
    return value


@dataclass(frozen=True)
class LabelObjective:
    """The loss of a batch to its teachers' outputs and its labels alone, as `edgekit.train.loop.fit` calls it."""

    task: Task
    train: Encoded
    teachers: Sequence[Teacher | LiveTeacher]
    temperature: float
    alpha: float
    """Weight of the soft labels; ignored, and 1, for tasks whose rows have no labels."""

    def __call__(self, model: PreTrainedModel, extra: torch.nn.Module | None, feed: Feed, windows: np.ndarray) -> torch.Tensor:
        """Scalar loss of the windows numbered `windows`, whose inputs `feed` are (b, s)."""
        mask = feed["attention_mask"]
        asked = self.teachers if self.alpha > 0 or not self.task.supervised else ()
        shown = [teacher.answers(feed, windows) for teacher in asked]
        return self.of_output(self.task.tensor(model, model(**feed), mask), mask, windows, shown)

    def of_output(
        self, output: torch.Tensor, mask: torch.Tensor, windows: np.ndarray, answers: Sequence[Answers]
    ) -> torch.Tensor:
        """Scalar loss where the student's output for the windows, and what its teachers say of them, are there already."""
        alpha = self.alpha if self.task.supervised else 1.0
        shown = [each.output for each in answers]
        labels = self.train.wanted(windows).to(mask.device)
        return label_loss(self.task, output.float(), shown, labels, mask, temperature=self.temperature, alpha=alpha)


@dataclass(frozen=True)
class Objective:
    """The loss of a batch to labels, hidden states and relations, as `edgekit.train.loop.fit` calls it."""

    settings: Settings
    labels: LabelObjective
    layers: list[int] | None
    """Student layers whose hidden states are compared, 0 for the embeddings; empty for none, None for all but the embeddings."""
    heads: int
    """Relation heads; 0 where relations are not compared."""

    def __call__(
        self, model: PreTrainedModel, projection: torch.nn.Module | None, feed: Feed, windows: np.ndarray
    ) -> torch.Tensor:
        """Scalar loss of the windows numbered `windows`, whose inputs `feed` are (b, s).

        `projection` maps the student's hidden states to the teacher's hidden size.
        """
        mask = feed["attention_mask"]
        deep = self.layers is None or len(self.layers) > 0
        with tapped(model, layer_count(model) - 1 if self.heads else None) as parts:
            outputs = model(**feed, output_hidden_states=deep)
        answers = [teacher.answers(feed, windows) for teacher in self.labels.teachers]
        value = self.labels.of_output(self.labels.task.tensor(model, outputs, mask), mask, windows, answers)
        if deep:
            loss = self._hidden(model, outputs.hidden_states, projection, mask, answers[0].tokens("hidden"))
            value = value + self.settings.hidden_weight * loss
        if self.heads:
            value = value + self.settings.relations_weight * self._relations(parts, mask, answers[0].tokens("relations"))
        return value

    def _hidden(
        self,
        model: PreTrainedModel,
        states: Sequence[torch.Tensor],
        projection: torch.nn.Module | None,
        mask: torch.Tensor,
        theirs: torch.Tensor,
    ) -> torch.Tensor:
        """`theirs`: float32 (tokens, parts, hidden) of the first teacher."""
        chosen = range(1, layer_count(model) + 1) if self.layers is None else self.layers
        ours = torch.stack([states[layer] for layer in chosen], dim=2)[mask.bool()].float()
        ours = ours if projection is None else projection(ours)
        return (dynamic_loss if self.layers is None else mapped_loss)(ours, theirs)

    def _relations(self, parts: list[torch.Tensor], mask: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
        """`flat`: float32 (tokens, 3, hidden) of the first teacher."""
        padded = flat.new_zeros(*mask.shape, *flat.shape[1:])
        padded[mask.bool()] = flat
        return relation_loss(parts, list(padded.unbind(dim=2)), mask, self.settings.relations, self.heads)
