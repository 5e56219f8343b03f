"""The training loop that every method with gradient steps shares: accelerate, AdamW, warm-up, best on validation, resume.

A killed run resumes after its last whole epoch and ends in the same weights: each epoch seeds its own randomness and the
learning rate is a function of the step alone, so only weights and the optimizer's moments need to be kept.

Under `accelerate launch` every batch is split between the processes and their gradients are averaged, so a recipe means the same
student on one device and on several: the same steps over the same rows, but for dropout's draws and the order of float sums. A loss
that averages over tokens is averaged within each process's part first, which weighs tokens slightly differently.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from edgekit.config.images import ImageChanges
from edgekit.config.recipe import TrainingSettings
from edgekit.config.sounds import SoundChanges
from edgekit.models.device import Feed, feed_to
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonObject
from edgekit.store import sync
from edgekit.tasks.encode import Encoded, batches
from edgekit.train.image_changes import changed
from edgekit.train.sound_changes import changed_sounds

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["BatchLoss", "History", "Hyperparameters", "ParameterGroup", "Precision", "fit", "part_of"]

Precision = Literal["fp32", "bf16"]
"""bf16 halves the time of a step where the chip multiplies bfloat16 (avx512_bf16, AMX, GPUs) and slows it down elsewhere."""

BatchLoss = Callable[["PreTrainedModel", torch.nn.Module | None, Feed, np.ndarray], torch.Tensor]
"""(model, extra module or None, inputs of the model (b, s), numbers of the windows (b,)) -> scalar loss."""


class _Step(torch.nn.Module):
    """Model, extra parameters and loss as one module, so that distributed wrappers see every forward pass."""

    def __init__(self, model: PreTrainedModel, extra: torch.nn.Module | None, loss: BatchLoss) -> None:
        super().__init__()
        self.model = model
        self.extra = extra
        self.loss = loss

    def forward(self, feed: Feed, windows: np.ndarray) -> torch.Tensor:
        return self.loss(self.model, self.extra, feed, windows)


@dataclass(frozen=True)
class Hyperparameters:
    """How long and how fast to train."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.1
    """Share of all steps with a rising learning rate; it falls linearly to zero after."""
    precision: Precision = "fp32"
    """Data type of the matrix multiplications; weights, moments and losses stay in fp32."""
    patience: int | None = None
    """Epochs in a row without a better one after which training ends."""

    @staticmethod
    def of(settings: TrainingSettings) -> Hyperparameters:
        """Those that a step's settings name."""
        return Hyperparameters(
            settings.epochs, settings.batch, settings.learning_rate, settings.weight_decay, settings.warmup, settings.precision
        )


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of the extra module with a constant learning rate of their own, without weight decay and gradient clipping."""

    parameters: Sequence[torch.nn.Parameter]
    learning_rate: float
    maximize: bool = False
    """Gradient ascent: the Lagrange multipliers of a constraint climb while everything else descends."""


@dataclass(frozen=True)
class History:
    """How training went."""

    quality: list[float]
    """The task's metric on validation rows after each epoch."""
    best_epoch: int
    """The epoch whose weights the model was left with, counted from 1."""
    windows: int
    """Training windows in one epoch."""

    @property
    def best(self) -> float:
        """Quality of the best epoch."""
        return self.quality[self.best_epoch - 1]

    def to_json(self) -> JsonObject:
        """As it stands in the metrics of a stage."""
        return {"quality": self.quality, "best_epoch": self.best_epoch, "rows": self.windows}


class _State(TypedDict):
    """What is known of the epochs so far."""

    quality: list[float]
    best: int
    """Number of the best epoch, counted from 0; -1 for none."""


