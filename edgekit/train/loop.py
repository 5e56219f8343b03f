"""The training loop that every method with gradient steps shares: accelerate, AdamW, warm-up, best on validation, resume.

A killed run resumes after its last whole epoch and ends in the same weights: each epoch seeds its own randomness and the
learning rate is a function of the step alone, so only weights and the optimizer's moments need to be kept.

Under `accelerate launch` every batch is split between the processes and their gradients are averaged, so a recipe means the same
student on one device and on several: the same steps over the same rows, but for dropout's draws and the order of float sums. A loss
that averages over tokens is averaged within each part first, which weighs tokens by a hair differently.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file

from edgekit.progress import Progress
from edgekit.tasks import Task
from edgekit.tasks.encode import Encoded, batches, score_of

__all__ = ["Plan", "Precision", "fit", "keep_epoch", "outputs_of", "part_of", "quality_of", "resume_epoch"]

Precision = Literal["fp32", "bf16"]
"""bf16 halves the time of a step where the chip multiplies bfloat16 (avx512_bf16, AMX, GPUs) and slows it down elsewhere."""

BatchLoss = Callable[[Any, Any, dict[str, torch.Tensor], np.ndarray], torch.Tensor]
"""(model, extra module or None, inputs of the model (b, s), numbers of the passes (b,)) -> scalar loss."""


class _Step(torch.nn.Module):
    """Model, extra parameters and loss as one module, so that distributed wrappers see every forward pass."""

    def __init__(self, model: Any, extra: torch.nn.Module | None, loss: BatchLoss) -> None:
        super().__init__()
        self.model = model
        self.extra = extra
        self.loss = loss

    def forward(self, feed: dict[str, torch.Tensor], passes: np.ndarray) -> torch.Tensor:
        return self.loss(self.model, self.extra, feed, passes)


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.1
    """Share of all steps with a rising learning rate; it falls linearly to zero after."""
    precision: Precision = "fp32"
    """Numbers of the matrix products; weights, moments and losses stay in fp32."""


def fit(
    model: Any,
    train: Encoded,
    loss: BatchLoss,
    evaluate: Callable[[Any], float],
    plan: Plan,
    *,
    seed: int,
    scratch: Path,
    progress: Progress,
    label: str,
    extra: torch.nn.Module | None = None,
    after_step: Callable[[], None] = lambda: None,
    before_step: Callable[[int, int], None] = lambda step, total: None,
    may_be_best: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """Train `model` in place and leave it with the weights of its best epoch.

    `extra` holds parameters that are trained beside the model and thrown away (projections). `after_step` is called whenever
    the weights have changed, `before_step` with the number of each step and of all before it is taken. An epoch after which
    `may_be_best` says no is not taken for the best; it must say yes after the last.
    Returns the history: quality after each epoch, the best epoch, the passes in one epoch.
    """
    accelerator = Accelerator()
    whole = _Step(model, extra, loss)
    optimizer = torch.optim.AdamW(_groups(whole, plan.weight_decay), lr=plan.learning_rate)
    world, rank = accelerator.num_processes, accelerator.process_index
    per_epoch = math.ceil(len(train.windows) / plan.batch)
    total = per_epoch * plan.epochs
    if len(set(gather_object([_epochs_done(scratch)]))) > 1:  # killed while some had kept an epoch and others not yet
        (scratch / "state.json").unlink(missing_ok=True)
    state = resume_epoch(scratch, whole, optimizer, accelerator.device)
    prepared, optimizer = accelerator.prepare(whole, optimizer)
    lengths = train.lengths
    started, seen = time.monotonic(), 0
    for epoch in range(len(state["quality"]), plan.epochs):
        torch.manual_seed(seed * 1000 + epoch + rank * 1_000_003)  # processes draw dropout each for itself
        prepared.train()
        for step, whole_batch in enumerate(batches(lengths, plan.batch, seed * 1000 + epoch)):
            passes, share = part_of(whole_batch, rank, world)
            before_step(epoch * per_epoch + step, total)
            _set_rate(optimizer, plan, epoch * per_epoch + step, total)
            feed = {name: tensor.to(accelerator.device) for name, tensor in train.feed(passes).items()}
            with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
                value = prepared(feed, passes)
            value = value if share == 1 else value * share
            accelerator.backward(value)
            accelerator.clip_grad_norm_(prepared.parameters(), 1.0)
            optimizer.step()
            after_step()
            optimizer.zero_grad()
            seen += len(whole_batch)
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
        keep_epoch(scratch, whole, optimizer, state)  # every process keeps its own: weights and moments are the same in all
        accelerator.wait_for_everyone()
    model.load_state_dict(load_file(scratch / "best.safetensors"))
    model.to("cpu").eval()
    prepared, optimizer = accelerator.free_memory(prepared, optimizer)  # on a GPU: minutes on the processor follow
    progress(total, total, f"{label}: best validation {state['quality'][state['best']]:.4f} in epoch {state['best'] + 1}")
    return {"quality": state["quality"], "best_epoch": state["best"] + 1, "rows": len(train.windows)}


def part_of(passes: np.ndarray, rank: int, world: int) -> tuple[np.ndarray, float]:
    """(the rows of a batch (b,) that process `rank` of `world` takes, what its mean loss counts).

    The mean over processes of the losses so weighted is the mean over the batch's rows. A process without a row takes one for nothing,
    because all must take part in every step.
    """
    mine = passes[rank::world]
    return (mine, len(mine) * world / len(passes)) if len(mine) else (passes[:1], 0.0)


def outputs_of(model: Any, task: Task, data: Encoded, batch: int = 64) -> list[np.ndarray]:
    """The task's output for every pass of `data`, in order, float32 (1, ...) each, as a graph would give it."""
    device = next(model.parameters()).device
    found: list[np.ndarray] = [np.zeros(0)] * len(data.windows)
    was_training = model.training
    model.eval()
    lengths = data.lengths
    with torch.inference_mode():
        for passes in batches(lengths, batch, None):
            feed = {name: tensor.to(device) for name, tensor in data.feed(passes).items()}
            output = task.tensor(model, model(**feed), feed["attention_mask"]).float().cpu().numpy()
            for place, number in enumerate(passes):
                found[number] = output[place : place + 1, : lengths[number]] if task.per_token else output[place : place + 1]
    model.train(was_training)
    return found


