"""The audit: what ONNX Runtime really executes of a quantized model, read off its optimised graph and a profile of a run.

A file full of quantization nodes proves nothing: ONNX Runtime leaves a pair it cannot match in float32 and says nothing
(S8S8 on x86, fan-out before a QuantizeLinear, an unknown operator in between). So the question is put to the session that
will serve: which kernels stand in its graph, and which of them ran.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.audit.document import AuditDocument, Fallback, Requirement, requirements_of
from edgekit.audit.in_browser import seen_in_browser
from edgekit.audit.profile import ProfiledRun, profiled_run
from edgekit.audit.qdq import audit_qdq
from edgekit.config.quantize import Bfloat16, Int8, WeightOnly
from edgekit.config.target import WASM, Target
from edgekit.onnx_graph.metadata import KEPT
from edgekit.runtime.providers.names import CPU, TENSORRT
from edgekit.runtime.temporary import temporary_folder

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["audit"]

INTEGER = {
    # operator -> MatMuls of an activation with a constant weight that one node computes
    "DynamicQuantizeMatMul": 1, "MatMulIntegerToFloat": 1, "MatMulInteger": 1, "QLinearMatMul": 1, "QGemm": 1, "QAttention": 3,
}  # fmt: skip
MOVES = {"Flatten", "Gather", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators that put numbers elsewhere and leave them as they are: an image or a sound is rounded first, and its bytes are cut into patches."""
WEIGHT_ONLY = "MatMulNBits"
"""MatMuls of float32 activations with weights in 8 or 4 bits."""
FLOAT = {"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "Attention"}
FUSED = {
    "SkipLayerNormalization",
    "BiasGelu",
    "Gelu",
    "FastGelu",
    "QAttention",
    "Attention",
    "MultiHeadAttention",
    "GatherBlockQuantized",
    "GroupQueryAttention",
    "SkipSimplifiedLayerNormalization",
}
INSIDE_ATTENTION = {"QAttention", "MultiHeadAttention", "Attention"}
VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}


@dataclass(frozen=True)
class _Findings:
    """What stands in an optimised graph. Lists hold names of nodes."""

    integer: int
    """MatMuls with a constant weight in integer kernels."""
    weight_only: int
    fallbacks: list[Fallback]
    kept_float: list[str]
    activation: int
    """MatMuls of two activations."""
    strays: list[str]
    casts: list[str]
    fused: dict[str, int]
    nodes: int

    @property
    def constant(self) -> int:
        """MatMuls with a constant weight."""
        return self.integer + self.weight_only + len(self.fallbacks) + len(self.kept_float)


def audit(path: Path, target: Target, *, host_isa: frozenset[str], host_arch: str) -> AuditDocument:
    """The audit document of quantized model `path` for `target`.

    On a machine of another architecture the session's own kernels are not the target's: `kernels_observed` is False then,
    and the notes say so.
    """
    import onnx

    if target.provider == TENSORRT:
        return audit_qdq(path, target, host_isa=host_isa, host_arch=host_arch)
    with temporary_folder("audit") as folder:
        run = profiled_run(path, folder, target, {*FLOAT, *INTEGER, WEIGHT_ONLY})
    written = onnx.load(str(path), load_external_data=False)
    stands_in = target.provider not in run.providers
    browser = seen_in_browser(path, run.feeds, run.optimised, {*INTEGER, WEIGHT_ONLY}) if target.arch == WASM else None
    if browser is not None and browser.why is None:
        run = replace(run, kernels=browser.kernels)
    findings = _findings(run.optimised, _kept_weights(written) if _is_mixed(target) else set(), stands_in=stands_in)
    of_chip = (
        browser.why is None
        if browser is not None
        else host_arch == target.arch and not [flag for flag in target.isa if flag not in host_isa]
    )
    if browser is not None and browser.others:
        lost = [Fallback(node=name, why=f"WebAssembly ran {kind} in its place") for name, kind in browser.others.items()]
        findings = replace(findings, integer=max(0, findings.integer - len(lost)), fallbacks=[*findings.fallbacks, *lost])
    notes = _notes(target, findings, run, stands_in=stands_in, seen=browser.notes if browser is not None else None)
    if not of_chip:
        notes.insert(int(stands_in), f"read on {host_arch}: the graph is the target's, the kernels that ran here are not")
    requirements = _requirements(findings, target, run.kernels, written)
    document: AuditDocument = {
        "schema_version": 1,
        "target": target.name,
        "observed_on": {"arch": host_arch, "isa": sorted(host_isa)},
        "kernels_observed": of_chip and not stands_in,
        "providers": run.providers,
        "matmuls_constant": findings.constant,
        "matmuls_integer": findings.integer,
        "matmuls_weight_only": findings.weight_only,
        "kept_float": findings.kept_float,
        "matmuls_activation": findings.activation,
        "fallbacks": findings.fallbacks,
        "stray_qdq": len(findings.strays),
        "casts": len(findings.casts),
        "fused": findings.fused,
        "nodes": {"file": len(written.graph.node), "optimised": findings.nodes},
        "kernels_run": dict(sorted(run.kernels.items())),
        "notes": notes,
        "requirements": requirements,
        "ok": all(item["holds"] for item in requirements),
    }
    if stands_in:
        document["stand_in"] = run.providers[0]
    return document