def fit(
    model: PreTrainedModel,
    train: Encoded,
    loss: BatchLoss,
    evaluate: Callable[[PreTrainedModel], float],
    plan: Hyperparameters,
    *,
    seed: int,
    scratch: Path,
    progress: Progress,
    label: str,
    extra: torch.nn.Module | None = None,
    extra_groups: Sequence[ParameterGroup] = (),
    before_step: Callable[[int, int], None] = lambda step, total: None,
    after_step: Callable[[], None] = lambda: None,
    may_be_best: Callable[[], bool] = lambda: True,
    changes: ImageChanges | SoundChanges | None = None,
) -> History:
    """Train `model` in place and leave it with the weights of its best epoch, in eval mode, on the CPU.

    `extra` holds parameters and buffers that are trained and resumed together with the model but are no part of its checkpoint
    (projections, gates); it is left as the last epoch left it. Those of its parameters that `extra_groups` name follow their own
    learning rate, all others the plan's.

    `before_step` is called with the number of each step and of all steps before that step is taken, `after_step` whenever the
    weights have changed. An epoch after which `may_be_best` is false cannot be the best; after the last epoch it must be true.

    `changes`: how training images or sounds are changed, by the seed and the number of the step alone.
    """
    accelerator = Accelerator()
    whole = _Step(model, extra, loss)
    own = {id(parameter) for group in extra_groups for parameter in group.parameters}
    groups = _decay_groups((parameter for parameter in whole.parameters() if id(parameter) not in own), plan.weight_decay)
    optimizer = torch.optim.AdamW(groups + [_constant_group(group) for group in extra_groups], lr=plan.learning_rate)
    world, rank = accelerator.num_processes, accelerator.process_index
    per_epoch = math.ceil(len(train.windows) / plan.batch)
    total = per_epoch * plan.epochs
    if len(set(gather_object([epochs_done(scratch)]))) > 1:  # killed while some had kept an epoch and others not yet
        (scratch / "state.json").unlink(missing_ok=True)
    state = _resume_epoch(scratch, whole, optimizer, accelerator.device)
    prepared, optimizer = accelerator.prepare(whole, optimizer)
    clipped = [parameter for parameter in prepared.parameters() if id(parameter) not in own]
    lengths = train.lengths
    started, seen = time.monotonic(), 0
    for epoch in range(len(state["quality"]), plan.epochs):
        if plan.patience is not None and epoch - 1 - state["best"] >= plan.patience and state["best"] >= 0:
            break
        torch.manual_seed(seed * 1000 + epoch + rank * 1_000_003)  # each process draws its own dropout
        prepared.train()
        for step, batch in enumerate(batches(lengths, plan.batch, seed * 1000 + epoch)):
            windows, share = part_of(batch, rank, world)
            before_step(epoch * per_epoch + step, total)
            for group in optimizer.param_groups[: len(groups)]:
                group["lr"] = _learning_rate(plan, epoch * per_epoch + step, total)
            feed = feed_to(
                train.feed(windows, _change(changes, train, (seed, epoch * per_epoch + step, rank))), accelerator.device
            )
            with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
                value = prepared(feed, windows)
            value = value if share == 1 else value * share
            accelerator.backward(value)
            accelerator.clip_grad_norm_(clipped, 1.0)
            optimizer.step()
            after_step()
            optimizer.zero_grad()
            seen += len(batch)
            if step % 10 == 0:
                rate = seen / (time.monotonic() - started)
                best = f", best {max(state['quality']):.4f}" if state["quality"] else ""
                text = f"{label}: epoch {epoch + 1}/{plan.epochs}, loss {value.item():.3f}, {rate:,.0f} rows/s{best}"
                progress(epoch * per_epoch + step, total, text)
        prepared.eval()
        quality = evaluate(model)
        state["quality"].append(quality)
        best_yet = state["quality"][state["best"]] if state["best"] >= 0 else quality
        if may_be_best() and quality >= best_yet:  # of equals the later one: it has seen more
            state["best"] = epoch
        _keep_epoch(scratch, whole, optimizer, state)  # every process keeps its own: weights and moments are the same in all
        accelerator.wait_for_everyone()
    model.load_state_dict(load_file(scratch / "best.safetensors"))
    whole.to("cpu").eval()
    prepared, optimizer = accelerator.free_memory(
        prepared, optimizer
    )  # frees a GPU: what comes next may take minutes on the CPU
    history = History(state["quality"], state["best"] + 1, len(train.windows))
    progress(total, total, f"{label}: best validation {history.best:.4f} in epoch {history.best_epoch}")
    return history


