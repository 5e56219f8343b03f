"""float16 for GPUs: weights and arithmetic in half precision, inputs and outputs as they were."""

from __future__ import annotations

from pathlib import Path

__all__ = ["to_float16"]


def to_float16(source: Path, out: Path) -> dict[str, int]:
    """Write the float16 form of float32 model `source`; returns how many tensors changed."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(str(source))
    before = sum(tensor.data_type == onnx.TensorProto.FLOAT for tensor in model.graph.initializer)
    changed = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    after = sum(tensor.data_type == onnx.TensorProto.FLOAT for tensor in changed.graph.initializer)
    onnx.save(changed, str(out))
    return {"float16": before - after}