def _findings(optimised: ModelProto, kept: set[str], *, stands_in: bool) -> _Findings:
    """What stands in graph `optimised`; `kept`: weights that are in float32 on purpose; `stands_in`: the CPU reads it for another
    provider, and casts around each half-precision node."""
    nodes = list(optimised.graph.node)
    constants = {tensor.name: tensor for tensor in optimised.graph.initializer}
    producers = {output: node for node in nodes for output in node.output}
    fallbacks = [fallback for node in nodes if (fallback := _fallback(node, constants, producers)) is not None]
    reverted = [node.name for node in nodes if node.op_type in FLOAT and kept & set(node.input[:2])]
    return _Findings(
        integer=sum(INTEGER.get(node.op_type, 0) for node in nodes),
        weight_only=sum(node.op_type == WEIGHT_ONLY for node in nodes),
        fallbacks=[fallback for fallback in fallbacks if fallback["node"] not in reverted],
        kept_float=reverted,
        activation=sum(2 if node.op_type in INSIDE_ATTENTION else _multiplies_activations(node, constants) for node in nodes),
        strays=[node.name for node in nodes if _is_stray(node, nodes, producers, constants)],
        casts=[
            node.name
            for node in nodes
            if node.op_type == "Cast" and not (stands_in and node.name.startswith("InsertedPrecisionFreeCast_"))
        ],
        fused=dict(sorted(Counter(node.op_type for node in nodes if node.op_type in FUSED).items())),
        nodes=len(nodes),
    )


def _notes(
    target: Target, findings: _Findings, run: ProfiledRun, *, stands_in: bool, seen: Sequence[str] | None = None
) -> list[str]:
    """What a reader of the counts must know; `seen`: what a browser or Node showed, where the target is for them."""
    notes = list(seen or [])
    if stands_in:
        taken = ", ".join(f"{count} took {kind} activations" for kind, count in sorted(run.activations.items()))
        notes.append(
            f"this machine has no {target.provider}: the CPU's kernels stood in, here and where quality was scored; of the MatMuls, "
            f"{taken}, with the weights as this file rounds them; the device's own sums may round otherwise"
        )
    if isinstance(target.quantize, Int8):
        notes.append("attention scores and their weighted sums multiply activations with activations; they stay in float32")
    if findings.weight_only and isinstance(target.quantize, WeightOnly):
        notes.append(
            f"{findings.weight_only} MatMuls store their weights in {target.quantize.bits} bits{_raised(target.quantize)} and take float32 "
            "activations: they are no integer MatMuls, and the graph carries float32 throughout"
            + (
                "; at accuracy_level 4 the CPU kernel rounds activations to 8 bits inside, block by block"
                if seen is None
                else ""
            )
        )
    if isinstance(target.quantize, Bfloat16) and target.provider == CPU:
        notes.append(
            "the file is float32, and so is its score on a machine without bf16; on the device MatMul rounds both sides to "
            "bfloat16, and the golden inputs are the check of what that costs"
        )
    if findings.kept_float:
        notes.append(f"kept in float32 on purpose, for quality: {', '.join(findings.kept_float)}")
    return notes


def _raised(quantize: WeightOnly) -> str:
    return "" if quantize.eight_bits is None else f", {quantize.eight_bits:.0%} of them in 8,"


def _is_mixed(target: Target) -> bool:
    return isinstance(target.quantize, Int8 | WeightOnly) and target.quantize.mixed


def _kept_weights(model: ModelProto) -> set[str]:
    """Names of the weights that `model` says are in float32 on purpose."""
    metadata = {item.key: item.value for item in model.metadata_props}
    return set(json.loads(metadata.get(KEPT) or "[]"))


