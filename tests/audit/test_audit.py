"""The audit says what really runs: what fell back, what saturates, and what it could not see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NotRequired, get_origin, get_type_hints

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.audit.audit import audit
from edgekit.audit.document import AuditDocument, require
from edgekit.config.quantize import Float32
from edgekit.config.target import load_target
from edgekit.errors import CheckFailed
from edgekit.quantize.dynamic import quantize_dynamic
from tests.quantize.files import rewritten

ISA = frozenset({"avx2", "fma", "avx512_vnni", "avx_vnni"})
VNNI = load_target("x86-vnni")


def test_the_audit_names_what_fell_back(tiny_export: Path) -> None:
    document = audit(tiny_export / "fused.onnx", VNNI, host_isa=ISA, host_arch="x86_64")
    assert document["matmuls_integer"] == 0
    assert len(document["fallbacks"]) == document["matmuls_constant"] == 20
    with pytest.raises(CheckFailed) as fault:
        require(document)
    assert document["fallbacks"][0]["node"] in fault.value.text()


def test_seven_bit_weights_for_chips_without_vnni(tiny_export: Path, tmp_path: Path) -> None:
    target = load_target("x86-avx2")
    rewritten(tiny_export / "fused.onnx", tmp_path / "model.onnx", quantize_dynamic, target.quantize)
    assert audit(tmp_path / "model.onnx", target, host_isa=ISA, host_arch="x86_64")["ok"]
    wide = target.model_copy(update={"quantize": target.quantize.model_copy(update={"reduce_range": False})})
    rewritten(tiny_export / "fused.onnx", tmp_path / "wide.onnx", quantize_dynamic, wide.quantize)
    document = audit(tmp_path / "wide.onnx", wide, host_isa=ISA, host_arch="x86_64")
    assert not document["ok"], "8-bit weights saturate on AVX2 and the audit must say so"
    with pytest.raises(CheckFailed, match="within 7 bits"):
        require(document)


def test_on_another_architecture_the_audit_says_that_it_saw_no_kernels(tiny_export: Path, tmp_path: Path) -> None:
    target = load_target("arm64-dotprod")
    rewritten(tiny_export / "fused.onnx", tmp_path / "model.onnx", quantize_dynamic, target.quantize)
    document = audit(tmp_path / "model.onnx", target, host_isa=ISA, host_arch="x86_64")
    assert document["kernels_observed"] is False
    assert "not" in document["notes"][0]


def test_the_audit_says_where_the_rounding_happens(tiny_export: Path) -> None:
    document = audit(tiny_export / "fused.onnx", load_target("arm64-bf16"), host_isa=frozenset(), host_arch="x86_64")
    assert document["ok"] and not document["kernels_observed"]
    assert any("so is its score on a machine without bf16" in note for note in document["notes"])


def test_nothing_of_a_float32_model_has_to_be_in_integer_kernels(tiny_export: Path) -> None:
    """Whatever target it is for: the recipe's number format decides."""
    asked = VNNI.model_copy(update={"quantize": Float32(format="float32")})
    document = audit(tiny_export / "fused.onnx", asked, host_isa=ISA, host_arch="x86_64")
    require(document)
    assert document["matmuls_integer"] == 0 < document["matmuls_constant"]


@pytest.mark.parametrize(
    ("target", "optional"), [("x86-vnni", set()), ("cuda", {"stand_in"}), ("tensorrt", {"stand_in", "counted"})]
)
def test_the_document_has_the_fields_that_its_type_says(tiny_export: Path, target: str, optional: set[str]) -> None:
    wanted = load_target(target)
    file = "model.onnx" if target == "tensorrt" else "fused.onnx"
    document = audit(tiny_export / file, wanted, host_isa=ISA, host_arch="x86_64")
    types = get_type_hints(AuditDocument, include_extras=True)
    required = {name for name, kind in types.items() if get_origin(kind) is not NotRequired}
    assert required <= set(document) <= set(types)
    if wanted.provider in document["providers"]:  # this machine has it: nothing stood in
        optional = optional - {"stand_in"}
    assert set(document) - required == optional
    assert json.loads(json.dumps(document)) == document
    assert document["ok"] == all(item["holds"] for item in document["requirements"])


def test_what_holds_raises_nothing_and_what_does_not_is_named(tiny_export: Path, tmp_path: Path) -> None:
    rewritten(tiny_export / "fused.onnx", tmp_path / "model.onnx", quantize_dynamic, VNNI.quantize)
    document = audit(tmp_path / "model.onnx", VNNI, host_isa=ISA, host_arch="x86_64")
    require(document)
    document["requirements"].append({"name": "at most 0 pigs", "holds": False, "found": "2: a, b"})
    with pytest.raises(CheckFailed, match="target x86-vnni asks for") as fault:
        require(document)
    assert "at most 0 pigs: 2: a, b" in fault.value.text() and fault.value.text().count("\n  - ") == 1


@pytest.mark.parametrize("reader", ["MatMul", "Relu"])
def test_bytes_that_are_moved_before_they_are_multiplied_are_no_strays(reader: str, tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.arange(-12, 12, dtype=np.int8).reshape(4, 6), "w")
    numbers = {"s": np.float32(0.02), "z": np.uint8(128), "wz": np.int8(0), "shape": np.array([1, 3, 4])}
    constants = [weight, *(numpy_helper.from_array(number, name) for name, number in numbers.items())]
    nodes = [
        helper.make_node("Transpose", ["pixel_values"], ["turned"], perm=[0, 2, 1]), helper.make_node("Reshape", ["turned", "shape"], ["cut"]),
        helper.make_node("QuantizeLinear", ["cut", "s", "z"], ["q"], "rounded"), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
    ]  # fmt: skip
    if reader == "MatMul":
        nodes += [
            helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["wd"]),
            helper.make_node("MatMul", ["d", "wd"], ["m"]),
        ]
        nodes += [
            helper.make_node("QuantizeLinear", ["m", "s", "z"], ["mq"]),
            helper.make_node("DequantizeLinear", ["mq", "s", "z"], ["y"]),
        ]
    else:
        nodes.append(helper.make_node("Relu", ["d"], ["y"]))
    graph = helper.make_graph(
        nodes, "moved", [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1, 2, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], constants,
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(tmp_path / "model.onnx")
    )
    document = audit(tmp_path / "model.onnx", VNNI, host_isa=ISA, host_arch="x86_64")
    assert (document["matmuls_integer"], document["stray_qdq"]) == ((1, 0) if reader == "MatMul" else (0, 2))
