"""Constants of a graph: the array behind a value, and a new initializer."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

__all__ = ["add_initializer", "array_of"]


def array_of(value: ir.Value | None) -> np.ndarray | None:
    """The constant that `value` holds, or None: an initializer's, or the output of a Constant node."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else tensor.numpy()


def add_initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """`array` as the initializer `name` of `graph`; one that has the name already is replaced."""
    array = np.ascontiguousarray(array) if array.ndim else array
    value = ir.Value(name=name, shape=ir.Shape(array.shape), const_value=ir.tensor(array, name=name))
    value.dtype = ir.DataType.from_numpy(array.dtype)
    graph.initializers[name] = value
    return value
