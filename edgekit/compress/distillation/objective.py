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
from edgekit.compress.distillation.teacher import Teacher
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
    teachers: Sequence[Teacher]
    temperature: float
    alpha: float
    """Weight of the soft labels; ignored, and 1, for tasks whose rows have no labels."""

    def __call__(self, model: PreTrainedModel, extra: torch.nn.Module | None, feed: Feed, windows: np.ndarray) -> torch.Tensor:
        """Scalar loss of the windows numbered `windows`, whose inputs `feed` are (b, s)."""
        mask = feed["attention_mask"]
        return self.of_output(self.task.tensor(model, model(**feed), mask), mask, windows)

    def of_output(self, output: torch.Tensor, mask: torch.Tensor, windows: np.ndarray) -> torch.Tensor:
        """Scalar loss where the student's output for the windows is there already."""
        alpha = self.alpha if self.task.supervised else 1.0
        shown = [teacher.output(windows).to(mask.device) for teacher in self.teachers] if alpha > 0 else []
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

    @property
    def _first(self) -> Teacher:
        """The teacher whose hidden states and relations are followed."""
        return self.labels.teachers[0]

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
        value = self.labels.of_output(self.labels.task.tensor(model, outputs, mask), mask, windows)
        if deep:
            loss = self._hidden(model, outputs.hidden_states, projection, mask, windows)
            value = value + self.settings.hidden_weight * loss
        if self.heads:
            value = value + self.settings.relations_weight * self._relations(parts, mask, windows)
        return value

    def _hidden(
        self,
        model: PreTrainedModel,
        states: Sequence[torch.Tensor],
        projection: torch.nn.Module | None,
        mask: torch.Tensor,
        windows: np.ndarray,
    ) -> torch.Tensor:
        theirs = torch.from_numpy(self._first.tokens("hidden", windows)).to(mask.device)
        chosen = range(1, layer_count(model) + 1) if self.layers is None else self.layers
        ours = torch.stack([states[layer] for layer in chosen], dim=2)[mask.bool()].float()
        ours = ours if projection is None else projection(ours)
        return (dynamic_loss if self.layers is None else mapped_loss)(ours, theirs)

    def _relations(self, parts: list[torch.Tensor], mask: torch.Tensor, windows: np.ndarray) -> torch.Tensor:
        flat = torch.from_numpy(self._first.tokens("relations", windows)).to(mask.device)
        padded = flat.new_zeros(*mask.shape, *flat.shape[1:])
        padded[mask.bool()] = flat
        return relation_loss(parts, list(padded.unbind(dim=2)), mask, self.settings.relations, self.heads)
