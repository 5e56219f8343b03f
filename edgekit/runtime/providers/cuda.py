"""Sessions on an NVIDIA GPU: no node left behind on the CPU, buffers that stay on the GPU, a CUDA graph for each shape.

An encoder's run at batch 1 is some thirty kernels of a few microseconds each: launching them one by one takes longer than
running them. A CUDA graph launches all at once, and needs the same shapes at the same addresses every time, so each shape that is
asked for gets buffers and a recording of its own (`gpu_graph_id`), up to a limit; further shapes run without.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.runtime.errors import CheckFailed, NotPossibleHere
from edgekit.runtime.providers.names import CUDA, TENSORRT
from edgekit.runtime.providers.tensorrt import engine_options

__all__ = ["GRAPHS", "Replayed", "check_placement", "graph_run", "provider_options"]

CUDA_OPTIONS = {"enable_cuda_graph": "1", "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}
"""Provider options. Float32 products are not rounded to TF32, and memory is not taken in ever larger steps."""
GRAPHS = 160
"""Shapes of one session that get buffers and a recording; one of a small encoder takes about a megabyte of GPU memory."""
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


def provider_options(provider: str, model: Path) -> list[Any]:
    """What `InferenceSession` takes as `providers` for file `model`: `provider` alone, recording CUDA graphs or keeping engines where
    it can."""
    if provider == TENSORRT:
        return [(provider, engine_options(model))]
    return [(provider, CUDA_OPTIONS)] if provider == CUDA else [provider]


def check_placement(session: Any, provider: str, where: str) -> None:
    """Raise NotPossibleHere with the name of every node that `provider` did not take.

    The session must have been opened with RECORD_ASSIGNMENT set to "1".
    """
    strays = [
        f"{node.name or '(no name)'}: {node.op_type} on {part.ep_name}"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != provider
        for node in part.get_nodes()
    ]
    if strays:
        raise NotPossibleHere(
            f"{len(strays)} nodes have no kernel on {provider}", where=where, faults=strays[:20],
            fix="export for a target whose provider has kernels for them; the CPU never stands in in silence",
        )  # fmt: skip


def graph_run(number: int) -> Any:
    """Run options for recording `number` of the session; -1 runs without one."""
    from edgekit.runtime.providers.ort import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


@dataclass
class _Shape:
    """Buffers of one shape, and what they hold."""

    binding: Any
    options: Any
    inputs: dict[str, Any]
    held: dict[str, np.ndarray]
    outputs: list[Any]


@dataclass(frozen=True)
class Replayed:
    """A session whose `run` copies inputs to buffers that stay, replays the recording of their shape, and copies outputs back.

    Inputs that did not change since the last run of their shape (a mask of ones) are not copied again. Threads wait for one another.
    """

    session: Any
    device: str = "cuda"
    limit: int = GRAPHS
    _shapes: dict[Any, _Shape] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, names: list[str] | None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """As `InferenceSession.run`: arrays of the outputs called `names`, or of all.

        Raises:
            CheckFailed: ONNX Runtime gave up.
        """
        key = tuple((name, array.shape) for name, array in sorted(feed.items()))
        with self._lock:
            try:
                shape = self._shapes.get(key)
                if shape is None:
                    if len(self._shapes) >= self.limit:
                        found: list[np.ndarray] = self.session.run(names, feed, graph_run(-1))
                        return found
                    shape = self._shapes[key] = self._record(feed)
                for name, array in feed.items():
                    if not np.array_equal(shape.held[name], array):
                        shape.inputs[name].update_inplace(np.ascontiguousarray(array))
                        shape.held[name] = array.copy()
                self.session.run_with_iobinding(shape.binding, shape.options)
                arrays = [value.numpy() for value in shape.outputs]
                if self.device == "cpu":  # there an output is the buffer itself
                    arrays = [array.copy() for array in arrays]
            except Exception as fault:  # onnxruntime's error classes share no base but this
                self._shapes.pop(key, None)
                raise CheckFailed(f"ONNX Runtime cannot run it: {str(fault)[:300]}") from None
        if names is None:
            return arrays
        order = [item.name for item in self.session.get_outputs()]
        return [arrays[order.index(name)] for name in names]

    def _record(self, feed: dict[str, np.ndarray]) -> _Shape:
        """Run once without a recording, which tells the outputs' shapes; then bind buffers. The next run records."""
        from edgekit.runtime.providers.ort import onnxruntime

        binding = self.session.io_binding()
        inputs = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self.device, 0)
            for name, array in feed.items()
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        given = self.session.get_outputs()
        for item in given:
            binding.bind_output(item.name, self.device, 0)
        self.session.run_with_iobinding(binding, graph_run(-1))
        shapes = [value.shape() for value in binding.get_outputs()]
        binding.clear_binding_outputs()
        outputs = [
            onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, TYPES[item.type], self.device, 0)
            for shape, item in zip(shapes, given, strict=True)
        ]
        for item, value in zip(given, outputs, strict=True):
            binding.bind_ortvalue_output(item.name, value)
        held = {name: array.copy() for name, array in feed.items()}
        return _Shape(binding, graph_run(len(self._shapes) + 1), inputs, held, outputs)

    def get_inputs(self) -> Any:
        return self.session.get_inputs()

    def get_outputs(self) -> Any:
        return self.session.get_outputs()

    def get_providers(self) -> Any:
        return self.session.get_providers()

    def io_binding(self) -> Any:
        return self.session.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
        self.session.run_with_iobinding(binding, options)
