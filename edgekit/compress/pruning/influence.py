"""How much each block of a decoder changes what passes through it: block influence (Men et al. 2024, ShortGPT, arXiv 2403.03853, eq. 1).

    BI_i = 1 - E[cos(x_i, x_{i+1})]

over tokens, with x_i what goes into block i and x_{i+1} what comes out of it. A block of influence 0 only scales its input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from edgekit.compress.pruning.gram import Feed, real_tokens
from edgekit.models.device import feed_to, on_fastest_device
from edgekit.models.stack import blocks_of

__all__ = ["block_influence", "most_influential"]


def block_influence(model: Any, feeds: Sequence[Feed], progress: Callable[[int], None] = lambda done: None) -> list[float]:
    """The influence of each block of `model` over the real tokens of `feeds`, int64 (b, s) each; between 0 and 2.

    Raises:
        BadInput: no texts, or texts of padding alone.
    """
    tokens = real_tokens(feeds)
    blocks = blocks_of(model)
    total = torch.zeros(len(blocks), dtype=torch.float64)
    real = torch.zeros(0)

    def hook(number: int) -> Callable[[Any, Any, Any], None]:
        def add(_: Any, inputs: Any, output: Any) -> None:
            after = output[0] if isinstance(output, tuple) else output
            near = torch.nn.functional.cosine_similarity(inputs[0].double(), after.double(), dim=-1)
            total[number] += near[real].sum().cpu()

        return add

    handles = [block.register_forward_hook(hook(number)) for number, block in enumerate(blocks)]
    try:
        with torch.no_grad(), on_fastest_device(model) as place:
            for done, given in enumerate(feeds, 1):
                feed = feed_to(given, place)
                real = feed["attention_mask"].bool()
                model(**feed, use_cache=False)
                progress(done)
    finally:
        for handle in handles:
            handle.remove()
    return [float(1 - near / tokens) for near in total]


def most_influential(influence: Sequence[float], count: int) -> list[int]:
    """Numbers of the `count` blocks of most influence, ascending; of equals the earlier ones."""
    ranked = sorted(range(len(influence)), key=lambda number: (-influence[number], number))
    return sorted(ranked[:count])
