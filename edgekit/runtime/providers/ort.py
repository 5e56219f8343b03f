"""ONNX Runtime with its telemetry off: every module of edgekit takes it from here, when it first needs it, and none imports it itself.

`from edgekit.runtime.providers.ort import onnxruntime` raises ImportError where ONNX Runtime is not installed.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is first imported
import onnxruntime

__all__ = ["onnxruntime", "submodule"]


def submodule(name: str) -> ModuleType:
    """Module `name` below onnxruntime, such as "transformers.float16". Those that build or change graphs need the `onnx` package."""
    return importlib.import_module(f"onnxruntime.{name}")
