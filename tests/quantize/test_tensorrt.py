"""INT8 for TensorRT, as far as a CPU can tell: what the file holds, that it means the same, and that audits see what TensorRT refuses."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from edgekit.audit.audit import audit
from edgekit.audit.document import require
from edgekit.config.quantize import Float16, Int8
from edgekit.config.recipe import Calibration
from edgekit.config.target import Target, load_target
from edgekit.errors import CheckFailed
from edgekit.progress import silent
from edgekit.quantize.encoder import QuantizeWork, quantize_encoder
from edgekit.quantize.observe import Feed
from edgekit.quantize.selection import Evidence
from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.providers.names import DISABLE_QDQ, SESSION_KEYS, TENSORRT
from edgekit.runtime.providers.tensorrt import engine_folder, engine_options, libraries_load

pytestmark = pytest.mark.skipif(
    TENSORRT in onnxruntime.get_available_providers(), reason="tests/cuda builds engines where they can be"
)


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("tensorrt")


@pytest.fixture(scope="module")
def made(tiny_export: Path, train_feeds: list[Feed], target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorrt")
    found = quantize_encoder(
        target.quantize,
        QuantizeWork(
            source=tiny_export / MODEL,
            out=folder,
            session=target.session,
            calibration=Calibration(),
            feeds=train_feeds,
            evidence=Evidence([], lambda outputs: 0.0, 0.0, False),
            progress=silent,
            provider=target.provider,
        ),
    )
    assert found["mode"] == "static" and found["matmul"] > 10
    return folder / "model.onnx"


def logits(path: Path, feeds: list[Feed], *, pairs: bool = True) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(DISABLE_QDQ, "1" if pairs else "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = {item.name for item in session.get_inputs()}
    return np.concatenate([session.run(None, {key: one[key] for key in names})[0] for one in feeds])


def test_every_product_is_between_pairs_around_zero(made: Path) -> None:
    model = onnx.load(made)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""} and [item.domain for item in model.opset_import] == [""]
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    weighted = 0
    for node in model.graph.node:
        assert not any(
            name in constants and constants[name].ndim == 2 for name in node.input[1:2] if node.op_type in {"MatMul", "Gemm"}
        )
        restores = makers.get(node.input[1]) if node.op_type in {"MatMul", "Gemm"} else None
        if restores is None or restores.op_type != "DequantizeLinear":
            continue
        weighted += 1
        weight, scale, zero = (constants[name] for name in restores.input)
        assert weight.dtype == zero.dtype == np.int8 and not zero.any() and weight.min() >= -127
        assert scale.shape == (weight.shape[1],) and scale.min() > 0  # one for each output column
        shown = makers[node.input[0]]
        assert shown.op_type == "DequantizeLinear" and makers[shown.input[0]].op_type == "QuantizeLinear"
        assert shown.input[1:] == makers[shown.input[0]].input[1:]
        assert constants[shown.input[1]].shape == () and constants[shown.input[2]] == 0
        assert constants[shown.input[2]].dtype == np.int8
        if node.op_type == "Gemm":
            assert constants[node.input[2]].dtype == np.float32
    assert weighted == sum(array.dtype == np.int8 and array.ndim == 2 for array in constants.values()) > 10


def test_it_answers_as_the_float_model(made: Path, tiny_export: Path, test_feeds: list[Feed]) -> None:
    wanted, found = logits(tiny_export / MODEL, test_feeds), logits(made, test_feeds)
    assert (wanted.argmax(axis=-1) == found.argmax(axis=-1)).mean() >= 0.95
    assert 0 < float(np.sqrt(np.mean(np.square(wanted - found))) / wanted.std()) < 0.1


def test_a_cpu_multiplies_in_float32_and_the_provider_is_given_the_pairs(made: Path, target: Target, tmp_path: Path) -> None:
    assert target.stand_in == {DISABLE_QDQ: "1"} and DISABLE_QDQ in SESSION_KEYS and load_target("x86-vnni").stand_in == {}
    assert DISABLE_QDQ not in target.session.config  # ONNX Runtime would restore the weights before TensorRT sees them
    kinds = {}
    for value in ("0", "1"):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(tmp_path / f"{value}.onnx")
        options.add_session_config_entry(DISABLE_QDQ, value)
        onnxruntime.InferenceSession(str(made), options, providers=["CPUExecutionProvider"])
        kinds[value] = [node.op_type for node in onnx.load(tmp_path / f"{value}.onnx").graph.node]
    integers = {"QLinearMatMul", "MatMulIntegerToFloat", "QGemm"}
    assert integers & set(kinds["0"]) and not integers & set(kinds["1"])


def test_the_audit_is_of_the_file_and_says_so(made: Path, target: Target) -> None:
    document = audit(made, target, host_isa=frozenset(), host_arch="x86_64")
    require(document)
    assert document["matmuls_integer"] == document["matmuls_constant"] > 10 and document["matmuls_activation"] > 0
    assert not document["kernels_observed"] and document["stand_in"] == "CPUExecutionProvider"
    assert "was read and not built" in document["notes"][0]


def spoilt(kind: str, model: onnx.ModelProto) -> None:
    graph = model.graph
    pair = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    constants = {item.name: item for item in graph.initializer}
    if kind == "foreign":
        next(node for node in graph.node if node.op_type == "Gelu").domain = "com.microsoft"
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    elif kind == "shifted":
        constants[pair.input[2]].CopyFrom(numpy_helper.from_array(np.array(3, dtype=np.int8), pair.input[2]))
    elif kind == "unsigned":
        constants[pair.input[2]].CopyFrom(numpy_helper.from_array(np.array(0, dtype=np.uint8), pair.input[2]))
    else:  # the input of some product straight from what makes it
        restored = next(node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] == pair.output[0])
        for node in graph.node:
            node.input[:] = [pair.input[0] if name == restored.output[0] else name for name in node.input]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("foreign", "no operators but ONNX's own"),
        ("shifted", "every zero point is 0"),
        ("unsigned", "every quantized number is int8"),
        ("bare", "through no Quantize/Dequantize pair"),
    ],
)
def test_what_tensorrt_refuses_is_seen(kind: str, says: str, made: Path, target: Target, tmp_path: Path) -> None:
    model = copy.deepcopy(onnx.load(made))
    spoilt(kind, model)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(CheckFailed) as fault:
        require(audit(tmp_path / "model.onnx", target, host_isa=frozenset(), host_arch="x86_64"))
    assert says in fault.value.text()


def test_a_fused_file_for_the_cpu_is_refused(tiny_export: Path, target: Target) -> None:
    document = audit(tiny_export / "fused.onnx", target, host_isa=frozenset(), host_arch="x86_64")
    assert not document["ok"] and "com.microsoft" in document["requirements"][1]["found"]
    assert document["matmuls_integer"] == 0 and TensorProto.FLOAT


def test_what_the_target_cannot_be_asked_for(target: Target) -> None:
    assert target.unsound(target.quantize) == []
    faults = target.unsound(Int8())
    assert len(faults) == 3 and any("finds ranges at run time" in fault for fault in faults)
    assert '"cuda" takes float16' in target.unsound(Float16(format="float16"))[0]


def test_engines_are_kept_by_content_and_go_without_where_they_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    one.write_bytes(b"one")
    other.write_bytes(b"two")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert engine_folder(one) != engine_folder(other)  # a model of other weights must never be served by this one's engine
    options = engine_options(one)
    assert options["trt_engine_cache_path"] == str(engine_folder(one)) and engine_folder(one).stat().st_mode & 0o777 == 0o700
    assert options["trt_int8_enable"] == "1"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "trt_engine_cache_enable" not in engine_options(one)


def test_a_provider_without_its_library_is_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import edgekit.host
    from edgekit.host import _providers

    assert not libraries_load(tmp_path)
    (tmp_path / "libonnxruntime_providers_tensorrt.so").write_bytes(b"\0libcudart.so.13\0libnvinfer.so.99999\0")
    assert not libraries_load(tmp_path)
    for there in (False, True):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, "CPUExecutionProvider"])
        monkeypatch.setattr(edgekit.host, "libraries_load", lambda folder, there=there: there)
        assert (TENSORRT in _providers.__wrapped__()) == there
