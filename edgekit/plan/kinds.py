"""The one place of a run that asks whether a task is of encoders or of decoders."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.plan.decoder import DECODER
from edgekit.plan.encoder import ENCODER
from edgekit.plan.plan import Lowering
from edgekit.tasks import Kind, Task

__all__ = ["lowering_of"]

LOWERINGS: Mapping[Kind, Lowering] = {"encoder": ENCODER, "decoder": DECODER}


def lowering_of(task: Task) -> Lowering:
    """What the plan of such a task consists of."""
    return LOWERINGS[task.kind]
