"""prune-structured: heads, neurons and whole layers removed physically after training, without a gradient step on weights.

Kwon et al. 2022 (arXiv 2204.09656): importance from mask gradients, a search under a budget, rearrangement inside each layer,
least-squares scales. Minutes, not hours; follow it with `distill` (no `layers`) to recover what it cost.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from edgekit.compress.method import Work
from edgekit.config import Strict
from edgekit.errors import BadInput

__all__ = ["METHOD", "VERSION", "Settings", "run"]

METHOD = "prune-structured"
VERSION = 1
BATCH = 32
TUNING_ROWS = 512


class Settings(Strict):
    """Remove heads, neurons and layers that matter least, after training, under a budget."""

    method: Literal["prune-structured"]
    keep: float | None = Field(None, gt=0, lt=1)
    """Share of the encoder layers' multiplications to keep."""
    latency: float | None = Field(None, gt=0, lt=1)
    """Share of the encoder layers' time to keep, by a cost for each head and neuron measured on this machine."""
    layers: int | None = Field(None, ge=1)
    """Remove whole layers first, down to this many: always the one whose loss moves the outputs least."""
    rows: int = Field(2048, ge=32)
    """Training rows that importance is computed from."""
    multiple_of: int = Field(32, ge=1, le=256)
    """Neurons of a layer come in multiples of this: integer kernels work in blocks."""
    rescale: bool = True
    """Tune scales of what was kept by least squares."""

    @model_validator(mode="after")
    def _one_budget(self) -> Settings:
        if self.keep is not None and self.latency is not None:
            raise ValueError("give either `keep` or `latency`, not both")
        if self.keep is None and self.latency is None and self.layers is None:
            raise ValueError("nothing to prune to: give `keep`, `latency` or `layers`")
        return self


def run(work: Work, settings: Settings) -> dict[str, Any]:
    """Write the pruned checkpoint to `work.out`; returns shapes, parameters and what each step did."""
    import copy
    from dataclasses import asdict

    import numpy as np
    import torch

    from edgekit.compress.cost import unit_costs
    from edgekit.compress.fisher import choose, gradients, rearrange
    from edgekit.compress.layer_drop import drop_layers
    from edgekit.compress.rescale import fold_scales
    from edgekit.models.checkpoint import load, parameters, save
    from edgekit.models.shapes import cut, layer_count, shapes_of
    from edgekit.tasks.encode import batches, encode, labels_of, pad, read_split

    model = load(work.source)
    if settings.layers is not None and settings.layers >= layer_count(model):
        raise BadInput(
            f"layers = {settings.layers} removes nothing from a model of {layer_count(model)}",
            where="compress, prune-structured, layers",
        )
    read = read_split(work.rows, "train")
    picked = np.random.default_rng(work.seed).choice(len(read), size=min(settings.rows, len(read)), replace=False)
    data = encode(work.source, [read[index] for index in picked], labels_of(work.source), work.max_length)
    order = list(batches([len(row) for row in data.ids], BATCH, work.seed))
    before = shapes_of(model)
    metrics: dict[str, Any] = {"rows": len(picked)}

    def feed(rows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = pad([data.ids[row] for row in rows])
        return torch.from_numpy(ids), torch.from_numpy(mask)

    some = order[: max(1, TUNING_ROWS // BATCH)]
    if settings.layers is not None:
        metrics["layers_kept"] = drop_layers(model, settings.layers, [feed(rows) for rows in some], work.progress)
    share = settings.keep if settings.keep is not None else settings.latency
    if share is not None:
        shapes = shapes_of(model)
        tokens = float(np.mean([len(row) for row in data.ids]))
        head, neuron, fixed = unit_costs(model, shapes, tokens, measured=settings.latency is not None, scratch=work.scratch)
        whole = sum(shape.heads * head + shape.neurons * neuron for shape in shapes)
        budget = share * (whole + fixed) - fixed
        if budget < neuron * settings.multiple_of:
            raise BadInput(
                f"{share:g} of the time cannot be reached by heads and neurons: fixed costs alone take {fixed / (whole + fixed):.2f}",
                where="compress, prune-structured, latency",
                fix="remove whole layers with `layers`, or keep more",
            )
        found = gradients(
            model,
            shapes,
            lambda: ((*feed(rows), torch.from_numpy(data.labels[rows])) for rows in order),
            lambda done: work.progress(done, 2 * len(order), f"prune: mask gradients, batch {done} of {len(order)}"),
        )
        pick = choose(found, head, neuron, budget, settings.multiple_of)
        heads = [rearrange(kept, gradient) for kept, gradient in zip(pick.heads, found.heads, strict=True)]
        neurons = [rearrange(kept, gradient) for kept, gradient in zip(pick.neurons, found.neurons, strict=True)]
        dense = copy.deepcopy(model)
        cut(model, [np.flatnonzero(kept).tolist() for kept in heads], [np.flatnonzero(kept).tolist() for kept in neurons])
        if settings.rescale:
            metrics["rescale"] = fold_scales(
                model,
                dense,
                lambda: (feed(rows) for rows in some),
                lambda done, total: work.progress(total + done, 2 * total, f"prune: scales, block {done + 1} of {total}"),
            )
    save(model, work.out, tokenizer_files_from=work.source)
    return {
        **metrics,
        "parameters": parameters(model),
        "shapes": {"before": [asdict(shape) for shape in before], "after": [asdict(shape) for shape in shapes_of(model)]},
    }
