"""drop-blocks: a language model without the blocks that change their input least (Men et al. 2024, ShortGPT, arXiv 2403.03853).

All influences are measured once, on the whole model, as the paper does. The result is an ordinary checkpoint of fewer layers.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgekit.compress.method import Work
from edgekit.config.toml import Strict
from edgekit.errors import BadInput

__all__ = ["METHOD", "SERVES", "VERSION", "Settings", "run"]

METHOD = "drop-blocks"
VERSION = 1
SERVES = ("decoders",)
BATCH = 8


class Settings(Strict):
    """Drop the blocks of a language model that change their input least."""

    method: Literal["drop-blocks"]
    layers: int = Field(ge=1)
    """Blocks that stay."""
    rows: int = Field(128, ge=1)
    """Training rows to measure influence on."""


def run(work: Work, settings: Settings) -> dict[str, Any]:
    """Write the shallower checkpoint to `work.out`; returns each block's influence and which stayed.

    Raises:
        BadInput: as many layers as there are, or more.
    """
    from edgekit.compress.feed import calibration_batches
    from edgekit.compress.pruning.influence import block_influence, most_influential
    from edgekit.models.checkpoint import load, parameters, save
    from edgekit.models.stack import blocks_of, keep_blocks
    from edgekit.tasks import find_task

    model = load(work.source, find_task(work.task).auto)
    have = len(blocks_of(model))
    if settings.layers >= have:
        raise BadInput(
            f"layers = {settings.layers} removes nothing from a model of {have}",
            where=f"compress, {METHOD}",
            fix=f"keep from 1 to {have - 1} layers" if have > 1 else "leave this step out",
        )
    feeds = calibration_batches(work, settings.rows, BATCH)
    influence = block_influence(
        model, feeds, lambda done: work.progress(done, len(feeds), f"{METHOD}: influence of {have} blocks")
    )
    kept = most_influential(influence, settings.layers)
    made = keep_blocks(model, kept)
    save(made, work.out, tokenizer_files_from=work.source)
    return {"parameters": parameters(made), "influence": [round(value, 6) for value in influence], "kept": kept}
