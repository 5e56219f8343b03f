"""The module that is exported: a transformers encoder with its attention mask made in three nodes instead of forty.

transformers 5 builds a padding mask from Range, GatherND, And, Where and Expand, to serve packed sequences and caches
that an encoder on a device never sees. A ready-made additive mask of shape (batch, 1, 1, sequence) is passed through
untouched and means the same.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["MASKED", "with_plain_mask"]

MASKED = -1e4
"""Added to the score of a padded position: exp(-1e4) is 0.0 in float32, and it fits float16, which float32's minimum does not."""


class PlainMask(torch.nn.Module):
    """(input_ids, attention_mask) -> one named output of the wrapped encoder."""

    def __init__(self, model: Any, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * MASKED
        result: torch.Tensor = getattr(self.model(input_ids=input_ids, attention_mask=mask), self.output)
        return result


def with_plain_mask(model: Any, output: str) -> torch.nn.Module:
    """Wrap `model` so that its padding mask costs three nodes."""
    return PlainMask(model, output)
