"""prune-width: fewer neurons or fewer groups of heads in every block of a language model, and the others refit.

Both end in a projection W back to the model's width, the MLP's and the attention's, whose inputs x are what is looked at (as in
Muralidharan et al. 2024, Minitron, arXiv 2407.14679, section 2, weighed by what leaves the block). A unit's importance is the sum over its
inputs j of (||x_j|| ||W_j||)^2 over calibration tokens; a neuron has one input, a group those of the query heads that read one head
of keys and values. With H = X'X of all inputs and S those that stay, their columns become

    W H[:, S] (H[S, S] + damping I)^-1

which is the least-squares answer for the block's output. Every block keeps as many, so the checkpoint stays an ordinary one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from edgekit.compress.checks import nothing_removed
from edgekit.compress.method import Method, StepContext, Work
from edgekit.config.recipe import MethodSettings
from edgekit.config.search import Integers, Ranges
from edgekit.errors import BadInput
from edgekit.models.facts import ModelFacts, cut_to
from edgekit.runtime.jsontypes import JsonObject

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from transformers import PreTrainedModel

    from edgekit.models.device import Feed

__all__ = ["METHOD", "Settings", "chosen_units", "refit", "run"]

NAME = "prune-width"
BATCH = 8


class Settings(MethodSettings):
    """Remove MLP neurons or heads of a language model, the least important first, and refit the others."""

    method: Literal["prune-width"]
    neurons: int | None = Field(None, ge=1)
    """Intermediate size to keep in each layer; a multiple of 32 suits the kernels."""
    kv_heads: int | None = Field(None, ge=1)
    """Key-value heads to keep in each layer, with the query heads that attend to them."""
    rows: int = Field(128, ge=1)
    """Training rows to calibrate on."""
    damping: float = Field(0.01, ge=0, le=1)
    """Damping added to the Hessian's diagonal, in units of its mean."""

    @model_validator(mode="after")
    def _something(self) -> Settings:
        if self.neurons is None and self.kv_heads is None:
            raise ValueError("give `neurons`, `kv_heads` or both")
        return self


def check(settings: Settings, context: StepContext) -> list[str]:
    """As many neurons or heads to keep as there are, or more."""
    neurons = nothing_removed("neurons", settings.neurons, context.model.intermediate_size, of="blocks")
    return neurons + nothing_removed("kv_heads", settings.kv_heads, context.model.kv_heads, of="blocks")


