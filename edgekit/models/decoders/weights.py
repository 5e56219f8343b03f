"""Tensors of a checkpoint by name, read one at a time when they are needed: a model is never whole in memory."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgekit.errors import BadInput
from edgekit.models.shards import Tensors, open_tensors

__all__ = ["Weight", "Weights", "open_weights", "plus_one", "rows", "stacked", "transposed"]

BUFFERS = re.compile(r"(rotary_emb\.inv_freq|attn\.bias|attn\.masked_bias|attention\.bias|attention\.masked_bias)$")
"""Constants that older checkpoints carry beside their weights."""


@dataclass(frozen=True)
class Weight:
    """A float32 array that is read from disk at each call of `read`."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@dataclass
class Weights:
    """A checkpoint's tensors; remembers which were asked for."""

    tensors: Tensors
    used: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors.shapes

    def get(self, name: str, *shape: int | None) -> Weight:
        """The tensor called `name`; `shape` is what it must be, None for any.

        Raises:
            BadInput: no such tensor, or another shape.
        """
        if name not in self.tensors.shapes:
            raise BadInput(f"missing tensor {name}", where=str(self.tensors.folder))
        stored = self.tensors.shapes[name]
        if shape and (
            len(stored) != len(shape) or any(want not in (None, have) for want, have in zip(shape, stored, strict=True))
        ):
            raise BadInput(f"{name}: shape {stored}, the configuration asks for {shape}", where=str(self.tensors.folder))
        self.used.add(name)
        return Weight(stored, lambda: self._read(name))

    def maybe(self, name: str, *shape: int | None) -> Weight | None:
        """The tensor called `name`, or None where there is none."""
        return self.get(name, *shape) if name in self else None

    def unused(self) -> list[str]:
        """Tensors that were not asked for, buffers aside."""
        return sorted(name for name in set(self.tensors.shapes) - self.used if not BUFFERS.search(name))

    def _read(self, name: str) -> np.ndarray:
        import torch

        tensor = self.tensors.read(name).to(torch.float32)
        if not torch.isfinite(tensor).all():
            raise BadInput(f"{name}: holds NaN or Inf", where=str(self.tensors.folder))
        return np.asarray(tensor.numpy())


def open_weights(folder: Path) -> Weights:
    """The tensors of the checkpoint in `folder`, in one file or several.

    Raises:
        BadInput: files that cannot be read, or that disagree with their index.
    """
    return Weights(open_tensors(folder))


def transposed(weight: Weight) -> Weight:
    """`weight` (a, b) as (b, a): GPT-2 stores (in, out)."""
    return Weight(weight.shape[::-1], lambda: np.ascontiguousarray(weight.read().T))


def stacked(parts: Sequence[Weight]) -> Weight:
    """`parts` concatenated along axis 0."""
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return Weight(shape, lambda: np.concatenate([part.read() for part in parts]))


def rows(weight: Weight, order: Sequence[int] | slice) -> Weight:
    """Rows of `weight` in `order`."""
    count = len(range(*order.indices(weight.shape[0]))) if isinstance(order, slice) else len(order)
    return Weight((count, *weight.shape[1:]), lambda: np.ascontiguousarray(weight.read()[order]))


def plus_one(weight: Weight) -> Weight:
    """1 + weight: Gemma keeps what its norms add to one."""
    assert math.prod(weight.shape) == weight.shape[0], "a norm has one axis"
    return Weight(weight.shape, lambda: np.float32(1) + weight.read())
