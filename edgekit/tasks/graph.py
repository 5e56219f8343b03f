"""The module that is exported: a transformers encoder with its attention mask in the form that costs least."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from edgekit.tasks.masking import arguments_for
from edgekit.tasks.task import EncoderTask

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import ModelOutput

__all__ = ["FeatureGraph", "Graph", "graph_of"]


class Graph(torch.nn.Module):
    """(input_ids, attention_mask[, token_type_ids]), int64 (b, s) each -> the task's output."""

    def __init__(
        self, model: PreTrainedModel, tensor: Callable[[PreTrainedModel, ModelOutput, torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self.model = model
        self.tensor = tensor
        self.arguments = arguments_for(model.config)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        output = self.model(**self.arguments(input_ids, attention_mask), **segments)
        return self.tensor(self.model, output, attention_mask)


class FeatureGraph(torch.nn.Module):
    """What is read of images or sounds, one input that `name` says, float32 (b, ...) -> the task's output."""

    def __init__(
        self, model: PreTrainedModel, tensor: Callable[[PreTrainedModel, ModelOutput, torch.Tensor], torch.Tensor], name: str
    ) -> None:
        super().__init__()
        self.model = model
        self.tensor = tensor
        self.name = name

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.tensor(self.model, self.model(**{self.name: values}), values)


def graph_of(task: EncoderTask, model: PreTrainedModel) -> Graph | FeatureGraph:
    """`model` as the module that is exported for `task`."""
    if task.reads != "text":
        return FeatureGraph(model, task.tensor, model.main_input_name)
    return Graph(model, task.tensor)
