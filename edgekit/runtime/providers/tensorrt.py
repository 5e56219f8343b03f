"""TensorRT's engines: built when a shape is first asked for, which takes seconds to minutes, and kept in the user's cache folder.

ONNX Runtime finds a kept engine by a hash of the graph's names, not of its weights
(docs/execution-providers/TensorRT-ExecutionProvider.md, "TensorRT EP Caches"), so every model file has a folder of its own,
named by what is in it. An engine that was built for another chip or version of TensorRT is built again by the provider.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
from pathlib import Path

from edgekit.runtime.files import cache_folder

__all__ = ["engine_folder", "engine_options", "libraries_load"]

INT8 = {"trt_int8_enable": "1", "trt_fp16_enable": "0"}
"""Pairs in the graph say what is INT8 ("Int8 precision has been set, but int8 is not configured" without it, issue 13381); the rest
stays float32, as it was scored."""


def engine_folder(model: Path) -> Path:
    """Where the engines of file `model` are kept."""
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return cache_folder() / "tensorrt" / digest[:32]


def engine_options(model: Path) -> dict[str, str]:
    """Provider options for file `model`; without a cache where its folder cannot be written, which is slow and not wrong."""
    folder = engine_folder(model)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = os.access(folder, os.W_OK)
    except OSError:
        kept = False
    cache = {
        "trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder), "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }  # fmt: skip
    return INT8 | (cache if kept else {})


def libraries_load(folder: Path) -> bool:
    """Whether TensorRT's library can be loaded that onnxruntime's own in `folder` was linked with.

    onnxruntime-gpu names the provider among those it offers either way. Its library is read, not loaded: that has an order of its own.
    """
    try:
        needed = re.search(rb"libnvinfer\.so\.\d+", (folder / "libonnxruntime_providers_tensorrt.so").read_bytes())
        if needed is None:
            return False
        ctypes.CDLL(needed[0].decode())
    except OSError:
        return False
    return True
