"""Ranges that quantization-aware training learned, carried into the Q/DQ pairs of static INT8.

Training leaves `ranges.json` beside its checkpoint: for each linear layer, by its module path, the [low, high] of the input
that its fake quantizer had learned (LSQ: Esser et al. 2020, arXiv 1902.08153). The model was trained against exactly those
steps, so calibration must not choose others. A layer that training did not touch has no entry and is calibrated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from edgekit.errors import BadInput
from edgekit.onnx_graph.linear import linear_nodes, module_path
from edgekit.runtime.strict_json import read_json

__all__ = ["RANGES", "learned_ranges", "match_ranges"]

RANGES = "ranges.json"


def learned_ranges(checkpoint: Path) -> dict[str, tuple[float, float]]:
    """{module path: (low, high)} of the linear layers' inputs in folder `checkpoint`; empty where training left none.

    Raises:
        BadInput: the file is no such mapping, or a range is not finite, is empty, or does not hold zero.
    """
    path = checkpoint / RANGES
    if not path.is_file():
        return {}
    found = read_json(path)
    if not isinstance(found, dict):
        raise BadInput("is no mapping from module path to [low, high]", where=str(path))
    faults = [f"{name}: {text}" for name, bounds in found.items() if (text := _fault(bounds))]
    if faults:
        raise BadInput("learned ranges that cannot be used", where=str(path), faults=faults)
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


def _fault(bounds: object) -> str | None:
    if not isinstance(bounds, list) or len(bounds) != 2 or not all(type(item) in {int, float} for item in bounds):
        return f"{bounds!r} is not [low, high]"
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return f"[{low:g}, {high:g}] is empty or not finite"
    if not low <= 0 <= high:
        return f"[{low:g}, {high:g}] does not hold zero, which an 8-bit range must represent"
    return None


def match_ranges(model: ir.Model, learned: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """`learned` by the name of the tensor that each linear layer reads in fused float32 `model`.

    The exporter puts the wrapper's attribute before a module's path, so a path matches from its end. Layers that read one
    tensor (query, key, value) share one Q/DQ pair: the widest of their ranges.

    Raises:
        BadInput: a learned range whose layer is not in the graph, or fits more than one.
    """
    if not learned:
        return {}
    inputs: dict[str, list[str]] = {path: [] for path in learned}
    for linear in linear_nodes(model.graph):
        whole, value = module_path(linear.node), linear.node.inputs[0]
        for path in learned:
            if value is not None and whole is not None and (whole == path or whole.endswith(f".{path}")):
                inputs[path].append(str(value.name))
    faults = [f"{path}: {len(names)} linear layers" for path, names in inputs.items() if len(names) != 1]
    if faults:
        raise BadInput(
            "learned ranges that do not fit one linear layer each",
            where=RANGES,
            faults=faults,
            fix="export the very checkpoint that was trained; pruning after training takes layers away",
        )
    found: dict[str, tuple[float, float]] = {}
    for path, (name,) in inputs.items():
        low, high = learned[path]
        before = found.get(name, (low, high))
        found[name] = (min(low, before[0]), max(high, before[1]))
    return found
