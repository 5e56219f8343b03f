"""drop-blocks: a language model without the blocks that change their input least (Men et al. 2024, ShortGPT, arXiv 2403.03853).

All influences are measured once, on the whole model, as the paper does. The result is an ordinary checkpoint of fewer layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field

from edgekit.compress.checks import nothing_removed
from edgekit.compress.method import Method, StepContext, Work
from edgekit.config.recipe import MethodSettings
from edgekit.config.search import Integers, Ranges
from edgekit.errors import BadInput
from edgekit.models.facts import ModelFacts, cut_to
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["METHOD", "Settings", "run"]

NAME = "drop-blocks"
BATCH = 8


class Settings(MethodSettings):
    """Drop the blocks of a language model that change their input least."""

    method: Literal["drop-blocks"]
    layers: int = Field(ge=1)
    """Layers that stay."""
    rows: int = Field(128, ge=1)
    """Training rows to measure influence on."""


def check(settings: Settings, context: StepContext) -> list[str]:
    """More layers to keep than there are to drop from."""
    return nothing_removed("layers", settings.layers, context.model.layers, of="a model")


def transform(settings: Settings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """A pruned model of so many layers."""
    return replace(model, layers=cut_to(model.layers, settings.layers), pruned=True)


def run(work: Work, settings: Settings) -> JsonObject:
    """Write the shallower checkpoint to `work.out`; returns each block's influence and which stayed.

    Raises:
        BadInput: as many layers as there are, or more.
    """
    from edgekit.compress.calibration import calibration_batches
    from edgekit.compress.pruning.whole_layers import block_influence, most_influential
    from edgekit.models.checkpoint import load, parameters, save
    from edgekit.models.stack import blocks_of, keep_blocks
    from edgekit.tasks import find_task

    model = load(work.source, find_task(work.task).auto)
    have = len(blocks_of(model))
    if faults := nothing_removed("layers", settings.layers, have, of="a model"):
        raise BadInput(
            faults[0],
            where=f"compress, {NAME}",
            fix=f"keep from 1 to {have - 1} layers" if have > 1 else "leave this step out",
        )
    feeds = calibration_batches(work, settings.rows, BATCH)
    influence = block_influence(
        model, feeds, lambda done: work.progress(done, len(feeds), f"{NAME}: influence of {have} blocks")
    )
    kept = most_influential(influence, settings.layers)
    made = keep_blocks(model, kept)
    save(made, work.out, tokenizer_files_from=work.source)
    return {"parameters": parameters(made), "influence": [round(value, 6) for value in influence], "kept": kept}


def _student(model: ModelFacts) -> Ranges | None:
    """Fewer layers, of a model that has several."""
    return None if model.layers is None or model.layers < 2 else {"layers": Integers(1, model.layers - 1)}


METHOD = Method(
    name=NAME, version=1, settings=Settings, serves=("decoder",), run=run, check=check, transform=transform,
    instead="distill with `layers`",
    search={"student": _student},
)  # fmt: skip
