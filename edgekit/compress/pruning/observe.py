"""A model run over calibration feeds while functions look at what goes into and comes out of some of its modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from edgekit.models.device import Feed, feed_to, on_fastest_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Look", "SeenEnough", "observe"]

Look = Callable[[torch.Tensor, torch.Tensor], None]
"""(values (b, s, k), which tokens are no padding, bool (b, s)), both on the model's device."""


class SeenEnough(Exception):
    """Raised by a function that looks: the rest of the model need not run on this feed."""


def observe(
    model: PreTrainedModel,
    feeds: Sequence[Feed],
    *,
    inputs: Mapping[torch.nn.Module, Look] | None = None,
    outputs: Mapping[torch.nn.Module, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]] | None = None,
    progress: Callable[[int], None] = lambda done: None,
    **options: bool,
) -> None:
    """Run `model` over `feeds` on the fastest device, without gradients, and show its modules' values as they come.

    `inputs`: functions of a module's first input and the real tokens. `outputs`: functions of its first input, its first output
    and the real tokens. `options` go to the model's forward. `progress` is called with the number of feeds done.
    """
    real = torch.zeros(0)

    def before(look: Look) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
        return lambda _, given: look(given[0].detach(), real)

    def after(
        look: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None],
    ) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...], torch.Tensor | tuple[torch.Tensor, ...]], None]:
        return lambda _, given, output: look(given[0], output[0] if isinstance(output, tuple) else output, real)

    handles = [module.register_forward_pre_hook(before(look)) for module, look in (inputs or {}).items()]
    handles += [module.register_forward_hook(after(look)) for module, look in (outputs or {}).items()]
    try:
        with torch.no_grad(), on_fastest_device(model) as device:
            for done, feed in enumerate(feeds, 1):
                there = feed_to(feed, device)
                real = there["attention_mask"].bool()
                with suppress(SeenEnough):
                    model(**there, **options)
                progress(done)
    finally:
        for handle in handles:
            handle.remove()