def _change(
    changes: ImageChanges | SoundChanges | None, train: Encoded, seed: tuple[int, ...]
) -> Callable[[np.ndarray], np.ndarray] | None:
    """What is done to the images or sounds of one step."""
    if isinstance(changes, SoundChanges):
        sound = train.windows[0].sound
        assert sound is not None, "refused for other tasks by the plan"
        return lambda features: changed_sounds(features, changes, sound.silence, seed)
    return None if changes is None else lambda pixels: changed(pixels, changes, seed)


def part_of(batch: np.ndarray, rank: int, world: int) -> tuple[np.ndarray, float]:
    """(the windows of a batch (b,) that process `rank` of `world` takes, the weight of their mean loss).

    The mean over processes of the losses so weighted is the mean over the batch. A process without a window takes one at weight 0,
    because all must take part in every step.
    """
    mine = batch[rank::world]
    return (mine, len(mine) * world / len(batch)) if len(mine) else (batch[:1], 0.0)


def _decay_groups(parameters: Iterable[torch.nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Groups of an optimizer: weight decay on matrices only, never on biases and norms."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def _constant_group(group: ParameterGroup) -> dict[str, Any]:
    return {"params": list(group.parameters), "lr": group.learning_rate, "maximize": group.maximize, "weight_decay": 0.0}


def _learning_rate(plan: Hyperparameters, step: int, total: int) -> float:
    """Linear warm-up, then linear decay to zero."""
    rising = max(1, round(plan.warmup * total))
    share = (step + 1) / rising if step < rising else max(0.0, (total - step) / max(1, total - rising))
    return plan.learning_rate * share


def _keep_epoch(scratch: Path, whole: torch.nn.Module, optimizer: torch.optim.Optimizer, state: _State) -> None:
    """Write the weights and moments after an epoch; the JSON names it last, so a kill in between leaves the previous one whole."""
    scratch.mkdir(parents=True, exist_ok=True)
    epoch = len(state["quality"]) - 1
    tensors = {f"weight.{name}": value.detach().cpu().contiguous().clone() for name, value in whole.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"moment.{number}.{name}": torch.as_tensor(value).cpu().contiguous() for name, value in moments.items()}
    save_file(tensors, scratch / f"epoch-{epoch}.safetensors")
    sync(scratch / f"epoch-{epoch}.safetensors")
    if state["best"] == epoch:
        weights = whole.get_submodule("model").state_dict()
        best = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
        save_file(best, scratch / "best.tmp")
        sync(scratch / "best.tmp")
        os.replace(scratch / "best.tmp", scratch / "best.safetensors")
    (scratch / "state.tmp").write_text(json.dumps(state))
    os.replace(scratch / "state.tmp", scratch / "state.json")
    (scratch / f"epoch-{epoch - 1}.safetensors").unlink(missing_ok=True)


def _kept(scratch: Path) -> _State | None:
    """What `_keep_epoch` wrote last; None where there is nothing, or not all of it, as after the power went: training then begins anew."""
    try:
        state: _State = json.loads((scratch / "state.json").read_text())
        names = [f"epoch-{len(state['quality']) - 1}.safetensors", *(["best.safetensors"] if state["best"] >= 0 else [])]
        for name in names:
            with safe_open(scratch / name, "pt"):  # compares the file's size with what its header says
                pass
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    return state


def epochs_done(scratch: Path) -> int:
    """How many whole epochs a training that was cut off has kept there."""
    state = _kept(scratch)
    return len(state["quality"]) if state is not None else 0


def _resume_epoch(scratch: Path, whole: torch.nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> _State:
    """Load what `_keep_epoch` left of the last whole epoch, if there is one; returns its state."""
    state = _kept(scratch)
    if state is None:
        return {"quality": [], "best": -1}
    tensors = load_file(scratch / f"epoch-{len(state['quality']) - 1}.safetensors")
    whole.load_state_dict(
        {name.removeprefix("weight."): value for name, value in tensors.items() if name.startswith("weight.")}
    )
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("moment."):
            _, number, field = name.split(".", 2)
            moments.setdefault(int(number), {})[field] = value.to(device)
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return state
