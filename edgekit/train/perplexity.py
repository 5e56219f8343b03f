"""How likely a language model in training finds texts: batch after batch, so that no more than one batch's logits is in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from edgekit.tasks import Task
from edgekit.tasks.encode import Encoded, batches

__all__ = ["text_evidence", "text_probability"]


def text_evidence(model: Any, data: Encoded, batch: int = 8) -> np.ndarray:
    """Sum of the logarithms of the probabilities of each text's tokens after the first, and their number, float64 (texts, 2).

    The model is left in its mode.
    """
    place = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found = np.zeros((len(data.windows), 2))
    with torch.inference_mode():
        for passes in batches(data.lengths, batch, None):
            feed = {name: tensor.to(place) for name, tensor in data.feed(passes).items()}
            wanted = data.wanted(passes).to(place)
            chances = torch.log_softmax(model(**feed, use_cache=False).logits.float(), dim=-1)
            shown = wanted >= 0
            taken = chances.gather(-1, wanted.clamp(min=0)[:, :, None])[:, :, 0].double() * shown
            found[passes] = torch.stack([taken.sum(dim=1), shown.sum(dim=1).double()], dim=1).cpu().numpy()
    model.train(was_training)
    return found


def text_probability(model: Any, task: Task, data: Encoded, batch: int = 8) -> float:
    """The task's metric, 1/perplexity, over all tokens of `data`."""
    return task.reduce(text_evidence(model, data, batch))
