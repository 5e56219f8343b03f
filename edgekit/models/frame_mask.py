"""The mask of a model that reads samples: of its frames, in the place of one of the samples that transformers counts frames by.

Everything here that trains, prunes or compares hidden states counts what a layer reads, which are frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["mask_by_frames"]


def mask_by_frames(model: PreTrainedModel) -> None:
    """Have `model` take an attention mask (b, frames) of 0 and 1."""
    own: Any
    for own in (model, model.base_model):
        own._get_feature_vector_attention_mask = _as_it_is


def _as_it_is(frames: int, mask: torch.Tensor, add_adapter: bool | None = None) -> torch.Tensor:
    """`mask` (b, `frames`), as bool."""
    return mask.bool()
