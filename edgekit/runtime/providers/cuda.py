"""Sessions on an NVIDIA GPU: no node on the CPU, buffers that stay on the GPU, and a CUDA graph for each shape of inputs.

An encoder's run at batch 1 is some thirty kernels of a few microseconds each: launching them one by one takes longer than
running them. A CUDA graph launches all at once, and needs the same shapes at the same addresses every time, so each shape
gets its own buffers and graph (`gpu_graph_id`), up to a limit; further shapes run without.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.runtime.errors import CheckFailed, NotPossibleHere
from edgekit.runtime.providers.names import CUDA, TENSORRT
from edgekit.runtime.providers.tensorrt import engine_options

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding, NodeArg, OrtValue, RunOptions

__all__ = ["GRAPHS", "Replayed", "check_placement", "graph_run", "provider_options"]

CUDA_OPTIONS = {"enable_cuda_graph": "1", "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}
"""Provider options. Float32 MatMuls are not rounded to TF32; the arena grows by what is asked for, not in powers of two."""
GRAPHS = 160
"""Shapes of one session that get buffers and a CUDA graph; one of a small encoder takes about a megabyte of GPU memory."""
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


def provider_options(provider: str, model: Path) -> list[str | tuple[str, dict[str, str]]]:
    """The `providers` argument of `InferenceSession` for file `model`: `provider` alone, with its options for CUDA graphs or cached engines."""
    if provider == TENSORRT:
        return [(provider, engine_options(model))]
    return [(provider, CUDA_OPTIONS)] if provider == CUDA else [provider]


def check_placement(session: InferenceSession, provider: str, where: str) -> None:
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


def graph_run(number: int) -> RunOptions:
    """Run options with the CUDA graph `number` of the session; -1: without one."""
    from edgekit.runtime.providers.ort import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


@dataclass
class _Shape:
    """Buffers for inputs of one shape."""

    binding: IOBinding
    options: RunOptions
    inputs: dict[str, OrtValue]
    held: dict[str, np.ndarray]
    """What the inputs hold."""
    outputs: list[OrtValue]


@dataclass(frozen=True)
class Replayed:
    """A session whose `run` copies inputs to fixed buffers, replays the CUDA graph of their shape, and copies outputs back.

    Inputs that did not change since the last run of their shape (a mask of ones) are not copied again. Runs of several threads are serialized.
    """

    session: InferenceSession
    device: str = "cuda"
    limit: int = GRAPHS
    _shapes: dict[tuple[tuple[str, tuple[int, ...]], ...], _Shape] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, names: list[str] | None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """As `InferenceSession.run`: arrays of the outputs called `names`, or of all.

        Raises:
            CheckFailed: ONNX Runtime fails.
        """
        key = tuple((name, array.shape) for name, array in sorted(feed.items()))
        with self._lock:
            try:
                shape = self._shapes.get(key)
                if shape is None:
                    if len(self._shapes) >= self.limit:
                        unrecorded: list[np.ndarray] = self.session.run(names, feed, graph_run(-1))
                        return unrecorded
                    shape = self._shapes[key] = self._record(feed)
                for name, array in feed.items():
                    if not np.array_equal(shape.held[name], array):
                        shape.inputs[name].update_inplace(np.ascontiguousarray(array))
                        shape.held[name] = array.copy()
                self.session.run_with_iobinding(shape.binding, shape.options)
                arrays = [value.numpy() for value in shape.outputs]
                if self.device == "cpu":  # where an output is the buffer itself
                    arrays = [array.copy() for array in arrays]
            except Exception as fault:  # onnxruntime's error classes share no base but this
                self._shapes.pop(key, None)
                raise CheckFailed(f"ONNX Runtime cannot run it: {str(fault)[:300]}") from None
        if names is None:
            return arrays
        order = [item.name for item in self.session.get_outputs()]
        return [arrays[order.index(name)] for name in names]

    def _record(self, feed: dict[str, np.ndarray]) -> _Shape:
        """Run once without a graph to learn the outputs' shapes, then bind buffers. The next run captures the graph."""
        from edgekit.runtime.providers.ort import onnxruntime

        binding = self.session.io_binding()
        inputs = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self.device, 0)
            for name, array in feed.items()
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        described = self.session.get_outputs()
        for item in described:
            binding.bind_output(item.name, self.device, 0)
        self.session.run_with_iobinding(binding, graph_run(-1))
        shapes = [value.shape() for value in binding.get_outputs()]
        binding.clear_binding_outputs()
        outputs = [
            onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, TYPES[item.type], self.device, 0)
            for shape, item in zip(shapes, described, strict=True)
        ]
        for item, value in zip(described, outputs, strict=True):
            binding.bind_ortvalue_output(item.name, value)
        held = {name: array.copy() for name, array in feed.items()}
        return _Shape(binding, graph_run(len(self._shapes) + 1), inputs, held, outputs)

    def get_inputs(self) -> list[NodeArg]:
        inputs: list[NodeArg] = self.session.get_inputs()
        return inputs

    def get_outputs(self) -> list[NodeArg]:
        outputs: list[NodeArg] = self.session.get_outputs()
        return outputs

    def get_providers(self) -> list[str]:
        providers: list[str] = self.session.get_providers()
        return providers

    def io_binding(self) -> IOBinding:
        return self.session.io_binding()

    def run_with_iobinding(self, binding: IOBinding, options: RunOptions | None = None) -> None:
        self.session.run_with_iobinding(binding, options)