def transform(settings: Settings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """A pruned model of so many neurons and heads in every block; query heads go with the keys and values that they read."""
    kv_heads, heads = cut_to(model.kv_heads, settings.kv_heads), model.heads
    if settings.kv_heads is not None:
        heads = heads * kv_heads // model.kv_heads if heads and kv_heads and model.kv_heads else None
    neurons = cut_to(model.intermediate_size, settings.neurons)
    return replace(model, intermediate_size=neurons, kv_heads=kv_heads, heads=heads, pruned=True)


def run(work: Work, settings: Settings) -> JsonObject:
    """Write the narrower checkpoint to `work.out`; returns the error of each block's projections.

    Raises:
        BadInput: as many neurons or heads as there are, or more; heads that cannot be fewer; a singular Hessian.
    """
    from edgekit.compress.calibration import calibration_batches
    from edgekit.compress.pruning.gram import real_tokens
    from edgekit.models.checkpoint import load, parameters, save
    from edgekit.models.groups import OUT, group_width, groups_of, keep_groups
    from edgekit.models.stack import keep_neurons, mlp_of, neurons_of
    from edgekit.tasks import find_task

    model = load(work.source, find_task(work.task).auto)
    feeds = calibration_batches(work, settings.rows, BATCH)
    real_tokens(feeds)
    errors: dict[str, list[float]] = {}
    if settings.kv_heads is not None:
        _require("kv_heads", settings.kv_heads, groups_of(model))
        kept, errors["attention_error"] = _narrowed(work, model, OUT, group_width(model), settings.kv_heads, settings, feeds)
        model = keep_groups(model, kept)
    if settings.neurons is not None:
        _require("neurons", settings.neurons, neurons_of(model))
        kept, errors["mlp_error"] = _narrowed(work, model, mlp_of(model).down, 1, settings.neurons, settings, feeds)
        model = keep_neurons(model, kept)
    save(model, work.out, tokenizer_files_from=work.source)
    return {"parameters": parameters(model), **errors}


def _require(name: str, asked: int, have: int) -> None:
    if faults := nothing_removed(name, asked, have, of="blocks"):
        raise BadInput(
            faults[0],
            where=f"compress, {NAME}",
            fix=f"keep from 1 to {have - 1}" if have > 1 else f"leave out `{name}`",
        )


def _narrowed(
    work: Work, model: PreTrainedModel, path: str, size: int, count: int, settings: Settings, feeds: list[Feed]
) -> tuple[list[list[int]], list[float]]:
    """(units that stay in each block, error of each); the projections at `path` of each block are refit in place, zero elsewhere."""
    import numpy as np
    import torch

    from edgekit.compress.pruning.gram import grams
    from edgekit.models.stack import blocks_of

    modules = {str(number): block.get_submodule(path) for number, block in enumerate(blocks_of(model))}
    tell: Callable[[int], None] = lambda done: work.progress(done, len(feeds), f"{NAME}: inputs of {path}")  # noqa: E731
    found = grams(model, modules, feeds, progress=tell)
    chosen, errors = [], []
    for name, module in modules.items():
        turned = not isinstance(module, torch.nn.Linear)
        stored = module.get_parameter("weight")
        weight = stored.detach().double().numpy()
        weight, hessian = weight.T if turned else weight, found[name].second
        units = chosen_units(weight, hessian, size, count)
        columns = (units[:, None] * size + np.arange(size)).ravel()
        new, error = refit(weight, hessian, columns, settings.damping)
        whole = np.zeros_like(weight)
        whole[:, columns] = new
        stored.data.copy_(torch.from_numpy(whole.T if turned else whole))
        chosen.append(units.tolist())
        errors.append(round(error, 6))
    return chosen, errors


def chosen_units(weight: np.ndarray, hessian: np.ndarray, size: int, count: int) -> np.ndarray:
    """Numbers of the `count` most important units, ascending, each of `size` neighbouring inputs of `weight` (out, in)."""
    import numpy as np

    each = np.diag(hessian) * np.square(weight).sum(axis=0)
    return np.sort(np.argsort(-each.reshape(-1, size).sum(axis=1), kind="stable")[:count])


def refit(weight: np.ndarray, hessian: np.ndarray, kept: np.ndarray, damping: float) -> tuple[np.ndarray, float]:
    """(columns `kept` of `weight` (out, in), changed to make up for the others; squared error left, as a share of the output's).

    `hessian`: X'X of the inputs, float64 (in, in).

    Raises:
        BadInput: it is singular in `kept`, even damped.
    """
    import numpy as np

    from edgekit.compress.pruning.inverse_hessian import damped_inverse, squared_error

    def error_of(tried: np.ndarray) -> float:
        change = weight.copy()
        change[:, kept] -= tried
        return squared_error(change, hessian)

    new = weight @ hessian[:, kept] @ damped_inverse(hessian[np.ix_(kept, kept)], damping)
    best = min(new, weight[:, kept], key=error_of)  # damping may cost more than it gives where little is removed
    return best, error_of(best) / max(squared_error(weight, hessian), 1e-30)


def _structure(model: ModelFacts) -> Ranges | None:
    """Neurons."""
    if model.intermediate_size is None or model.intermediate_size < 8:
        return None
    return {"neurons": Integers(model.intermediate_size // 4, model.intermediate_size - 1)}


METHOD = Method(
    name=NAME, version=1, settings=Settings, serves=("decoder",), run=run, check=check, transform=transform,
    instead="prune-structured",
    search={"structure": _structure},
)  # fmt: skip