def quality_of(model: Any, task: Task, data: Encoded, rows: list[dict[str, Any]], labels: list[str]) -> float:
    """The task's metric of `model` on `rows`, encoded as `data`."""
    return task.reduce(score_of(task, outputs_of(model, task, data), data, rows, labels))


def _groups(module: torch.nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices only, never on biases and norms."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def _set_rate(optimizer: Any, plan: Plan, step: int, total: int) -> None:
    rising = max(1, round(plan.warmup * total))
    share = (step + 1) / rising if step < rising else max(0.0, (total - step) / max(1, total - rising))
    for group in optimizer.param_groups:
        group["lr"] = plan.learning_rate * share


def keep_epoch(scratch: Path, whole: torch.nn.Module, optimizer: Any, state: dict[str, Any]) -> None:
    """Write the weights and moments after an epoch; the JSON names it last, so a kill in between leaves the previous one whole.

    `state`: "quality" of each epoch so far, and "best", whose `model` inside `whole` is kept too (-1: of none).
    """
    scratch.mkdir(parents=True, exist_ok=True)
    epoch = len(state["quality"]) - 1
    tensors = {f"weight.{name}": value.detach().cpu().contiguous().clone() for name, value in whole.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"moment.{number}.{name}": torch.as_tensor(value).cpu().contiguous() for name, value in moments.items()}
    save_file(tensors, scratch / f"epoch-{epoch}.safetensors")
    if state["best"] == epoch:
        best = {
            name: value.detach().cpu().contiguous().clone() for name, value in whole.get_submodule("model").state_dict().items()
        }
        save_file(best, scratch / "best.tmp")
        os.replace(scratch / "best.tmp", scratch / "best.safetensors")
    (scratch / "state.tmp").write_text(json.dumps(state))
    os.replace(scratch / "state.tmp", scratch / "state.json")
    (scratch / f"epoch-{epoch - 1}.safetensors").unlink(missing_ok=True)


def _epochs_done(scratch: Path) -> int:
    record = scratch / "state.json"
    return len(json.loads(record.read_text())["quality"]) if record.is_file() else 0


def resume_epoch(scratch: Path, whole: torch.nn.Module, optimizer: Any, device: torch.device) -> dict[str, Any]:
    """Load what `keep_epoch` left of the last whole epoch, if there is one; returns its state."""
    record = scratch / "state.json"
    if not record.is_file():
        return {"quality": [], "best": -1}
    state: dict[str, Any] = json.loads(record.read_text())
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
