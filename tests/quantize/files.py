"""Models in files: rewrites of models in memory applied to them, and what they answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir
import onnxruntime

from edgekit.onnx_graph.rewrite import save
from edgekit.quantize.observe import Feed

__all__ = ["outputs", "rewritten"]

T = TypeVar("T")


def rewritten(source: Path, out: Path, rewrite: Callable[..., T], *settings: Any, **more: Any) -> T:
    """Write the model in file `source`, after `rewrite(model, *settings, **more)` changed it in place, to `out`; returns what it
    returned."""
    model = ir.load(source)
    returned = rewrite(model, *settings, **more)
    save(model, out, microsoft=True)
    return returned


def outputs(path: Path, feeds: list[Feed]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, feed)[0] for feed in feeds])
