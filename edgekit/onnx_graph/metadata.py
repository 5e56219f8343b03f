"""What a file says beside its graph: what the exporter noted, which is removed, and which layers are in float32 on purpose."""

from __future__ import annotations

import json
from collections.abc import Collection

import onnx_ir as ir

from edgekit.onnx_graph.linear import linear_nodes

__all__ = ["KEPT", "drop_metadata", "keep_float"]

KEPT = "edgekit.kept_float"
"""Key of a quantized file's metadata: the weights, by name, of the linear layers that stay in float32 on purpose, as a JSON list."""


def drop_metadata(model: ir.Model) -> None:
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


def keep_float(model: ir.Model, names: Collection[str]) -> None:
    """Note in `model`'s metadata that the linear layers `names` are in float32 on purpose, for the audit to accept."""
    weights = {
        str(linear.node.inputs[1].name)
        for linear in linear_nodes(model.graph)
        if linear.name in names and linear.node.inputs[1]
    }
    if weights:
        model.metadata_props[KEPT] = json.dumps(sorted(weights))
