"""Reading and changing the nodes of an ONNX graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

__all__ = ["MICROSOFT", "array_of", "behind", "drop_notes", "initializer", "made_by", "only_user", "same_shape"]

MICROSOFT = "com.microsoft"


def made_by(value: ir.Value | None, kind: str) -> ir.Node | None:
    """The node that makes `value`, if it is of this kind."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == kind else None


def behind(value: ir.Value | None, *kinds: str) -> ir.Value | None:
    """What goes in first where `value` comes out of nodes of these kinds, last one first."""
    for kind in kinds:
        node = made_by(value, kind)
        value = None if node is None else node.inputs[0]
    return value


def same_shape(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether both shapes are known, by number or name, and equal."""
    if one is None or other is None or one.shape is None or other.shape is None or one.shape.has_unknown_dim():
        return False
    return bool(one.shape == other.shape)


def only_user(node: ir.Node | None, kind: str) -> ir.Node | None:
    """The one node that reads `node`, if it is of this kind."""
    users = [user for user, _ in node.outputs[0].uses()] if node is not None else []
    return users[0] if len(users) == 1 and users[0].op_type == kind else None


def array_of(value: ir.Value | None) -> np.ndarray | None:
    """The constant behind `value`, or None."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else tensor.numpy()


def initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """`array` as a named initializer of `graph`."""
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    value.shape = ir.Shape(array.shape)
    value.dtype = value.const_value.dtype
    graph.initializers[name] = value
    return value


def drop_notes(model: ir.Model) -> None:
    """Remove the exporter's stack traces and source paths, which name the building machine and change the bytes."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
