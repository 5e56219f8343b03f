"""The module that is exported: a transformers model with its attention mask in the form that costs least."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from edgekit.tasks.masking import arguments_for

__all__ = ["Graph"]


class Graph(torch.nn.Module):
    """(input_ids, attention_mask[, token_type_ids]), int64 (b, s) each -> the task's output."""

    def __init__(self, model: Any, tensor: Callable[[Any, Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self.tensor = tensor
        self.arguments = arguments_for(model.config)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        given = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        output = self.model(**self.arguments(input_ids, attention_mask), **given)
        return self.tensor(self.model, output, attention_mask)
