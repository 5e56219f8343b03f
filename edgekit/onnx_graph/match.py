"""Recognising patterns: who produces a value, who reads a node, and whether two shapes are one."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

__all__ = ["TOKENS", "attributes", "producer_of", "same_shape", "sole_reader", "takes_tokens", "upstream"]

TOKENS = 1
"""Axis of tokens in hidden states (batch, tokens, width)."""


def producer_of(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that produces `value`, if it is of this type."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type else None


def upstream(value: ir.Value | None, *op_types: str) -> ir.Value | None:
    """Input 0 of the chain of nodes of `op_types`, last one first, that produces `value`; None where the chain is another."""
    for op_type in op_types:
        node = producer_of(value, op_type)
        value = None if node is None else node.inputs[0]
    return value


def sole_reader(node: ir.Node | None, op_type: str) -> ir.Node | None:
    """The one node that reads output 0 of `node`, if it is of this type."""
    readers = [reader for reader, _ in node.outputs[0].uses()] if node is not None else []
    return readers[0] if len(readers) == 1 and readers[0].op_type == op_type else None


def same_shape(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether both shapes are known, by number or by symbolic name, and equal."""
    if one is None or other is None or one.shape is None or other.shape is None or one.shape.has_unknown_dim():
        return False
    return bool(one.shape == other.shape)


def attributes(node: ir.Node) -> dict[str, Any]:
    """Attribute values of `node` by name."""
    return {name: attribute.value for name, attribute in node.attributes.items()}


def takes_tokens(node: ir.Node) -> bool:
    """Whether `node`, where it reads hidden states, is a Gather of some of their tokens."""
    return bool(node.op_type == "Gather" and attributes(node).get("axis", 0) == TOKENS)
