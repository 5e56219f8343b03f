"""The audit: what ONNX Runtime really executes of a quantized model, read off its optimised graph and a profile of a run.

A file full of quantization nodes proves nothing: ONNX Runtime leaves a pair it cannot match in float32 and says nothing
(S8S8 on x86, fan-out before a QuantizeLinear, an unknown operator in between). So the question is put to the session that
will serve: which kernels stand in its graph, and which of them ran.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.audit.pairs import audit_file
from edgekit.config.quantize import Int8, WeightOnly
from edgekit.config.target import Target
from edgekit.errors import CheckFailed
from edgekit.onnx_graph.metadata import KEPT
from edgekit.runtime.generate.graph import TYPES
from edgekit.runtime.providers.names import CPU, DISABLE_CPU_FALLBACK, TENSORRT

__all__ = ["audit", "require"]


INTEGER = {
    # operator -> products of an activation with a constant weight that one node computes
    "DynamicQuantizeMatMul": 1, "MatMulIntegerToFloat": 1, "MatMulInteger": 1, "QLinearMatMul": 1, "QGemm": 1, "QAttention": 3,
}  # fmt: skip
WEIGHT_ONLY = "MatMulNBits"
"""Products of float32 activations with weights in 8 or 4 bits."""
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


def audit(path: Path, target: Target, *, host_isa: frozenset[str], host_arch: str) -> dict[str, Any]:
    """The audit document of quantized model `path` for `target` (its fields are those of `audit.json`).

    On a machine of another architecture the session's own kernels are not the target's: `kernels_observed` is False then,
    and the notes say so.
    """
    import onnx

    if target.provider == TENSORRT:
        return audit_file(path, target, host_isa=host_isa, host_arch=host_arch)
    with tempfile.TemporaryDirectory() as folder:
        optimised, ran, providers, taken = _open_and_run(path, Path(folder), target)
    written = onnx.load(str(path), load_external_data=False)
    nodes = list(optimised.graph.node)
    constants = {tensor.name: tensor for tensor in optimised.graph.initializer}
    producers = {output: node for node in nodes for output in node.output}
    fallbacks = [found for node in nodes if (found := _fallback(node, constants, producers)) is not None]
    asked_for = set(json.loads(kept)) if (kept := _metadata(written).get(KEPT)) and _is_mixed(target) else set()
    reverted = [node.name for node in nodes if node.op_type in FLOAT and asked_for & set(node.input[:2])]
    fallbacks = [item for item in fallbacks if item["node"] not in reverted]
    integer = sum(INTEGER.get(node.op_type, 0) for node in nodes)
    blocks = sum(node.op_type == WEIGHT_ONLY for node in nodes)
    strays = [node.name for node in nodes if _is_stray(node, nodes, producers, constants)]
    elsewhere = (
        target.provider not in providers
    )  # the CPU, which stands in for reading the graph, casts around each half-precision node
    casts = [
        node.name
        for node in nodes
        if node.op_type == "Cast" and not (elsewhere and node.name.startswith("InsertedPrecisionFreeCast_"))
    ]
    of_chip = host_arch == target.arch and not [flag for flag in target.isa if flag not in host_isa]
    observed = of_chip and not elsewhere
    notes = []
    if elsewhere:
        products = ", ".join(f"{count} took {kind} activations" for kind, count in sorted(taken.items()))
        notes.append(
            f"this machine has no {target.provider}: the CPU's kernels stood in, here and where quality was scored; of the products, "
            f"{products}, with the weights as this file rounds them; the device's own sums may round otherwise"
        )
    if not of_chip:
        notes.append(f"read on {host_arch}: the graph is the target's, the kernels that ran here are not")
    if target.quantize.format == "int8":
        notes.append("attention scores and their weighted sums multiply activations with activations; they stay in float32")
    if blocks and isinstance(target.quantize, WeightOnly):
        notes.append(
            f"{blocks} products store their weights in {target.quantize.bits} bits and take float32 activations: they are no "
            "integer MatMuls, and the graph carries float32 throughout; at accuracy_level 4 the CPU kernel rounds activations "
            "to 8 bits inside, block by block"
        )
    if target.quantize.format == "bf16" and target.provider == CPU:
        notes.append(
            "the file is float32, and so is its score on a machine without bf16; on the device MatMul rounds both sides to "
            "bfloat16, and the golden inputs are the check of what that costs"
        )
    if reverted:
        notes.append(f"kept in float32 on purpose, for quality: {', '.join(reverted)}")
    document: dict[str, Any] = {
        "schema_version": 1,
        "target": target.name,
        "observed_on": {"arch": host_arch, "isa": sorted(host_isa)},
        "kernels_observed": observed,
        "providers": providers,
        "matmuls_constant": integer + blocks + len(fallbacks) + len(reverted),
        "matmuls_integer": integer,
        "matmuls_weight_only": blocks,
        "kept_float": reverted,
        "matmuls_activation": sum(
            2 if node.op_type in INSIDE_ATTENTION else _is_activation_product(node, constants) for node in nodes
        ),
        "fallbacks": fallbacks,
        "stray_qdq": len(strays),
        "casts": len(casts),
        "fused": dict(sorted(Counter(node.op_type for node in nodes if node.op_type in FUSED).items())),
        "nodes": {"file": len(written.graph.node), "optimised": len(nodes)},
        "kernels_run": dict(sorted(ran.items())),
        "notes": notes,
        **({"stand_in": providers[0]} if elsewhere else {}),
    }
    document["requirements"] = _requirements(document, target, strays, casts, ran, written)
    document["ok"] = all(item["holds"] for item in document["requirements"])
    return document


def _is_mixed(target: Target) -> bool:
    return isinstance(target.quantize, Int8 | WeightOnly) and target.quantize.mixed


def require(document: dict[str, Any]) -> None:
    """Raise CheckFailed with the node names where a requirement of the target does not hold."""
    broken = [item for item in document["requirements"] if not item["holds"]]
    if broken:
        raise CheckFailed(
            f"the graph that runs is not what target {document['target']} asks for",
            where="audit",
            faults=[f"{item['name']}: {item['found']}" for item in broken],
            fix="change the target's or the recipe's [quantize], or what [audit] of the target asks for",
        )


def _open_and_run(path: Path, folder: Path, target: Target) -> tuple[Any, Counter[str], list[str], Counter[str]]:
    """(optimised model, how often each operator's kernel ran, providers, products by the type of their activations) from one
    profiled session."""
    import onnx

    from edgekit.runtime.providers.ort import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.log_severity_level = 3  # "serialised above EXTENDED": this file is read here and thrown away
    for key, value in target.session.config.items():
        if key != DISABLE_CPU_FALLBACK:
            options.add_session_config_entry(key, value)
    available = onnxruntime.get_available_providers()
    provider = target.provider if target.provider in available else CPU
    session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    for length in (2, 9, 16):
        ids = np.arange(1, length + 1, dtype=np.int64)[None]
        every = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        every |= _cache_feed(session, length)
        session.run(None, {item.name: every[item.name] for item in session.get_inputs()})
    profile = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event for event in profile if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    ran = Counter(event["args"]["op_name"] for event in kernels)
    products = {
        event["name"]: event["args"] for event in kernels if event["args"]["op_name"] in {*FLOAT, *INTEGER, WEIGHT_ONLY}
    }
    kinds = [next(iter(found["input_type_shape"][0])) for found in products.values()]
    taken = Counter({"float": "float32"}.get(kind, kind) for kind in kinds)
    optimised = onnx.load(str(folder / "optimised.onnx"), load_external_data=False)
    return optimised, ran, session.get_providers(), taken


def _cache_feed(session: Any, length: int) -> dict[str, np.ndarray]:
    """What a decoder's graph takes beside ids: an empty cache with room for `length` tokens."""
    asked = [item for item in session.get_inputs() if item.name.startswith("past.")]
    found = {item.name: np.zeros((1, item.shape[1], length, item.shape[3]), dtype=TYPES[item.type]) for item in asked}
    found["seqlens_k"] = np.array([length - 1], dtype=np.int32)
    found["total_sequence_length"] = np.array(length, dtype=np.int32)
    found["keep"], found["start"] = np.array([1]), np.array([-1])
    return found


def _fallback(node: Any, constants: dict[str, Any], producers: dict[str, Any]) -> dict[str, str] | None:
    """A float product with a constant weight, and why it is one; None for any other node."""
    if node.op_type not in FLOAT:
        return None
    for name in node.input[:2]:
        if name in constants and len(constants[name].dims) >= 2:
            return {"node": node.name, "why": f"{node.op_type} with a weight stored in floating point"}
        made = producers.get(name)
        if made is not None and made.op_type == "DequantizeLinear" and made.input[0] in constants:
            return {
                "node": node.name,
                "why": "its 8-bit weight is restored to float32 first: the Q/DQ pair around it was not fused",
            }
    return None


def _is_activation_product(node: Any, constants: dict[str, Any]) -> bool:
    return node.op_type in {"MatMul", "FusedMatMul"} and not any(name in constants for name in node.input)


def _is_stray(node: Any, nodes: list[Any], producers: dict[str, Any], constants: dict[str, Any]) -> bool:
    """A quantization step that no integer kernel gains by."""
    if node.op_type in {"QuantizeLinear", "DynamicQuantizeLinear"}:
        readers = [other for other in nodes if node.output[0] in other.input]
        return not readers or not all(other.op_type in INTEGER for other in readers)
    if node.op_type == "DequantizeLinear":
        made = producers.get(node.input[0])
        return node.input[0] in constants or made is None or made.op_type not in {"Gather", "QLinearMatMul", "QGemm"}
    return False


def _requirements(
    document: dict[str, Any], target: Target, strays: list[str], casts: list[str], ran: Counter[str], written: Any
) -> list[dict[str, Any]]:
    asked = target.audit
    few = target.quantize if isinstance(target.quantize, WeightOnly) else None
    weight_only = few is not None
    kept = len(document["kept_float"])
    total = document["matmuls_constant"] - kept
    done = document["matmuls_weight_only" if weight_only else "matmuls_integer"]
    share = done / total if total else float(kept > 0)
    left = ", ".join(f"{item['node']} ({item['why']})" for item in document["fallbacks"])
    place = f"read {few.bits}-bit weights" if few is not None else "in integer kernels"
    items = [
        (
            f"at least {asked.integer_matmuls:.0%} of constant-weight MatMuls {place}",
            asked.integer_matmuls == 0 or share >= asked.integer_matmuls,
            f"{done} of {total}"
            + (f"; in floating point: {left}" if left else "")
            + (f"; {kept} more in float32 on purpose: {', '.join(document['kept_float'])}" if kept else ""),
        ),
        (
            f"at most {asked.stray_qdq} stray Quantize/Dequantize nodes",
            len(strays) <= asked.stray_qdq,
            f"{len(strays)}" + (f": {', '.join(strays)}" if strays else ""),
        ),
        (
            f"at most {asked.casts} Casts",
            len(casts) <= asked.casts,
            f"{len(casts)}" + (f": {', '.join(casts)}" if casts else ""),
        ),
    ]
    if asked.integer_matmuls > 0 and (total or not kept):
        kernels = sorted(name for name in ran if name in ({WEIGHT_ONLY} if weight_only else INTEGER))
        kind = "weight-only" if weight_only else "integer"
        items.append((f"{kind} kernels seen running in a profile", bool(kernels), ", ".join(kernels) or "none"))
    if target.quantize.format == "int8" and target.arch == "x86_64" and not VNNI & {*target.isa, *target.isa_any}:
        largest = _largest_weight(written)
        items.append(
            (
                "signed weights within 7 bits, for chips that saturate at 16",
                largest <= 64,
                f"largest stored magnitude {largest}",
            )
        )
    return [{"name": name, "holds": bool(holds), "found": found} for name, holds, found in items]


def _metadata(model: Any) -> dict[str, str]:
    return {item.key: item.value for item in model.metadata_props}


def _largest_weight(model: Any) -> int:
    """Largest magnitude of any int8 weight that an integer product reads; uint8 weights take kernels that cannot saturate."""
    from onnx import TensorProto, numpy_helper

    readers = {"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger", "QAttention", "DequantizeLinear"}
    read = {name for node in model.graph.node if node.op_type in readers for name in node.input}
    found = [
        numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name in read and len(tensor.dims) == 2 and tensor.data_type == TensorProto.INT8
    ]
    return max((int(np.abs(values.astype(np.int16)).max()) for values in found), default=0)
