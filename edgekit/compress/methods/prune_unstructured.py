"""prune-unstructured: single weights of a model's linear layers set to zero, which makes a smaller download, not a faster model.

Magnitude (Han et al. 2015), Wanda (Sun et al. 2023) or SparseGPT (Frantar and Alistarh 2023), for a share of zeros or for
N of every M. Embeddings, norms, biases and the head stay. Layers are pruned first to last, each on the inputs that the
already pruned ones give it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from edgekit.compress.checks import unlisted_layers
from edgekit.compress.method import Method, StepContext, Work
from edgekit.config.recipe import MethodSettings
from edgekit.errors import BadInput
from edgekit.models.facts import ModelFacts
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonObject

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel
    from transformers.pytorch_utils import Conv1D

    from edgekit.compress.pruning.sparse import Pattern
    from edgekit.models.device import Feed

__all__ = ["METHOD", "SPEED", "Settings", "Summary", "prune", "pruned_layer", "run"]

NAME = "prune-unstructured"
BATCH = 32
SPEED = "A smaller download only: ONNX Runtime multiplies zeros like any other number, so no speed comes of it."


class Settings(MethodSettings):
    """Set single weights to zero: a smaller download once compressed, no speed."""

    method: Literal["prune-unstructured"]
    how: Literal["magnitude", "wanda", "sparsegpt"] = "sparsegpt"
    """Which weights go; sparsegpt also updates the weights that stay."""
    sparsity: float | None = Field(None, gt=0, lt=1)
    """Share of the layers' linear weights that become zero."""
    pattern: str | None = None
    """N:M, such as "2:4": at most N of every M neighbouring inputs stay."""
    scope: Literal["global", "layer"] = "layer"
    """Whether weights are compared within a layer or across all layers; global with how = "magnitude" and a sparsity only."""
    rows: int = Field(512, ge=1)
    """Training rows to calibrate on."""
    damping: float = Field(0.01, ge=0, le=1)
    """Damping added to the Hessian's diagonal, in units of its mean."""

    @field_validator("pattern")
    @classmethod
    def _sound_pattern(cls, value: str | None) -> str | None:
        from edgekit.compress.pruning.sparse import parse_pattern

        if value is not None:
            try:
                parse_pattern(value)
            except BadInput as fault:
                raise ValueError(fault.what) from None
        return value

    @model_validator(mode="after")
    def _one_amount(self) -> Settings:
        if (self.sparsity is None) == (self.pattern is None):
            raise ValueError("give either `sparsity` or `pattern`")
        if self.scope == "global" and (self.how != "magnitude" or self.pattern is not None):
            raise ValueError('`scope = "global"` goes with how = "magnitude" and a `sparsity` only')
        return self


def check(settings: Settings, context: StepContext) -> list[str]:
    """Layers that are not found, and a pattern whose groups do not fit into their inputs."""
    from edgekit.compress.pruning.sparse import parse_pattern

    unlisted = unlisted_layers(context.model, "leave it out")
    if settings.pattern is None or unlisted:
        return unlisted
    pattern, model = parse_pattern(settings.pattern), context.model
    sizes = {"hidden size": model.hidden_size, "intermediate size": model.intermediate_size if model.uniform else None}
    wrong = [f"{name} of {size}" for name, size in sizes.items() if size is not None and not pattern.divides(size)]
    return [f"pattern {settings.pattern} does not divide {' and '.join(wrong)}"] if wrong else []