def _fallback(node: NodeProto, constants: Mapping[str, TensorProto], producers: Mapping[str, NodeProto]) -> Fallback | None:
    """A float MatMul with a constant weight, and why it is one; None for any other node."""
    if node.op_type not in FLOAT:
        return None
    for name in node.input[:2]:
        if name in constants and len(constants[name].dims) >= 2:
            return {"node": node.name, "why": f"{node.op_type} with a weight stored in floating point"}
        producer = producers.get(name)
        if producer is not None and producer.op_type == "DequantizeLinear" and producer.input[0] in constants:
            return {
                "node": node.name,
                "why": "its 8-bit weight is restored to float32 first: the Q/DQ pair around it was not fused",
            }
    return None


def _multiplies_activations(node: NodeProto, constants: Mapping[str, TensorProto]) -> bool:
    return node.op_type in {"MatMul", "FusedMatMul"} and not any(name in constants for name in node.input)


def _is_stray(
    node: NodeProto,
    nodes: Sequence[NodeProto],
    producers: Mapping[str, NodeProto],
    constants: Mapping[str, TensorProto],
) -> bool:
    """A quantization step that no integer kernel gains by."""
    if node.op_type in {"QuantizeLinear", "DynamicQuantizeLinear"}:
        readers = _readers(node, nodes)
        return not readers or not all(other.op_type in INTEGER for other in readers)
    if node.op_type == "DequantizeLinear":
        producer = producers.get(node.input[0])
        return node.input[0] in constants or producer is None or producer.op_type not in {"Gather", "QLinearMatMul", "QGemm"}
    return False


def _readers(node: NodeProto, nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """The nodes that read what `node` gives, of those that only move it their readers; one that moves it to the graph's output is its own."""
    found = []
    for other in nodes:
        if node.output[0] in other.input:
            behind = _readers(other, nodes) if other.op_type in MOVES and other.input[0] == node.output[0] else []
            found += behind or [other]
    return found


def _requirements(findings: _Findings, target: Target, ran: Counter[str], written: ModelProto) -> list[Requirement]:
    """What `target` asks for, held against the findings and against the kernels that ran."""
    asked = target.audit
    rounded = isinstance(target.quantize, Int8 | WeightOnly)  # nothing of the others is meant to be in integer kernels
    least = asked.integer_matmuls if rounded else 0.0
    few_bits = target.quantize if isinstance(target.quantize, WeightOnly) else None
    kept = len(findings.kept_float)
    total = findings.constant - kept
    done = findings.integer if few_bits is None else findings.weight_only
    share = done / total if total else float(kept > 0)
    left = ", ".join(f"{fallback['node']} ({fallback['why']})" for fallback in findings.fallbacks)
    wanted = "in integer kernels" if few_bits is None else f"read {few_bits.bits}-bit weights{_raised(few_bits).rstrip(',')}"
    items = [
        (
            f"at least {least:.0%} of constant-weight MatMuls {wanted}",
            share >= least,
            f"{done} of {total}"
            + (f"; in floating point: {left}" if left else "")
            + (f"; {kept} more in float32 on purpose: {', '.join(findings.kept_float)}" if kept else ""),
        ),
        (
            f"at most {asked.stray_qdq} stray Quantize/Dequantize nodes",
            len(findings.strays) <= asked.stray_qdq,
            f"{len(findings.strays)}" + (f": {', '.join(findings.strays)}" if findings.strays else ""),
        ),
        (
            f"at most {asked.casts} Casts",
            len(findings.casts) <= asked.casts,
            f"{len(findings.casts)}" + (f": {', '.join(findings.casts)}" if findings.casts else ""),
        ),
    ]
    if least > 0 and (total or not kept):
        kernels = sorted(name for name in ran if name in (INTEGER if few_bits is None else {WEIGHT_ONLY}))
        kind = "integer" if few_bits is None else "weight-only"
        items.append((f"{kind} kernels seen running in a profile", bool(kernels), ", ".join(kernels) or "none"))
    if isinstance(target.quantize, Int8) and target.arch == "x86_64" and not VNNI & {*target.isa, *target.isa_any}:
        largest = _largest_weight(written)
        items.append(
            (
                "signed weights within 7 bits, for chips that saturate at 16",
                largest <= 64,
                f"largest stored magnitude {largest}",
            )
        )
    return requirements_of(items)


def _largest_weight(model: ModelProto) -> int:
    """Largest magnitude of any int8 weight that an integer MatMul reads; uint8 weights take kernels that cannot saturate."""
    from onnx import TensorProto, numpy_helper

    readers = {"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger", "QAttention", "DequantizeLinear"}
    read = {name for node in model.graph.node if node.op_type in readers for name in node.input}
    weights = [
        numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name in read and len(tensor.dims) == 2 and tensor.data_type == TensorProto.INT8
    ]
    return max((int(np.abs(values.astype(np.int16)).max()) for values in weights), default=0)
