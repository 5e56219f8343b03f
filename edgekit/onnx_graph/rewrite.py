"""Changing a graph: new nodes in place of old ones, and the finished model on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import DeduplicateHashedInitializersPass, RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from edgekit.onnx_graph.operators import MICROSOFT

__all__ = ["replace", "save", "tidy"]


def replace(graph: ir.Graph, old: Sequence[ir.Node], new: Sequence[ir.Node], result: ir.Value) -> None:
    """Put `new` before the last of `old` and let `result` stand wherever output 0 of the last of `old` was read.

    `result` takes over that output's type and shape, and its name where it is an output of the graph. The old nodes stay,
    unused, until `save` drops them.
    """
    last = old[-1]
    graph.insert_before(last, new)
    result.type, result.shape = last.outputs[0].type, last.outputs[0].shape
    if last.outputs[0].is_graph_output():
        result.name, last.outputs[0].name = last.outputs[0].name, f"{last.outputs[0].name}.before"
    ir.convenience.replace_all_uses_with(last.outputs[0], result, replace_graph_outputs=True)


def tidy(model: ir.Model, *, microsoft: bool) -> None:
    """Drop what is no longer used from `model`, in place.

    Constants that are alike are stored once: a model whose layers share their weights has each many times. `microsoft`: the
    graph has operators of ONNX Runtime's own domain.
    """
    RemoveUnusedNodesPass()(model)
    DeduplicateHashedInitializersPass()(model)
    if microsoft:
        model.opset_imports[MICROSOFT] = 1
    RemoveUnusedOpsetsPass()(model)


def save(model: ir.Model, out: Path, *, microsoft: bool) -> None:
    """`tidy` the model and write it; the same model gives the same bytes."""
    tidy(model, microsoft=microsoft)
    ir.save(model, out)
