"""float16 and bfloat16: half precision inside, int64 and float32 at the edges, and answers that hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.config.target import load_target
from edgekit.progress import silent
from edgekit.quantize.float16 import WITHOUT_BFLOAT16, to_bfloat16, to_float16
from edgekit.quantize.observe import Feed
from edgekit.runtime.providers.names import FASTMATH
from tests.quantize.files import outputs


@pytest.mark.parametrize("form", ["fused", "model"])
def test_edges_keep_their_types_and_the_inside_is_half(
    tiny_export: Path, test_feeds: list[Feed], tmp_path: Path, form: str
) -> None:
    source, out = tiny_export / f"{form}.onnx", tmp_path / "half.onnx"
    assert to_float16(source, out)["float16"] > 40
    graph = onnx.load(out).graph
    kinds = [item.type.tensor_type.elem_type for item in (*graph.input, *graph.output)]
    assert kinds == [onnx.TensorProto.INT64, onnx.TensorProto.INT64, onnx.TensorProto.FLOAT]
    assert onnx.TensorProto.FLOAT not in Counter(tensor.data_type for tensor in graph.initializer)
    whole, half = outputs(source, test_feeds), outputs(out, test_feeds)
    assert half.dtype == np.float32
    assert np.abs(whole - half).max() < 5e-3
    assert np.array_equal(whole.argmax(axis=1), half.argmax(axis=1))
    assert out.stat().st_size < 0.65 * source.stat().st_size


def widened(path: Path, out: Path) -> None:
    """A bfloat16 graph as the CPU provider can run it: each product in float32, its inputs and outputs rounded to bfloat16."""
    model = onnx.load(path)
    brain = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.BFLOAT16}
    nodes = []
    for node in model.graph.node:
        known = {name for name in node.input if name in brain}
        if node.op_type == "Cast":
            brain |= set(node.output) if node.attribute[0].i == onnx.TensorProto.BFLOAT16 else set()
            nodes.append(node)
            continue
        if not known or node.op_type == "Shape":
            nodes.append(node)
            continue
        if node.op_type in {"Gather", "Slice", "Reshape", "Transpose", "Identity", "Concat", "Expand"}:
            brain |= set(node.output)
            nodes.append(node)
            continue
        nodes += [onnx.helper.make_node("Cast", [name], [f"{node.name}.{name}"], to=1) for name in sorted(known)]
        made = onnx.NodeProto()
        made.CopyFrom(node)
        made.input[:] = [f"{node.name}.{name}" if name in known else name for name in node.input]
        made.output[:] = [f"{name}.wide" if name else "" for name in node.output]
        nodes.append(made)
        nodes += [onnx.helper.make_node("Cast", [f"{name}.wide"], [name], to=16) for name in node.output if name]
        brain |= set(node.output)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, out)


@pytest.mark.parametrize("form", ["fused", "model"])
def test_bfloat16_has_no_float16_left_and_rounds_the_exact_weights(
    tiny_export: Path, test_feeds: list[Feed], tmp_path: Path, form: str
) -> None:
    source, out = tiny_export / f"{form}.onnx", tmp_path / "brain.onnx"
    assert to_bfloat16(source, out)["bfloat16"] > 50
    graph = onnx.load(out).graph
    kinds = [item.type.tensor_type.elem_type for item in (*graph.input, *graph.output)]
    assert kinds == [onnx.TensorProto.INT64, onnx.TensorProto.INT64, onnx.TensorProto.FLOAT]
    stored = {tensor.data_type for tensor in graph.initializer} | {item.type.tensor_type.elem_type for item in graph.value_info}
    assert onnx.TensorProto.FLOAT16 not in stored
    assert not any(attribute.i == onnx.TensorProto.FLOAT16 for node in graph.node for attribute in node.attribute)
    exact = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(source).graph.initializer}
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.BFLOAT16:
            wanted = exact[tensor.name].astype(np.float64)
            found = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            assert np.abs(found - wanted).max() <= np.abs(wanted).max() * 2.0**-8
    widened(out, tmp_path / "widened.onnx")
    whole, rounded = outputs(source, test_feeds), outputs(tmp_path / "widened.onnx", test_feeds)
    assert 0 < np.abs(whole - rounded).max() < 0.15
    assert np.array_equal(whole.argmax(axis=1), rounded.argmax(axis=1))
    assert out.stat().st_size < 0.65 * source.stat().st_size


def test_the_cpu_provider_has_no_bfloat16_product(tiny_export: Path, tmp_path: Path) -> None:
    import onnxruntime

    to_bfloat16(tiny_export / "fused.onnx", tmp_path / "brain.onnx")
    with pytest.raises(Exception, match="NOT_IMPLEMENTED"):  # the graph itself is sound: what it lacks is a kernel
        onnxruntime.InferenceSession(str(tmp_path / "brain.onnx"), providers=["CPUExecutionProvider"])


def test_operators_without_a_bfloat16_kernel_stay_float32(tmp_path: Path) -> None:
    shape = [2, 3]
    nodes = [onnx.helper.make_node("ReduceL2", ["x"], ["l"]), onnx.helper.make_node("Div", ["x", "l"], ["y"])]
    edges = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "g", edges[:1], edges[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]), tmp_path / "a.onnx")
    to_bfloat16(tmp_path / "a.onnx", tmp_path / "b.onnx")
    made = onnx.load(tmp_path / "b.onnx").graph
    producer = {output: node for node in made.node for output in node.output}
    (reduced,) = [node for node in made.node if node.op_type == "ReduceL2"]
    before = producer.get(reduced.input[0])
    assert before is None or before.attribute[0].i == onnx.TensorProto.FLOAT
    assert "ReduceL2" in WITHOUT_BFLOAT16 and "MatMul" not in WITHOUT_BFLOAT16


def test_targets_that_run_bfloat16_and_those_that_do_not() -> None:
    arm, x86, cuda = (load_target(name) for name in ("arm64-bf16", "x86-vnni", "cuda"))
    asked = arm.quantize
    assert arm.unsound(asked) == [] and cuda.unsound(asked) == []
    assert "no kernels on the CPU provider of x86" in x86.unsound(asked)[0]
    assert 'use the target "arm64-bf16"' in load_target("arm64-i8mm").unsound(asked)[0]
    plain = arm.session.model_copy(update={"config": {}})
    assert f'{FASTMATH} = "1", which is not set' in arm.model_copy(update={"session": plain}).unsound(asked)[0]
    assert "rounds what is float32" in arm.unsound(x86.quantize)[0]
    assert "rounds what is float32" in arm.model_copy(update={"isa": ("asimd",)}).unsound(x86.quantize)[0]
    assert arm.rank == 0, "it is asked for by name"


def test_a_machine_without_cuda_cannot_judge_bfloat16_for_it() -> None:
    from dataclasses import replace

    from edgekit.host import detect
    from edgekit.models.facts import ModelFacts
    from edgekit.plan.check import faults_of
    from edgekit.plan.recipes import recipe_model

    files = {"train": "a.jsonl", "validation": "b.jsonl", "test": "c.jsonl"}
    asked = {"schema": 1, "task": "text-classification", "model": {"id": "m"}, "data": files}
    recipe = recipe_model().model_validate({**asked, "quantize": {"format": "bf16"}})
    cuda, arm = load_target("cuda"), load_target("arm64-bf16")
    without, having = (replace(detect(), offers=offers) for offers in (("CPUExecutionProvider",), (cuda.provider,)))
    assert "has to audit and score" in faults_of(recipe, [cuda, arm], ModelFacts("m"), host=without)[0]
    assert faults_of(recipe, [cuda, arm], ModelFacts("m"), host=having) == []


def test_an_arm_file_stays_float32_and_leaves_the_rounding_to_the_session(tiny_export: Path, tmp_path: Path) -> None:
    from edgekit.config.recipe import Calibration
    from edgekit.quantize.encoder import QuantizeWork, quantize_encoder
    from edgekit.quantize.selection import Evidence

    target = load_target("arm64-bf16")
    made = quantize_encoder(
        target.quantize,
        QuantizeWork(
            source=tiny_export / "fused.onnx",
            out=tmp_path,
            session=target.session,
            calibration=Calibration(),
            feeds=[],
            evidence=Evidence([], lambda outputs: 0.0, 0.0, False),
            progress=silent,
        ),
    )
    assert made["mode"] == "bf16" and made["split"]["norms"] > 0
    kept, source = (
        {item.name: item.raw_data for item in onnx.load(path).graph.initializer if item.data_type == onnx.TensorProto.FLOAT}
        for path in (tmp_path / "model.onnx", tiny_export / "fused.onnx")
    )
    assert kept and kept == {name: source[name] for name in kept}