def transform(settings: Settings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """A pruned model of the same shape."""
    return replace(model, pruned=True)


@dataclass(frozen=True)
class Summary:
    """What was reached."""

    sparsity: float
    """Share of zeros among the weights of the linear layers inside the model's layers or blocks."""
    weights: int
    compressed_bytes_before: int
    """Those weights in int8 and zlib, as a download would hold them."""
    compressed_bytes: int
    error: float | None
    """Squared error of the layers' outputs on the calibration rows, as a share of their squared size; not for magnitude."""
    stood_in: int
    """Layers where SparseGPT's greedy walk did worse than a plain mask, which took its place."""
    speed: str = SPEED


def run(work: Work, settings: Settings) -> JsonObject:
    """Write the sparse checkpoint to `work.out`; returns what was reached."""
    from edgekit.compress.calibration import calibration_batches
    from edgekit.models.checkpoint import load, save
    from edgekit.tasks import find_task

    model = load(work.source, find_task(work.task).auto)
    feeds = [] if settings.how == "magnitude" else calibration_batches(work, settings.rows, BATCH)
    summary = prune(model, feeds, settings, work.progress)
    save(model, work.out, tokenizer_files_from=work.source)
    return {key: value for key, value in asdict(summary).items() if value is not None}


def prune(model: PreTrainedModel, feeds: Sequence[Feed], settings: Settings, progress: Progress) -> Summary:
    """Set weights of `model` (in eval mode) to zero, in place. `feeds`: inputs of the model, int64 (b, s) each.

    Raises:
        BadInput: rows of padding alone, a singular Hessian, or a pattern that does not divide a layer.
    """
    from edgekit.compress.pruning.gram import grams, real_tokens
    from edgekit.compress.pruning.sparse import Pattern, compressed_bytes, kept_overall, parse_pattern
    from edgekit.models.stack import layer_linears, stack_of

    layers = layer_linears(stack_of(model))
    every = [module for linears in layers for module in linears.values()]
    pattern = Pattern(settings.sparsity or 0.0) if settings.pattern is None else parse_pattern(settings.pattern)
    before = compressed_bytes([_weight(module) for module in every])
    lost = size = 0.0
    stood_in = 0
    if settings.scope == "global":
        masks = kept_overall([abs(_weight(module)) for module in every], pattern.sparsity)
        for module, kept in zip(every, masks, strict=True):
            _set(module, _weight(module) * kept)
    elif settings.how != "magnitude":
        real_tokens(feeds)
    for number, linears in enumerate(layers if settings.scope == "layer" else []):
        progress(number, len(layers), f"prune: {settings.how}, layer {number + 1} of {len(layers)}")
        found = grams(model, linears, feeds) if settings.how != "magnitude" else {}
        for name, module in linears.items():
            hessian = found[name].second if name in found else None
            weight = _weight(module)
            new, by = pruned_layer(weight, hessian, settings.how, pattern, settings.damping)
            _set(module, new)
            stood_in += by != settings.how
            if hessian is not None:
                lost += ((new - weight) @ hessian * (new - weight)).sum()
                size += (weight @ hessian * weight).sum()
    weights = [_weight(module) for module in every]
    zeros, total = sum(int((weight == 0).sum()) for weight in weights), sum(weight.size for weight in weights)
    error = round(float(lost / size), 6) if size else None
    return Summary(round(zeros / total, 6), total, before, compressed_bytes(weights), error, stood_in)


def pruned_layer(
    weight: np.ndarray, hessian: np.ndarray | None, how: str, pattern: Pattern, damping: float
) -> tuple[np.ndarray, str]:
    """(new weights (out, in), what made them). SparseGPT's must err least on the calibration rows, or the best mask stands in.

    `hessian`: X'X of the inputs, (in, in); None for magnitudes, which need none. All float64.
    """
    from edgekit.compress.pruning.inverse_hessian import sparsegpt, squared_error
    from edgekit.compress.pruning.sparse import kept_by_row, kept_of, kept_overall, wanda_scores

    def masked(name: str) -> np.ndarray:
        scores = abs(weight) if hessian is None or name == "magnitude" else wanda_scores(weight, hessian)
        if pattern.group:
            kept = kept_of(scores, pattern)
        elif name == "wanda":
            kept = kept_by_row(scores, pattern.sparsity)
        else:
            kept = kept_overall([scores], pattern.sparsity)[0]
        new: np.ndarray = weight * kept
        return new

    if hessian is None or how != "sparsegpt":
        return masked(how), how
    tried = {
        "sparsegpt": sparsegpt(weight, hessian, pattern, damping=damping),
        "wanda": masked("wanda"),
        "magnitude": masked("magnitude"),
    }
    errors = {name: squared_error(new - weight, hessian) for name, new in tried.items()}
    best = min(errors, key=lambda name: errors[name])
    return tried[best], best


def _weight(module: torch.nn.Linear | Conv1D) -> np.ndarray:
    """float64 (out, in)."""
    import torch

    weight: np.ndarray = module.weight.detach().double().numpy()
    return weight if isinstance(module, torch.nn.Linear) else weight.T


def _set(module: torch.nn.Linear | Conv1D, weight: np.ndarray) -> None:
    import torch

    new = torch.from_numpy(weight)
    module.weight.data.copy_(new if isinstance(module, torch.nn.Linear) else new.T)


METHOD = Method(
    name=NAME,
    version=1,
    settings=Settings,
    serves=("encoder", "decoder"),
    reads=("text", "image"),
    run=run,
    check=check,
    transform=transform,
)
