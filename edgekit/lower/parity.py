"""Does the exported graph compute what eager PyTorch computes? Checked over shapes that break careless exports."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import CheckFailed

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is first imported

__all__ = ["check_parity"]


def check_parity(module: Any, path: Path, vocabulary: int, max_length: int, tolerance: float) -> float:
    """Largest absolute difference of any output of ONNX file `path` from eager `module`.

    Shapes (batch, sequence): one row, a batch with padding, the shortest and the longest input.

    Raises:
        CheckFailed: the difference exceeds `tolerance`, or an output is not finite.
    """
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    worst, faults = 0.0, []
    for batch, sequence in ((1, 2), (1, 11), (2, min(7, max_length)), (5, min(33, max_length)), (2, max_length)):
        ids = generator.integers(0, vocabulary, (batch, sequence))
        mask = np.ones_like(ids)
        for row in range(1, batch):
            mask[row, max(1, sequence - row * sequence // (batch + 1)) :] = 0
        with torch.inference_mode():
            expected = module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        actual = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        difference = float(np.abs(actual - expected).max()) if np.isfinite(actual).all() else float("inf")
        worst = max(worst, difference)
        if not difference <= tolerance:
            faults.append(f"batch {batch}, sequence {sequence}: largest difference {difference:.3g}")
    if faults:
        raise CheckFailed(
            f"the exported graph differs from eager PyTorch by more than {tolerance:g}", where=str(path), faults=faults
        )
    return worst
