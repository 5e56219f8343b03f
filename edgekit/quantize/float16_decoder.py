"""A decoder in half precision for GPUs: activations, cache, scales and float weights in float16, logits in float32.

Every number of these graphs may be float16: GroupQueryAttention, normalisations and MatMulNBits sum in float32 inside. What
is left to change besides types is one node: the negation of `keep`, arithmetic on a number that lies on the CPU, goes, and the
input is called `start` and given as a negative number instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.config.quantize import Float16, WeightOnly
from edgekit.errors import CheckFailed
from edgekit.progress import Progress, silent
from edgekit.quantize.decoder import Hessians, quantize_decoder
from edgekit.quantize.float16_range import LARGEST
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["decoder_for_gpu", "decoder_to_float16"]


def decoder_for_gpu(
    source: Path,
    out: Path,
    scratch: Path,
    settings: WeightOnly | Float16,
    *,
    hessians: Hessians | None = None,
    texts: Sequence[np.ndarray] = (),
    progress: Progress = silent,
) -> JsonObject:
    """Write the decoder in folder `source` to folder `out` as a GPU takes it: weights as `settings` says, all else in float16.

    Returns counts of what was changed.

    Raises:
        CheckFailed: a weight that float16 cannot hold.
    """
    counts: JsonObject = {}
    if isinstance(settings, WeightOnly):
        rounded = scratch / "rounded"
        rounded.mkdir(parents=True, exist_ok=True)
        counts = quantize_decoder(
            source, rounded, settings, hessians=hessians, texts=texts, scratch=scratch / "sensitivity", progress=progress
        )
        source = rounded
    return {**counts, **decoder_to_float16(source, out)}


def decoder_to_float16(source: Path, out: Path) -> dict[str, int]:
    """Write the float16 form of the decoder in folder `source` to folder `out`; returns how many tensors changed.

    Raises:
        CheckFailed: a weight that float16 cannot hold.
    """
    model = ir.load(source / MODEL)
    graph = model.graph
    changed = 0
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT:
            value.const_value = ir.LazyTensor(
                lambda tensor=tensor, name=name: _rounded(tensor, name),
                dtype=ir.DataType.FLOAT16,
                shape=tensor.shape,
                name=name,
            )
            changed += 1
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    for value in values:
        if value.dtype == ir.DataType.FLOAT:
            value.dtype = ir.DataType.FLOAT16
    _logits(graph)
    _start(graph)
    ir.save(model, out / MODEL, external_data=MODEL_DATA, size_threshold_bytes=4096)
    return {"float16": changed}


def _rounded(tensor: ir.TensorProtocol, name: str) -> ir.Tensor[np.ndarray]:
    array = tensor.numpy()
    if array.size and not float(np.abs(array).max()) <= LARGEST:
        raise CheckFailed(f"{name}: a number beyond float16's {LARGEST:,.0f}")
    return ir.tensor(array.astype(np.float16), name=name)


def _logits(graph: ir.Graph) -> None:
    """Logits leave as float32."""
    (logits,) = [value for value in graph.outputs if value.name == "logits"]
    cast = ir.node("Cast", [logits], {"to": ir.DataType.FLOAT}, name="head.float32")
    graph.append(cast)
    out = cast.outputs[0]
    out.shape, out.type = logits.shape, ir.TensorType(ir.DataType.FLOAT)
    logits.name, out.name = "logits.float16", "logits"
    graph.outputs[graph.outputs.index(logits)] = out


def _start(graph: ir.Graph) -> None:
    """Where kept positions begin is an input, not the negative of one."""
    (keep,) = [value for value in graph.inputs if value.name == "keep"]
    for use in list(keep.uses()):
        if use.node.op_type == "Neg":
            ir.convenience.replace_all_uses_with(use.node.outputs[0], keep)
            graph.remove(use.node, safe=True)
    keep.name = "start"
