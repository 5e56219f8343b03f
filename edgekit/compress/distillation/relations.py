"""Relations between tokens inside one attention layer: the loss between a teacher's and a student's.

MiniLMv2 (Wang et al. 2021, arXiv 2012.15828, eqs. 4 to 6): queries, keys and values of all heads are concatenated and split
into relation heads, so that head counts need not match; each gives softmax(A A' / sqrt(d)), compared by KL. Attention
maps (Wang et al. 2020, MiniLM, eq. 5) are softmax(Q K' / sqrt(d)) with the heads as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING

import torch

from edgekit.errors import BadInput
from edgekit.models.anatomy import anatomy_of, head_size_of, layers_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PAIRS", "heads_for", "relation_loss", "tapped"]

PAIRS = {"minilmv2": ((0, 0), (1, 1), (2, 2)), "attention": ((0, 1),)}
"""Which of query (0), key (1) and value (2) is related with which."""
FAR = -1e4


@contextmanager
def tapped(model: PreTrainedModel, layer: int | None) -> Iterator[list[torch.Tensor]]:
    """While the context lasts, each forward pass leaves queries, keys and values of `layer` (from 0) in the list, (b, s, k) each.

    The list stays empty where `layer` is None.
    """
    if layer is None:
        yield []
        return
    anatomy = anatomy_of(model)
    if anatomy.packed:
        raise BadInput(
            f"queries, keys and values of {model.config.model_type} are one Linear and cannot be compared",
            where="compress, distill, relations",
            fix='set relations = "none"',
        )
    seen: list[torch.Tensor] = []
    chosen = layers_of(model)[layer]
    handles = []
    for position, path in enumerate((anatomy.query, anatomy.key, anatomy.value)):

        def keep(_: torch.nn.Module, __: object, output: torch.Tensor, position: int = position) -> None:
            if position == 0:
                seen.clear()
            seen.append(output)

        handles.append(attrgetter(path)(chosen).register_forward_hook(keep))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def heads_for(kind: str, wanted: int | None, student: PreTrainedModel, teacher: PreTrainedModel) -> int:
    """Relation heads for these two models: `wanted`, or the teacher's own number.

    Raises:
        BadInput: sizes that relation heads do not divide, or attention maps of models with different numbers of heads.
    """
    where = "compress, distill, relations"
    for model in (student, teacher):
        if attrgetter(anatomy_of(model).attention_out)(layers_of(model)[-1]).in_features == 0:
            raise BadInput("the last layer has no heads left to compare", where=where, fix='set relations = "none"')
    sizes = [head_size_of(model, layers_of(model)[-1]) for model in (student, teacher)]
    sizes_of_queries = [attrgetter(anatomy_of(model).query)(layers_of(model)[-1]).out_features for model in (student, teacher)]
    if kind == "attention":
        counts = [total // size for total, size in zip(sizes_of_queries, sizes, strict=True)]
        if counts[0] != counts[1]:
            raise BadInput(
                f"attention maps of {counts[0]} heads cannot be compared with {counts[1]}",
                where=where,
                fix='use relations = "minilmv2", which splits both into heads of its own',
            )
        return int(counts[0])
    heads = wanted or sizes_of_queries[1] // sizes[1]
    if any(total == 0 or total % heads for total in sizes_of_queries):
        raise BadInput(
            f"queries of sizes {sizes_of_queries[0]} and {sizes_of_queries[1]} cannot both be split into {heads} relation heads",
            where=where,
            fix="give `relation_heads` that divides both",
        )
    return heads


def relation_loss(
    student: list[torch.Tensor], teacher: list[torch.Tensor], mask: torch.Tensor, kind: str, heads: int
) -> torch.Tensor:
    """Mean KL(teacher || student) of the relations of real tokens; both are queries, keys, values, (b, s, k) each."""
    value = torch.zeros((), device=mask.device)
    real = mask.bool()
    for one, other in PAIRS[kind]:
        ours, theirs = (_logs(parts[one], parts[other], real, heads) for parts in (student, teacher))
        each = (theirs.exp() * (theirs - ours)).sum(dim=-1).mean(dim=1)  # (b, s): every token's row, mean over heads
        value = value + each[real].mean()
    return value / len(PAIRS[kind])


def _logs(one: torch.Tensor, other: torch.Tensor, real: torch.Tensor, heads: int) -> torch.Tensor:
    """Log-softmax of the scaled dot products, (b, heads, s, s); padding is never attended to."""
    left, right = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (one, other))
    scores = left @ right.transpose(-1, -2) / left.shape[-1] ** 0.5
    return torch.log_softmax(scores.masked_fill(~real[:, None, None, :], FAR), dim=-1)
