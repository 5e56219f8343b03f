"""A torch model scored on encoded rows: its outputs, the task's metric, and log-probabilities of texts under a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekit.models.device import feed_to
from edgekit.runtime.jsontypes import JsonObject
from edgekit.tasks import Task
from edgekit.tasks.encode import Encoded, batches
from edgekit.tasks.threshold import quality_on

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["inverse_perplexity", "outputs_of", "quality_of", "text_log_probabilities"]


def outputs_of(model: PreTrainedModel, task: Task, data: Encoded, batch: int = 64) -> list[np.ndarray]:
    """The task's output for every window of `data`, in order, float32 (1, ...) each, as an ONNX graph would give it.

    The model runs in eval mode on the device it is on, and is left in the mode it was in.
    """
    device = next(model.parameters()).device
    outputs: list[np.ndarray] = [np.zeros(0)] * len(data.windows)
    was_training = model.training
    model.eval()
    lengths = data.lengths
    with torch.inference_mode():
        for windows in batches(lengths, data.largest_batch or batch, None):
            feed = feed_to(data.feed(windows), device)
            output = task.tensor(model, model(**feed), feed["attention_mask"]).float().cpu().numpy()
            for row, window in enumerate(windows):
                outputs[window] = output[row : row + 1, : lengths[window]] if task.per_token else output[row : row + 1]
    model.train(was_training)
    return outputs


def quality_of(model: PreTrainedModel, task: Task, data: Encoded, rows: Sequence[JsonObject], labels: list[str]) -> float:
    """The task's metric of `model` on `rows`, encoded as `data`."""
    return quality_on(task, outputs_of(model, task, data), data, rows, labels)


def text_log_probabilities(model: PreTrainedModel, data: Encoded, batch: int = 8) -> np.ndarray:
    """Sum of the log-probabilities of each text's tokens after the first, and their number, float64 (texts, 2).

    One batch's logits are in memory at a time. The model is left in the mode it was in.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    evidence = np.zeros((len(data.windows), 2))
    with torch.inference_mode():
        for windows in batches(data.lengths, batch, None):
            feed = feed_to(data.feed(windows), device)
            labels = data.wanted(windows).to(device)
            log_probabilities = torch.log_softmax(model(**feed, use_cache=False).logits.float(), dim=-1)
            scored = labels >= 0
            of_labels = log_probabilities.gather(-1, labels.clamp(min=0)[:, :, None])[:, :, 0].double() * scored
            evidence[windows] = torch.stack([of_labels.sum(dim=1), scored.sum(dim=1).double()], dim=1).cpu().numpy()
    model.train(was_training)
    return evidence


def inverse_perplexity(model: PreTrainedModel, task: Task, data: Encoded, batch: int = 8) -> float:
    """The task's metric, 1/perplexity, over all tokens of `data`."""
    return task.reduce(text_log_probabilities(model, data, batch))
