"""Weight-only blocks: the best of their candidates, bytes as the operators read them, and an audit that is honest of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from edgekit.audit.audit import audit
from edgekit.audit.document import require
from edgekit.config.quantize import Int8, Quantize, WeightOnly
from edgekit.config.recipe import Calibration
from edgekit.config.target import load_target
from edgekit.errors import BadInput, CheckFailed
from edgekit.progress import silent
from edgekit.quantize.blocks import SHARES, quantize_blocks
from edgekit.quantize.embedding import block_quantize, quantize_embeddings
from edgekit.quantize.encoder import QuantizeWork, quantize_encoder
from edgekit.quantize.observe import Feed
from edgekit.quantize.selection import Evidence
from edgekit.quantize.weight_only import quantize_weights_only
from edgekit.quantize.weights import packed
from tests.quantize.files import outputs, rewritten

VNNI = load_target("x86-vnni")
ISA = frozenset({"avx2", "fma", "avx512_vnni", "avx_vnni"})


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 150), columns=st.integers(1, 5), seed=st.integers(0, 999), scale=st.floats(1e-4, 1e3),
    bits=st.sampled_from([4, 8]), block=st.sampled_from([32, 64, 128]),
)  # fmt: skip
def test_each_block_has_the_candidate_of_least_error(
    rows: int, columns: int, seed: int, scale: float, bits: int, block: int
) -> None:
    weight = (np.random.default_rng(seed).standard_t(3, size=(rows, columns)) * scale).astype(np.float32)
    found = quantize_blocks(weight, bits, block)
    limit = 2 ** (bits - 1) - 1
    exactly = (found.values * found.scale[:, :, None].astype(np.float64)).reshape(columns, -1)[:, :rows].T
    assert np.allclose(found.restored(), exactly, rtol=1e-6, atol=0)
    for column in range(columns):
        for start in range(0, rows, block):
            exact = weight[start : start + block, column].astype(np.float64)
            largest = max(np.abs(exact).max(), 1e-12)
            steps = [largest / limit * share for share in SHARES[:: 1 if bits == 8 else 2]]
            if bits == 4:  # the largest on -8, by a scale of the other sign where it is above zero
                steps += [(-largest if exact[np.abs(exact).argmax()] > 0 else largest) / 8 * share for share in SHARES[::2]]
            costs = []
            for step in map(float, np.float32(steps)):
                costs.append(((np.clip(np.rint(exact / step), -limit - 1, limit) * step - exact) ** 2).sum())
            error = ((exactly[start : start + block, column] - exact) ** 2).sum()
            assert error <= min(costs) * (1 + 1e-3) + 1e-12
    assert found.values.min() >= -limit - 1 and found.values.max() <= limit


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), bits=st.sampled_from([4, 8]))
def test_packing_loses_nothing(seed: int, bits: int) -> None:
    half = 2 ** (bits - 1)
    values = np.random.default_rng(seed).integers(-half, half, size=(3, 2, 32)).astype(np.int8)
    stored = packed(values, bits)
    assert stored.dtype == np.uint8 and stored.nbytes == values.size * bits // 8
    if bits == 4:
        stored = np.stack([stored & 15, stored >> 4], axis=-1).reshape(values.shape)
    assert np.array_equal(stored.astype(int) - half, values)


@pytest.mark.parametrize("block", [32, 64])
def test_what_is_rounded_is_not_rounded_again(block: int) -> None:
    """Whole numbers of a scale, of either sign and however few levels they use, as a training with rounding in it leaves them."""
    draw = np.random.default_rng(0)
    most = draw.integers(1, 9, (6, 4, 1))
    values = np.clip(draw.integers(-most, most + 1, (6, 4, block)), -8, 7)
    scale = draw.normal(size=(6, 4, 1)).astype(np.float32)
    weight = np.ascontiguousarray((values * scale).reshape(6, -1).T, dtype=np.float32)
    found = quantize_blocks(weight, 4, block)
    assert np.allclose(found.restored(), weight, rtol=1e-6, atol=0)
    assert np.array_equal(quantize_blocks(found.restored(), 4, block).restored(), found.restored())


def test_columns_of_zeros_stay_zero() -> None:
    found = quantize_blocks(np.zeros((40, 3), dtype=np.float32), 4, 32)
    assert np.isfinite(found.scale).all() and not found.restored().any()


def settings_of(form: str, **changes: object) -> WeightOnly:
    return WeightOnly.model_validate({"format": form, "embeddings": "float32", **changes})


@pytest.mark.parametrize("form", ["int8-weights", "int4-weights"])
@pytest.mark.parametrize("block", [32, 64, 128])
def test_the_operator_computes_with_the_restored_weights(
    tiny_export: Path, test_feeds: list[Feed], tmp_path: Path, form: str, block: int
) -> None:
    """At accuracy_level 0 there is no other rounding, so the file must equal the float32 graph with restored weights."""
    quantize = settings_of(form, block=block)
    source, out = tiny_export / "fused.onnx", tmp_path / "model.onnx"
    assert rewritten(source, out, quantize_weights_only, quantize) == {"matmul": 20, "embedding": 0}
    exact = onnx.load(out)
    for node in exact.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 0
    onnx.save(exact, tmp_path / "exact.onnx")
    model = onnx.load(source)
    for node in model.graph.node:
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        if node.op_type not in {"MatMul", "Gemm"}:
            continue
        weight = onnx.numpy_helper.to_array(stored[node.input[1]])
        weight = weight.T if node.op_type == "Gemm" else weight
        rounded = quantize_blocks(weight, quantize.bits, block).restored()
        rounded = rounded.T if node.op_type == "Gemm" else rounded
        stored[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(rounded), node.input[1]))
    onnx.save(model, tmp_path / "restored.onnx")
    reference = outputs(tmp_path / "restored.onnx", test_feeds)
    assert np.abs(outputs(tmp_path / "exact.onnx", test_feeds) - reference).max() < 1e-4
    assert np.abs(outputs(out, test_feeds) - reference).max() < 0.2, "level 4 rounds activations to 8 bits"


def test_the_audit_says_that_activations_stay_float(tiny_export: Path, test_feeds: list[Feed], tmp_path: Path) -> None:
    target = VNNI.model_copy(update={"quantize": settings_of("int8-weights")})
    rewritten(tiny_export / "fused.onnx", tmp_path / "model.onnx", quantize_weights_only, target.quantize)
    document = audit(tmp_path / "model.onnx", target, host_isa=ISA, host_arch="x86_64")
    assert document["matmuls_integer"] == 0 and document["matmuls_weight_only"] == document["matmuls_constant"] == 20
    assert document["ok"], document["requirements"]
    assert any("float32 activations" in note for note in document["notes"])
    assert "read 8-bit weights" in document["requirements"][0]["name"]
    assert document["kernels_run"]["MatMulNBits"] > 0
    whole = outputs(tiny_export / "fused.onnx", test_feeds)
    assert (outputs(tmp_path / "model.onnx", test_feeds).argmax(1) == whole.argmax(1)).mean() >= 0.95
    as_int8 = audit(tmp_path / "model.onnx", VNNI, host_isa=ISA, host_arch="x86_64")
    with pytest.raises(CheckFailed, match="integer kernels"):
        require(as_int8)
    as_weights = audit(tiny_export / "fused.onnx", target, host_isa=ISA, host_arch="x86_64")
    assert not as_weights["ok"], "float32 weights are not 8-bit ones"


@pytest.mark.parametrize("bits", [4, 8])
def test_embeddings_restore_to_their_blocks(tmp_path: Path, bits: int) -> None:
    table = np.random.default_rng(0).normal(size=(1100, 64)).astype(np.float32)
    ids = ir.Value(name="input_ids", shape=ir.Shape([1, None]), type=ir.TensorType(ir.DataType.INT64))
    fixed = ir.Value(name="table", shape=ir.Shape(table.shape), const_value=ir.tensor(table, name="table"))
    node = ir.node("Gather", [fixed, ids], name="look up")
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([ids], node.outputs, nodes=[node], initializers=[fixed], opset_imports={"": 20, "com.microsoft": 1})
    assert quantize_embeddings(graph, bits) == 1
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "model.onnx")
    found = outputs(tmp_path / "model.onnx", [{"input_ids": np.arange(1100)[None]}])[0]
    block = 32 if bits == 4 else 64
    _, scales = block_quantize(table, block, bits)
    assert (np.abs(found - table) <= np.repeat(scales, block, axis=1) * 0.5001).all()


def lowered(source: Path, out: Path, quantize: Quantize, train: list[Feed], test: list[Feed]) -> dict[str, object]:
    wanted = outputs(source, test).argmax(axis=1)
    evidence = Evidence(test, lambda rows: float((np.concatenate(rows).argmax(1) == wanted).mean()), 0.05, timed=False)
    return quantize_encoder(
        quantize,
        QuantizeWork(
            source=source,
            out=out,
            session=VNNI.session,
            calibration=Calibration(method="minmax"),
            feeds=train,
            evidence=evidence,
            progress=silent,
        ),
    )


@pytest.mark.parametrize("changes", [
    {"format": "int4-weights", "correct_bias": True, "mixed": True, "embeddings": "int4"},
    {"format": "int8", "smooth": 0.5, "correct_bias": True, "mode": "measure"},
    {"format": "int8", "smooth": 0.5, "correct_bias": True, "per_channel": False},
    {"format": "int8", "weights": "uint8", "correct_bias": True, "mixed": True, "mode": "static"},
])  # fmt: skip
def test_methods_combine(
    tiny_export: Path, train_feeds: list[Feed], test_feeds: list[Feed], tmp_path: Path, changes: dict[str, object]
) -> None:
    quantize: Int8 | WeightOnly = TypeAdapter(Quantize).validate_python(changes)
    made = lowered(tiny_export / "fused.onnx", tmp_path, quantize, train_feeds, test_feeds)
    assert ("smooth" in made) == ("smooth" in changes) and made["corrected"] == 20
    whole = outputs(tiny_export / "fused.onnx", test_feeds)
    assert (outputs(tmp_path / "model.onnx", test_feeds).argmax(1) == whole.argmax(1)).mean() >= 0.95
    target = VNNI.model_copy(update={"quantize": quantize})
    document = audit(tmp_path / "model.onnx", target, host_isa=ISA, host_arch="x86_64")
    assert document["ok"], document["requirements"]


def test_choosing_needs_validation_rows(tiny_export: Path, train_feeds: list[Feed], tmp_path: Path) -> None:
    evidence = Evidence([], lambda rows: 0.0, 0.01, timed=False)
    with pytest.raises(BadInput, match="no validation rows"):
        quantize_encoder(
            Int8(mixed=True),
            QuantizeWork(
                source=tiny_export / "fused.onnx",
                out=tmp_path,
                session=VNNI.session,
                calibration=Calibration(),
                feeds=train_feeds,
                evidence=evidence,
                progress=silent,
            ),
        )
