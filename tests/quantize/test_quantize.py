"""Weights, ranges and the two INT8 forms: right numbers, integer kernels, and quality that holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.audit.audit import audit
from edgekit.config.target import load_target
from edgekit.errors import BadInput
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.quantize.embedding import block_quantize
from edgekit.quantize.ranges import choose_range
from edgekit.quantize.static import activation_ranges, activation_scale, quantize_static
from edgekit.quantize.weights import quantize_weight
from edgekit.tasks import find_task
from edgekit.tasks.encode import encode, read_split
from tests.quantize.files import rewritten

ISA = frozenset({"avx2", "fma", "avx512_vnni", "avx_vnni"})
VNNI = load_target("x86-vnni")


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 20), columns=st.integers(1, 12), seed=st.integers(0, 999), scale=st.floats(1e-4, 1e3),
    per_channel=st.booleans(), reduce_range=st.booleans(), signed=st.booleans(),
)  # fmt: skip
def test_weights_round_to_the_nearest_step(
    rows: int, columns: int, seed: int, scale: float, per_channel: bool, reduce_range: bool, signed: bool
) -> None:
    weight = (np.random.default_rng(seed).normal(size=(rows, columns)) * scale).astype(np.float32)
    found = quantize_weight(weight, per_channel=per_channel, reduce_range=reduce_range, signed=signed)
    error = np.abs(found.restored().astype(np.float64) - weight.astype(np.float64))
    assert (error <= found.scale.astype(np.float64) * 0.5001 + 1e-12).all()
    distance = np.abs(found.values.astype(int) - (0 if signed else 128)).max()
    assert distance <= (63 if reduce_range else 127)
    assert found.values.dtype == (np.int8 if signed else np.uint8)


def test_a_column_of_zeros_stays_zero() -> None:
    weight = np.zeros((4, 3), dtype=np.float32)
    weight[:, 1] = 2.0
    found = quantize_weight(weight, per_channel=True, reduce_range=False)
    assert np.isfinite(found.scale).all()
    assert np.array_equal(found.restored(), weight)


def test_embedding_blocks_restore_within_half_a_step() -> None:
    table = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    values, scales = block_quantize(table, 16)
    restored = (values.reshape(50, 4, 16).astype(np.float32) - 128) * scales[:, :, None]
    assert (np.abs(restored - table.reshape(50, 4, 16)) <= scales[:, :, None] * 0.5001).all()


@settings(max_examples=60, deadline=None)
@given(low=st.floats(-50, 0), high=st.floats(0.01, 50), signed=st.booleans())
def test_zero_is_exact_in_every_activation_range(low: float, high: float, signed: bool) -> None:
    scale, zero = activation_scale(low, high, signed)
    assert scale > 0
    bottom, top = (-128, 127) if signed else (0, 255)
    assert bottom <= int(zero) <= top


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_calibrators_cut_an_outlier(method: str) -> None:
    values = np.random.default_rng(0).normal(size=200_000)
    counts, edges = np.histogram(np.append(values, 30.0), bins=2048)
    counts[:1000] *= 100  # as many values as a calibration set gives, against the one outlier
    low, high = choose_range(counts, float(edges[0]), float(edges[-1]), method)  # type: ignore[arg-type]
    assert high < 20, "a single value of 30 must not stretch the range of a standard normal"
    assert low < -3


def test_mse_is_the_best_of_its_candidates() -> None:
    from edgekit.quantize.ranges import _squared_error, candidates

    values = np.random.default_rng(1).laplace(size=100_000)
    counts, edges = np.histogram(values, bins=2048)
    low, high = float(edges[0]), float(edges[-1])
    centres = (edges[:-1] + edges[1:]) / 2
    found = choose_range(counts, low, high, "mse")
    best = min(_squared_error(counts, centres, *bounds) for bounds in candidates(low, high))
    assert _squared_error(counts, centres, *found) == pytest.approx(best)


def rows_of(tiny_model: Path, tiny_artifact: Path, split: str) -> list[np.ndarray]:
    data = encode(tiny_model, read_split(tiny_artifact, split), find_task("text-classification"), 32)
    return [one.ids for one in data.windows]


def outputs(path: Path, rows: list[np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate(
        [session.run(None, {"input_ids": row[None], "attention_mask": np.ones_like(row[None])})[0] for row in rows]
    )


def static(source: Path, out: Path, model: Path, artifact: Path, **changes: object) -> None:
    quantize = VNNI.quantize.model_copy(update=changes)
    feeds = [{"input_ids": row[None], "attention_mask": np.ones_like(row[None])} for row in rows_of(model, artifact, "train")]
    ranges = activation_ranges(ir.load(source), feeds, "minmax", 64, lambda done, total, text: None)
    rewritten(source, out, quantize_static, quantize, ranges)


@pytest.mark.parametrize("form", ["dynamic", "static", "static-per-tensor", "dynamic-unsigned"])
def test_int8_keeps_labels_and_runs_in_integer_kernels(
    tiny_export: Path, tiny_model: Path, tiny_artifact: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / "model.onnx"
    if form == "dynamic":
        rewritten(tiny_export / "fused.onnx", out, quantize_dynamic, VNNI.quantize)
    elif form == "dynamic-unsigned":
        rewritten(
            tiny_export / "fused.onnx",
            out,
            quantize_dynamic,
            VNNI.quantize.model_copy(update={"weights": "uint8", "per_channel": False}),
        )
    else:
        static(tiny_export / "fused.onnx", out, tiny_model, tiny_artifact, per_channel=form == "static")
    rows = rows_of(tiny_model, tiny_artifact, "test")
    whole, small = outputs(tiny_export / "model.onnx", rows), outputs(out, rows)
    assert (whole.argmax(1) == small.argmax(1)).mean() >= 0.95
    document = audit(out, VNNI, host_isa=ISA, host_arch="x86_64")
    assert document["matmuls_integer"] == document["matmuls_constant"] == 3 * 6 + 2
    assert document["ok"], document["requirements"]


def test_the_same_input_gives_the_same_bytes(tiny_export: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        rewritten(tiny_export / "fused.onnx", tmp_path / name, quantize_dynamic, VNNI.quantize)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_signed_activations_are_seen_to_stay_in_float(
    tiny_export: Path, tiny_model: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    """S8S8 on x86: ONNX Runtime leaves products whose quantized input has several readers in float32 (measured on 1.32)."""
    static(tiny_export / "fused.onnx", tmp_path / "model.onnx", tiny_model, tiny_artifact, activations="int8")
    document = audit(tmp_path / "model.onnx", VNNI, host_isa=ISA, host_arch="x86_64")
    ran = document["matmuls_integer"]
    assert document["ok"] == (ran == document["matmuls_constant"] and document["stray_qdq"] == 0 and document["casts"] <= 1)


def test_calibration_needs_rows_and_memory(tiny_export: Path, tmp_path: Path) -> None:
    quiet = lambda done, total, text: None  # noqa: E731
    with pytest.raises(BadInput, match="no calibration rows"):
        activation_ranges(ir.load(tiny_export / "fused.onnx"), [], "mse", 64, quiet)
    from edgekit.quantize.ranges import collect

    model = ir.load(tiny_export / "fused.onnx")
    with pytest.raises(BadInput, match="hold no useful histograms"):
        collect(model, [f"t{number}" for number in range(20_000)], [{"attention_mask": np.ones((1, 2))}], "mse", 16, quiet)


def test_static_qdq_is_standard_onnx(tiny_export: Path, tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    static(tiny_export / "fused.onnx", tmp_path / "model.onnx", tiny_model, tiny_artifact)
    onnx.checker.check_model(str(tmp_path / "model.onnx"))
    kinds = {node.op_type for node in onnx.load(str(tmp_path / "model.onnx")).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "MatMul", "Gemm"} <= kinds


@pytest.mark.parametrize("form", ["dynamic", "static"])
def test_inputs_and_outputs_keep_name_type_and_axes(
    tiny_export: Path, tiny_model: Path, tiny_artifact: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / "model.onnx"
    if form == "dynamic":
        rewritten(tiny_export / "fused.onnx", out, quantize_dynamic, VNNI.quantize)
    else:
        static(tiny_export / "fused.onnx", out, tiny_model, tiny_artifact)
    for path in (tiny_export / "model.onnx", out):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert [(item.name, item.type) for item in session.get_inputs()] == [
            ("input_ids", "tensor(int64)"),
            ("attention_mask", "tensor(int64)"),
        ]
        assert [(item.name, item.type, item.shape) for item in session.get_outputs()] == [
            ("logits", "tensor(float)", ["batch", 4])
        ]
