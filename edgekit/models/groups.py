"""Attention heads of a decoder in groups, a head of keys and values with the query heads that read it; and the model with fewer groups."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from edgekit.errors import BadInput
from edgekit.models.stack import blocks_of, prefix_of, rebuilt

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["GROUPED", "OUT", "group_width", "groups_of", "keep_groups"]

GROUPED = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Architectures whose configuration states the head size (`head_dim`), so that there can be fewer heads of the same size."""
EVEN = ("llama",)
"""Those whose configuration refuses a number of query heads that does not divide the hidden size."""
OUT = "self_attn.o_proj"
"""From a block to the projection of all heads back to the hidden size."""


def groups_of(model: PreTrainedModel) -> int:
    """How many heads of keys and values each block has.

    Raises:
        BadInput: an architecture whose heads cannot be fewer.
    """
    if model.config.model_type not in GROUPED:
        raise BadInput(
            f"the heads of architecture {model.config.model_type!r} divide the hidden size between them and cannot be fewer",
            where="compress",
            fix=f"leave out `kv_heads`, or use one of {', '.join(GROUPED)}",
        )
    return int(model.config.num_key_value_heads)


def group_width(model: PreTrainedModel) -> int:
    """Inputs of the output projection that belong to one group: its query heads times their size."""
    return blocks_of(model)[0].get_submodule(OUT).get_parameter("weight").shape[1] // groups_of(model)


def keep_groups(model: PreTrainedModel, kept: Sequence[Sequence[int]]) -> PreTrainedModel:
    """A new model whose blocks have the groups numbered `kept` alone, as many in each; its configuration says so.

    Raises:
        BadInput: blocks with different numbers of groups, none at all, a group that does not exist, a number of
            query heads that the architecture refuses, or as `groups_of`.
    """
    have, wide = groups_of(model), group_width(model)
    counts = {len(numbers) for numbers in kept}
    wrong = sorted({number for numbers in kept for number in numbers if not 0 <= number < have})
    if len(kept) != len(blocks_of(model)) or len(counts) != 1 or 0 in counts or wrong:
        raise BadInput(f"heads {wrong or sorted(counts)} of blocks with {have} each", where="compress")
    config, state, count = copy.deepcopy(model.config), dict(model.state_dict()), counts.pop()
    readers = config.num_attention_heads // have
    size = wide // readers
    if config.model_type in EVEN and config.hidden_size % (count * readers):
        raise BadInput(
            f"{count} of {have} heads leave {count * readers} query heads, and {config.model_type} wants a number that divides its hidden size, "
            f"{config.hidden_size}",
            where="compress",
            fix="keep another number of `kv_heads`",
        )
    config.num_key_value_heads, config.num_attention_heads, config.head_dim = count, count * readers, size
    for number, chosen in enumerate(kept):
        prefix = f"{prefix_of(model)}{number}."
        columns = {
            width: (torch.tensor(sorted(chosen))[:, None] * width + torch.arange(width)).ravel() for width in (wide, size)
        }
        for part, width in (("q", wide), ("k", size), ("v", size)):
            for name in (f"{prefix}self_attn.{part}_proj.weight", f"{prefix}self_attn.{part}_proj.bias"):
                if name in state:
                    state[name] = state[name][columns[width]]
        out = f"{prefix}{OUT}.weight"
        state[out] = state[out][:, columns[wide]]
    return rebuilt(model, config, state)
