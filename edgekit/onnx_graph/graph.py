"""Reading and changing ONNX graphs: constants, the weighted products in them, and swapping nodes."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import DeduplicateHashedInitializersPass, RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

__all__ = [
    "DEQUANTIZE", "KEPT", "MICROSOFT", "QUANTIZE", "Product", "array_of", "attributes", "bias_add", "bias_place", "constant",
    "keep_float", "module_path",
    "packed", "products", "replace", "save",
]  # fmt: skip

MICROSOFT = "com.microsoft"
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
KEPT = "edgekit.kept_float"
"""Key of a quantized file's metadata: the weights, by name, of products that stay in float32 on purpose, as a JSON list."""


BIAS_INPUT = {"BiasGelu": 1, "FastGelu": 1, "SkipLayerNormalization": 4, "SkipSimplifiedLayerNormalization": 3}
"""Operators that add a constant vector to input 0 themselves, and which input that is."""


@dataclass(frozen=True)
class Product:
    """A MatMul or Gemm of an activation with a constant weight, float32 (in, out); `bias` (out,) is Gemm's."""

    node: ir.Node
    weight: np.ndarray
    bias: np.ndarray | None

    @property
    def name(self) -> str:
        """What the product is called across passes: its node's name."""
        return str(self.node.name or self.node.outputs[0].name)


def array_of(value: ir.Value | None) -> np.ndarray | None:
    """The constant behind `value`, or None."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else tensor.numpy()


def products(graph: ir.Graph) -> list[Product]:
    """All MatMuls and Gemms with a constant two-dimensional weight, in the graph's order."""
    found = []
    for node in graph:
        if node.op_type not in {"MatMul", "Gemm"}:
            continue
        weight = array_of(node.inputs[1])
        if weight is None or weight.ndim != 2 or array_of(node.inputs[0]) is not None:
            continue
        bias = None
        if node.op_type == "Gemm":
            options = {name: attribute.value for name, attribute in node.attributes.items()}
            if options.get("transA", 0) or options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0:
                continue
            weight = weight.T if options.get("transB", 0) else weight
            bias = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
        found.append(Product(node, np.ascontiguousarray(weight, dtype=np.float32), bias))
    return found


def constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """`array` as the initializer `name` of `graph`."""
    array = np.ascontiguousarray(array) if array.ndim else array
    value = ir.Value(name=name, shape=ir.Shape(array.shape), const_value=ir.tensor(array, name=name))
    value.dtype = ir.DataType.from_numpy(array.dtype)
    graph.initializers[name] = value
    return value


def replace(graph: ir.Graph, old: Sequence[ir.Node], new: Sequence[ir.Node], result: ir.Value) -> None:
    """Put `new` before the last of `old` and let `result` stand wherever the last of `old` was read."""
    last = old[-1]
    graph.insert_before(last, new)
    result.type, result.shape = last.outputs[0].type, last.outputs[0].shape
    if last.outputs[0].is_graph_output():
        result.name, last.outputs[0].name = last.outputs[0].name, f"{last.outputs[0].name}.before"
    ir.convenience.replace_all_uses_with(last.outputs[0], result, replace_graph_outputs=True)


def save(model: ir.Model, out: Path, *, microsoft: bool) -> None:
    """Drop what is no longer used and write `model`; the same model gives the same bytes.

    Constants that are alike are stored once: a model whose layers share their weights has each many times.
    """
    RemoveUnusedNodesPass()(model)
    DeduplicateHashedInitializersPass()(model)
    if microsoft:
        model.opset_imports[MICROSOFT] = 1
    RemoveUnusedOpsetsPass()(model)
    ir.save(model, out)


def bias_add(node: ir.Node) -> tuple[ir.Node, np.ndarray] | None:
    """The one Add of a constant vector that reads `node`, if that is all that does."""
    uses = node.outputs[0].uses()
    if len(uses) != 1 or uses[0][0].op_type != "Add" or node.outputs[0].is_graph_output():
        return None
    add = uses[0][0]
    bias = array_of(next(item for item in add.inputs if item is not node.outputs[0]))
    return (add, bias) if bias is not None and bias.ndim == 1 else None


def bias_place(node: ir.Node) -> tuple[ir.Node, int]:
    """(the node that adds the constant bias of product `node`, which input it is); (node, 2) where nothing does yet."""
    uses = node.outputs[0].uses()
    if node.op_type == "MatMul" and len(uses) == 1 and not node.outputs[0].is_graph_output():
        user, place = uses[0]
        index = 1 - place if user.op_type == "Add" else BIAS_INPUT.get(user.op_type, -1) if place == 0 else -1
        if 0 <= index < len(user.inputs) and (bias := array_of(user.inputs[index])) is not None and bias.ndim == 1:
            return user, index
    return node, 2


def module_path(node: ir.Node) -> str | None:
    """The path of the linear layer that product `node` was exported from, off its bias' or weight's name, if one says it."""
    holder, index = bias_place(node)
    bias = holder.inputs[index] if index < len(holder.inputs) else None
    for value, end in ((bias, ".bias"), (node.inputs[1], ".weight")):
        if value is not None and (value.name or "").endswith(end):
            return str(value.name).removesuffix(end)
    return None


def keep_float(model: ir.Model, names: Collection[str]) -> None:
    """Note in `model`'s metadata that the products `names` are in float32 on purpose, for the audit to accept."""
    weights = {
        str(product.node.inputs[1].name)
        for product in products(model.graph)
        if product.name in names and product.node.inputs[1]
    }
    if weights:
        model.metadata_props[KEPT] = json.dumps(sorted(weights))


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """int8 `values` as the uint8 around 2^(bits - 1) that block operators store; in 4 bits two a byte, low half first."""
    shifted = (values.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    return shifted if bits == 8 else np.asarray(shifted[..., 0::2] | (shifted[..., 1::2] << 4))


def attributes(node: ir.Node) -> dict[str, Any]:
    """Attribute values of `node` by name."""
    return {name: attribute.value for name, attribute in node.attributes.items()}
