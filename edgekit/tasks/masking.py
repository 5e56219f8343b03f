"""What the exported module gives a transformers encoder beside its token ids: the attention mask and the positions.

transformers 5 builds a padding mask from Range, GatherND, And, Where and Expand, for packed sequences and caches that an
encoder on a device never has. A ready-made mask of shape (batch, 1, 1, sequence) is taken as it is and
means the same. RoBERTa and MPNet count positions over the ids that are not padding, a "<pad>" inside a text included; that is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict

import torch

from edgekit.models.positions import first_position

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["MASKED", "Arguments", "arguments_for", "mask_for"]

MASKED = -1e4
"""Added to the score of a padded position: exp(-1e4) is 0.0 in float32, and it fits float16, which float32's minimum does not."""

Mask = torch.Tensor | dict[str, torch.Tensor]


class Arguments(TypedDict, total=False):
    """Keyword arguments of a transformers encoder."""

    input_ids: torch.Tensor
    attention_mask: Mask
    position_ids: torch.Tensor


def additive(mask: torch.Tensor) -> torch.Tensor:
    """(b, s) of 0 and 1 -> float32 (b, 1, 1, s), which is added to attention scores."""
    return (1.0 - mask[:, None, None, :].to(torch.float32)) * MASKED


def mask_for(config: PreTrainedConfig) -> Callable[[torch.Tensor], Mask]:
    """The function from a mask of 0 and 1, int64 (b, s), to what a model of `config` takes as `attention_mask`.

    Most families add a mask (b, 1, 1, s) to their scores. DeBERTa fills where a mask (b, 1, 1, s) of 0 and 1 is 0, and its
    convolution, where it has one, wants the mask as it came. ModernBERT takes one mask for each kind of layer; its head, where it
    averages over tokens, wants the mask as it came.
    """
    kind = config.model_type
    if kind == "deberta-v2":
        return _unchanged if getattr(config, "conv_kernel_size", 0) > 0 else _broadcast
    if kind == "modernbert":
        return _unchanged if config.classifier_pooling == "mean" else _by_layer_type(config.sliding_window)
    return additive


def arguments_for(config: PreTrainedConfig) -> Callable[[torch.Tensor, torch.Tensor], Arguments]:
    """The function from (ids, mask), int64 (b, s) each, padded on the right, to the keyword arguments of a model of `config`.

    Same outputs for real tokens as from the ids and the mask alone.
    """
    mask_of, first = mask_for(config), first_position(config)
    if first is None:
        return lambda ids, mask: {"input_ids": ids, "attention_mask": mask_of(mask)}
    return lambda ids, mask: {
        "input_ids": ids,
        "attention_mask": mask_of(mask),
        "position_ids": _counted(ids, first - 1),
    }


def _counted(ids: torch.Tensor, padding: int) -> torch.Tensor:
    """Positions from beyond the padding id on, over the ids that are not it; its own is the padding id (fairseq, `make_positions`)."""
    real = (ids != padding).to(torch.int64)
    return torch.cumsum(real, dim=1) * real + padding


def _unchanged(mask: torch.Tensor) -> Mask:
    return mask


def _broadcast(mask: torch.Tensor) -> Mask:
    return mask[:, None, None, :]


def _by_layer_type(window: int) -> Callable[[torch.Tensor], Mask]:
    def masks(mask: torch.Tensor) -> Mask:
        full = additive(mask)
        position = torch.arange(mask.shape[1], device=mask.device)
        far = (position[:, None] - position[None, :]).abs() > window
        return {"full_attention": full, "sliding_attention": full + far.to(torch.float32) * MASKED}

    return masks
