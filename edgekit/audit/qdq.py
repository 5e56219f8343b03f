"""The audit of a file with Quantize/Dequantize pairs, for a provider that compiles the whole graph.

Which kernels it will run cannot be read off an optimised graph, so the file itself is held against what the provider takes; where the
provider is at hand, the file is opened with it, and nodes that it leaves to another are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.audit.document import AuditDocument, Fallback, requirements_of
from edgekit.config.target import Target
from edgekit.host import detect
from edgekit.onnx_graph.initializers import array_of
from edgekit.onnx_graph.metadata import KEPT
from edgekit.onnx_graph.operators import DEQUANTIZE, QUANTIZE
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.providers.session import open_session

__all__ = ["audit_qdq"]


@dataclass(frozen=True)
class _Findings:
    """What stands in a file, and whatever TensorRT refuses of it. Lists hold names of nodes."""

    paired: list[str]
    """MatMuls with a constant weight between Quantize/Dequantize pairs."""
    apart: list[Fallback]
    """Those that are not."""
    reverted: list[str]
    """Those that are in float32 on purpose."""
    activations: int
    """MatMuls of two activations."""
    foreign: list[str]
    """Operators that are not ONNX's own."""
    shifted: list[str]
    """Quantization steps with a zero point other than 0."""
    other_integers: list[str]
    """Quantization steps that are not int8."""
    casts: list[str]
    nodes: int


def audit_qdq(path: Path, target: Target, *, host_isa: frozenset[str], host_arch: str) -> AuditDocument:
    """The audit document of a model whose provider compiles it as a whole: read off the file, opened where the provider is.

    Raises:
        NotPossibleHere: the provider is here and leaves nodes to another, which are named.
    """
    found = _findings(path)
    here = target.provider in detect().providers
    providers = [CPU]
    notes = ["the provider compiles the whole graph: which pairs become INT8 kernels is decided when the engine is built"]
    if here:
        providers = open_session(path, provider=target.provider, config=dict(target.session.config)).get_providers()
    else:
        notes.insert(
            0,
            f"this machine has no {target.provider}: the file was read and not built, and its quality was scored with the CPU's kernels, "
            "which multiplied in float32 what the Quantize/Dequantize pairs give",
        )
    if found.reverted:
        notes.append(f"kept in float32 on purpose, for quality: {', '.join(found.reverted)}")
    total, done = len(found.paired) + len(found.apart), len(found.paired)
    share = done / total if total else float(bool(found.reverted))
    left = ", ".join(f"{item['node']} ({item['why']})" for item in found.apart)
    asked = target.audit
    requirements = requirements_of(
        [
            (
                f"at least {asked.integer_matmuls:.0%} of constant-weight MatMuls between Quantize/Dequantize pairs",
                share >= asked.integer_matmuls,
                f"{done} of {total}" + (f"; not: {left}" if left else ""),
            ),
            ("no operators but ONNX's own", not found.foreign, ", ".join(found.foreign) or "none"),
            ("every zero point is 0", not found.shifted, ", ".join(found.shifted) or "all are"),
            ("every quantized number is int8", not found.other_integers, ", ".join(found.other_integers) or "all are"),
            (f"at most {asked.casts} Casts", len(found.casts) <= asked.casts, str(len(found.casts))),
        ]
    )
    document: AuditDocument = {
        "schema_version": 1,
        "target": target.name,
        "observed_on": {"arch": host_arch, "isa": sorted(host_isa)},
        "kernels_observed": False,
        "providers": providers,
        "matmuls_constant": total + len(found.reverted),
        "matmuls_integer": done,
        "counted": "stand between Quantize/Dequantize pairs",
        "matmuls_weight_only": 0,
        "kept_float": found.reverted,
        "matmuls_activation": found.activations,
        "fallbacks": found.apart,
        "stray_qdq": 0,
        "casts": len(found.casts),
        "fused": {},
        "nodes": {"file": found.nodes, "optimised": found.nodes},
        "kernels_run": {},
        "notes": notes,
        "requirements": requirements,
        "ok": all(item["holds"] for item in requirements),
    }
    if not here:
        document["stand_in"] = CPU
    return document


def _findings(path: Path) -> _Findings:
    """What is to be said of the file itself."""
    model = ir.load(path)
    graph = model.graph
    kept = model.metadata_props.get(KEPT, "[]")
    paired: list[str] = []
    apart: list[Fallback] = []
    reverted: list[str] = []
    activations = 0
    for node in graph:
        if node.op_type not in {"MatMul", "Gemm"}:
            continue
        makers = [value.producer() if value is not None else None for value in node.inputs[:2]]
        weight = array_of(node.inputs[1])
        if weight is not None and f'"{node.inputs[1].name if node.inputs[1] else ""}"' in kept:
            reverted.append(str(node.name))
        elif weight is not None:
            apart.append({"node": str(node.name), "why": f"{node.op_type} with a weight stored in floating point"})
        elif _restores_constant(makers[1]):
            if makers[0] is not None and makers[0].op_type == DEQUANTIZE and _made_by(makers[0], QUANTIZE):
                paired.append(str(node.name))
            else:
                apart.append({"node": str(node.name), "why": "its input comes through no Quantize/Dequantize pair"})
        else:
            activations += 1
    steps = [node for node in graph if node.op_type in {QUANTIZE, DEQUANTIZE}]
    return _Findings(
        paired=paired,
        apart=apart,
        reverted=reverted,
        activations=activations,
        foreign=[f"{node.name}: {node.domain}.{node.op_type}" for node in graph if node.domain not in ("", "ai.onnx")],
        shifted=[str(node.name) for node in steps if len(node.inputs) > 2 and not _is_zero(node.inputs[2])],
        other_integers=[str(node.name) for node in steps if not _is_int8(node)],
        casts=[str(node.name) for node in graph if node.op_type == "Cast"],
        nodes=len(graph),
    )


def _made_by(node: ir.Node, kind: str) -> bool:
    value = node.inputs[0]
    producer = value.producer() if value is not None else None
    return producer is not None and producer.op_type == kind


def _restores_constant(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == DEQUANTIZE and array_of(node.inputs[0]) is not None


def _is_zero(value: ir.Value | None) -> bool:
    array = array_of(value)
    return value is None or (array is not None and not array.any())


def _is_int8(node: ir.Node) -> bool:
    """Whether a quantization step has an int8 zero point: without one it would be uint8."""
    array = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
    return array is not None and array.dtype == np.int8
