"""Does the exported graph compute what eager PyTorch computes? Checked over shapes that break careless exports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import CheckFailed
from edgekit.runtime.providers.session import plain_session

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

__all__ = ["check_parity"]


def check_parity(
    module: torch.nn.Module,
    path: Path,
    names: Sequence[str],
    config: PreTrainedConfig,
    max_length: int,
    tolerance: float,
    *,
    per_token: bool,
) -> float:
    """Largest absolute difference of any output of ONNX file `path` from eager `module`, which take inputs called `names`.

    Shapes (batch, sequence): one row, a batch with padding, the shortest and the longest input. Where each token has an
    output (`per_token`), those of padding do not count.

    Raises:
        CheckFailed: the difference exceeds `tolerance`, or an output is not finite.
    """
    import torch

    session = plain_session(path)
    generator = np.random.default_rng(0)
    worst, faults = 0.0, []
    for batch, sequence in (
        (1, 2),
        (1, min(11, max_length)),
        (2, min(7, max_length)),
        (5, min(33, max_length)),
        (2, max_length),
    ):
        ids = generator.integers(0, config.vocab_size, (batch, sequence))
        mask = np.ones_like(ids)
        for row in range(1, batch):
            mask[row, max(1, sequence - row * sequence // (batch + 1)) :] = 0
        ids = np.where(mask == 1, ids, max(0, getattr(config, "pad_token_id", None) or 0))
        segments = (np.arange(sequence) > sequence // 3).astype(np.int64) * mask
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}
        feed = {name: inputs[name] for name in names}
        with torch.inference_mode():
            expected = module(*(torch.from_numpy(array) for array in feed.values())).numpy()
        actual = session.run(None, feed)[0]
        counted = mask.astype(bool) if per_token else slice(None)
        finite = actual.shape == expected.shape and np.isfinite(actual).all()
        difference = float(np.abs(actual[counted] - expected[counted]).max()) if finite else float("inf")
        worst = max(worst, difference)
        if not difference <= tolerance:
            faults.append(f"batch {batch}, sequence {sequence}: largest difference {difference:.3g}")
    if faults:
        raise CheckFailed(
            f"the exported graph differs from eager PyTorch by more than {tolerance:g}", where=str(path), faults=faults
        )
    return worst
