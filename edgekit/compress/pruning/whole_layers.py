"""Which whole layers can go: by the loss of an encoder without them, or by how little a decoder's blocks change their input.

Block influence (Men et al. 2024, ShortGPT, arXiv 2403.03853, eq. 1), over tokens, with x_i the input of block i and x_{i+1} its output:

    BI_i = 1 - E[cos(x_i, x_{i+1})]

A block of influence 0 only scales its input.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from edgekit.compress.pruning.gram import real_tokens
from edgekit.compress.pruning.observe import observe
from edgekit.models.device import Feed, feed_to, on_fastest_device
from edgekit.models.shapes import keep_layers, layer_count
from edgekit.models.stack import blocks_of
from edgekit.progress import Progress
from edgekit.tasks import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["block_influence", "drop_layers", "most_influential"]


def drop_layers(model: PreTrainedModel, task: Task, down_to: int, feeds: Sequence[Feed], progress: Progress) -> list[int]:
    """Remove layers of `model` in place until `down_to` are left, each time the one without which the outputs change least.

    The measure is the task's loss against the whole model's outputs on the batches `feeds`. Returns the indices in the whole model
    of the layers that stay.
    """
    kept = list(range(layer_count(model)))
    with on_fastest_device(model) as device:
        on_device = [feed_to(feed, device) for feed in feeds]
        whole = [_output(model, task, feed) for feed in on_device]
        while len(kept) > down_to:
            losses = []
            for position in range(len(kept)):
                trial = copy.deepcopy(model)
                keep_layers(trial, [index for index in range(len(kept)) if index != position])
                losses.append(sum(_loss(trial, task, outputs, feed) for outputs, feed in zip(whole, on_device, strict=True)))
                progress(position, len(kept), f"prune: try without layer {kept[position]}, {len(kept)} to {down_to} layers")
            least = losses.index(min(losses))
            keep_layers(model, [index for index in range(len(kept)) if index != least])
            del kept[least]
    return kept


def _output(model: PreTrainedModel, task: Task, feed: Feed) -> torch.Tensor:
    with torch.no_grad():
        return task.tensor(model, model(**feed), feed["attention_mask"])


def _loss(model: PreTrainedModel, task: Task, outputs: torch.Tensor, feed: Feed) -> float:
    mask = feed["attention_mask"]
    none = torch.full(mask.shape[: 2 if task.per_token else 1], -1, device=mask.device)
    return float(task.soft(_output(model, task, feed), outputs, none, mask, 1.0)) * len(mask)


def block_influence(
    model: PreTrainedModel, feeds: Sequence[Feed], progress: Callable[[int], None] = lambda done: None
) -> list[float]:
    """The influence of each block of `model` over the real tokens of `feeds`, int64 (b, s) each; between 0 and 2.

    Raises:
        BadInput: no texts, or texts of padding alone.
    """
    tokens = real_tokens(feeds)
    blocks = blocks_of(model)
    total = torch.zeros(len(blocks), dtype=torch.float64)

    def add_to(number: int) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]:
        def add(before: torch.Tensor, after: torch.Tensor, real: torch.Tensor) -> None:
            cosine = torch.nn.functional.cosine_similarity(before.double(), after.double(), dim=-1)
            total[number] += cosine[real].sum().cpu()

        return add

    outputs = {block: add_to(number) for number, block in enumerate(blocks)}
    observe(model, feeds, outputs=outputs, progress=progress, use_cache=False)
    return [float(1 - cosine / tokens) for cosine in total]


def most_influential(influence: Sequence[float], count: int) -> list[int]:
    """Indices of the `count` blocks of most influence, ascending; of equals the earlier ones."""
    ranked = sorted(range(len(influence)), key=lambda number: (-influence[number], number))
    return sorted(ranked[:count])
