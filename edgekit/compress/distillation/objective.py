"""What a student is trained for: its teachers' answers, its labels, and what it is shown of the inside of the first teacher.

Several teachers count alike (You et al. 2017, "Learning from Multiple Teacher Networks", section 3: their softened outputs are
averaged). With m teachers p_i and student q, at one temperature,

    1/m sum_i KL(p_i || q) = KL(1/m sum_i p_i || q) + a constant without q,

so the mean of the losses has the very gradient of the loss to the mean of their probabilities. It is likewise for embeddings:
1 - cosine is linear in the teacher's unit vector, and the squared error of similarities has the gradient of that to their mean.
So the mean of the losses is what is computed, and teachers of any width and tokenizer can sit side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgekit.compress.distillation.hidden import dynamic_loss, mapped_loss
from edgekit.compress.distillation.relations import relation_loss, tapped
from edgekit.compress.distillation.settings import Settings
from edgekit.compress.distillation.teacher import Teacher
from edgekit.models.shapes import layer_count
from edgekit.tasks import Task
from edgekit.tasks.encode import Encoded

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """The loss of a batch, as `edgekit.train.loop.fit` calls it."""

    settings: Settings
    task: Task
    train: Encoded
    teachers: list[Teacher]
    layers: list[int] | None
    """Student layers whose hidden states are compared, 0 for the embeddings; empty for none, None for all but the embeddings."""
    heads: int
    """Relation heads; 0 where relations are not compared."""

    def __call__(
        self, model: Any, projection: torch.nn.Module | None, feed: dict[str, torch.Tensor], passes: np.ndarray
    ) -> torch.Tensor:
        """Scalar loss of the passes numbered `passes`, whose inputs `feed` are (b, s); `projection` maps to the teacher's width."""
        mask, alpha = feed["attention_mask"], self.settings.alpha if self.task.supervised else 1.0
        deep = self.layers is None or len(self.layers) > 0
        with tapped(model, layer_count(model) - 1 if self.heads else None) as parts:
            given = model(**feed, output_hidden_states=deep)
        output = self.task.tensor(model, given, mask).float()
        wanted = self.train.wanted(passes).to(mask.device)
        value = alpha * self._soft(output, wanted, mask, passes)
        if alpha < 1:
            value = value + (1 - alpha) * self.task.hard(output, wanted, mask).mean()
        if deep:
            value = value + self.settings.hidden_weight * self._hidden(model, given.hidden_states, projection, mask, passes)
        if self.heads:
            value = value + self.settings.relations_weight * self._relations(parts, mask, passes)
        return value

    def _soft(self, output: torch.Tensor, wanted: torch.Tensor, mask: torch.Tensor, passes: np.ndarray) -> torch.Tensor:
        """Mean over teachers of the loss to each."""
        shown = (teacher.output(passes).to(mask.device) for teacher in self.teachers)
        each = [self.task.soft(output, one, wanted, mask, self.settings.temperature) for one in shown]
        return torch.stack(each).mean()

    def _hidden(
        self, model: Any, states: Any, projection: torch.nn.Module | None, mask: torch.Tensor, passes: np.ndarray
    ) -> torch.Tensor:
        theirs = torch.from_numpy(self.teachers[0].tokens("hidden", passes)).to(mask.device)
        chosen = range(1, layer_count(model) + 1) if self.layers is None else self.layers
        ours = torch.stack([states[layer] for layer in chosen], dim=2)[mask.bool()].float()
        ours = ours if projection is None else projection(ours)
        return (dynamic_loss if self.layers is None else mapped_loss)(ours, theirs)

    def _relations(self, parts: list[torch.Tensor], mask: torch.Tensor, passes: np.ndarray) -> torch.Tensor:
        flat = torch.from_numpy(self.teachers[0].tokens("relations", passes)).to(mask.device)
        padded = flat.new_zeros(*mask.shape, *flat.shape[1:])
        padded[mask.bool()] = flat
        return relation_loss(parts, list(padded.unbind(dim=2)), mask, self.settings.relations, self.heads)
