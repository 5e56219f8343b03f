"""Checkpoints run by PyTorch eager in float32, for the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.tasks import decoder_task, encoder_task

if TYPE_CHECKING:
    import numpy as np

__all__ = ["eager_predictor", "eager_reader"]


def eager_predictor(task: str, folder: Path, threads: int) -> tuple[list[str], Callable[[dict[str, np.ndarray]], np.ndarray]]:
    """PyTorch eager fp32 of an encoder's checkpoint, for the benchmark: (input names, one window's feed -> output float32 (1, ...))."""
    import numpy as np
    import torch

    from edgekit.models.checkpoint import load
    from edgekit.models.files import input_names
    from edgekit.tasks.graph import graph_of

    torch.set_num_threads(threads)
    kind = encoder_task(task)
    model = graph_of(kind, load(folder, kind.auto))
    model.eval()
    names = input_names(folder, pairs=kind.pairs)

    def predict(feed: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            output = model(*(torch.from_numpy(feed[name]) for name in names))
        return np.asarray(output.numpy())

    return names, predict


def eager_reader(folder: Path, threads: int) -> Callable[[np.ndarray, int], int]:
    """PyTorch eager fp32 of a decoder's checkpoint, for the benchmark: a `Step` of `edgekit.runtime.bench.measure_language`."""
    import numpy as np
    import torch
    from transformers import Cache

    from edgekit.models.checkpoint import load

    torch.set_num_threads(threads)
    model = load(folder, decoder_task("text-generation").auto)
    model.eval()
    cache: Cache | None = None

    def step(ids: np.ndarray, room: int) -> int:
        nonlocal cache
        with torch.inference_mode():
            output = model(
                input_ids=torch.from_numpy(np.asarray(ids))[None], past_key_values=None if room else cache, use_cache=True,
                logits_to_keep=1,
            )  # fmt: skip
        cache = output.past_key_values
        return int(output.logits[0, -1].argmax())

    return step
