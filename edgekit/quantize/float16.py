"""Half precision for GPUs: weights and arithmetic in float16 or bfloat16, inputs and outputs as they were.

bfloat16 has float32's range and 8 bits of precision, float16 11 bits and a largest number of 65,504. ONNX Runtime's CUDA
provider multiplies, normalises and activates both (docs/OperatorKernels.md); what it has no bfloat16 kernel for stays float32.
Its CPU provider moves bfloat16 about and computes nothing in it. On ARM the file is float32, and the session rounds: with
`mlas.enable_gemm_fastmath_arm64_bfloat16` MatMul rounds both sides to bfloat16 and sums in float32, on Linux and chips with
bf16 instructions; MatMuls inside fused attention and everything else are float32 as before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

__all__ = ["to_bfloat16", "to_float16"]

WITHOUT_BFLOAT16 = [
    "Ceil", "Clip", "CumSum", "Einsum", "Elu", "EmbedLayerNormalization", "Equal", "Floor", "Greater", "GreaterOrEqual", "LeakyRelu",
    "Less", "LessOrEqual", "Log", "OneHot", "Pad", "Range", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin",
]  # fmt: skip
"""Operators that the CUDA provider runs in float32 and not in bfloat16."""


def to_float16(source: Path, out: Path) -> dict[str, int]:
    """Write the float16 form of float32 model `source`; returns how many tensors changed."""
    import onnx

    from edgekit.runtime.providers.ort import submodule

    convert = submodule("transformers.float16").convert_float_to_float16
    model = _rewritten(source)
    before = sum(tensor.data_type == onnx.TensorProto.FLOAT for tensor in model.graph.initializer)
    changed = convert(model, keep_io_types=True, disable_shape_infer=True)
    after = sum(tensor.data_type == onnx.TensorProto.FLOAT for tensor in changed.graph.initializer)
    onnx.save(changed, str(out))
    return {"float16": before - after}


def _rewritten(source: Path) -> ModelProto:
    """The float32 model with its attention as the CUDA provider likes it."""
    import onnx_ir as ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    from edgekit.quantize.float16_attention import for_cuda

    model = ir.load(source)
    for_cuda(model.graph)
    RemoveUnusedNodesPass()(model)
    return ir.to_proto(model)


def to_bfloat16(source: Path, out: Path) -> dict[str, int]:
    """Write the bfloat16 form of float32 model `source`, for the CUDA provider; returns how many tensors changed."""
    import onnx

    from edgekit.runtime.providers.ort import submodule

    converter = submodule("transformers.float16")
    half, brain = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
    exact = _tensors(onnx.load(str(source)))
    blocked = [*converter.DEFAULT_OP_BLOCK_LIST, *WITHOUT_BFLOAT16]
    # The converter places the Casts; what it made float16 is made bfloat16 here, from the numbers as they were before.
    changed = converter.convert_float_to_float16(
        onnx.load(str(source)), keep_io_types=True, disable_shape_infer=True, op_block_list=blocked
    )
    halved = {name: tensor for name, tensor in _tensors(changed).items() if tensor.data_type == half}
    for name, tensor in halved.items():
        tensor.CopyFrom(_rounded(exact[name], tensor.name))
    for node in changed.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == half:
                attribute.i = brain
    for value in changed.graph.value_info:
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = brain
    onnx.save(changed, str(out))
    return {"bfloat16": len(halved)}


def _tensors(model: ModelProto) -> dict[str, TensorProto]:
    """Constant tensors by the name that nodes read them by."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    constants = [node for node in model.graph.node if node.op_type == "Constant"]
    return initializers | {
        node.output[0]: attribute.t for node in constants for attribute in node.attribute if attribute.name == "value"
    }


def _rounded(tensor: TensorProto, name: str) -> TensorProto:
    """A float32 tensor rounded to the nearest bfloat16, ties to even."""
    import ml_dtypes
    from onnx import numpy_helper

    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16), name)
