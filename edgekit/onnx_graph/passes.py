"""Named passes over a model in memory, run one after another.

The contract is that of onnx_ir.passes, without its classes: a pass changes the model in place and says whether it did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

__all__ = ["Pass", "run_passes"]


@dataclass(frozen=True)
class Pass:
    """One rewrite of a model. Settings of the rewrite are bound when the pass is made."""

    name: str
    run: Callable[[ir.Model], int]
    """Changes the model in place; returns how many places it changed, 0 where the model is as it was. A rewrite that only knows
    whether it changed something returns 1. Nodes that nothing reads any more may stay."""


def run_passes(model: ir.Model, passes: Sequence[Pass]) -> dict[str, int]:
    """Run `passes` over `model` in their order, in place, removing unused nodes after each.

    Returns the passes that changed the model, by name, with the number of places that each changed.
    """
    changed: Counter[str] = Counter()
    for one in passes:
        changed[one.name] += one.run(model)
        RemoveUnusedNodesPass()(model)
    return dict(+changed)
