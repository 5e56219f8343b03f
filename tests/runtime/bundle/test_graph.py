"""Graphs that no bundle holds are refused before ONNX Runtime opens them; those of bundles are read without their weights."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import BadInput
from edgekit.runtime.bundle import onnx_file
from edgekit.runtime.bundle.graph import MICROSOFT, OPERATORS, check_graph_file
from edgekit.runtime.bundle.manifest import Asset
from edgekit.runtime.bundle.onnx_file import read_graph
from tests.tiny_manifest import signature, tiny_manifest

VOCABULARY = 10


def sound() -> onnx.ModelProto:
    """A sum over an embedding, as far as a graph needs to be like a bundle's."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 4])
    tensors = {
        "table": np.ones((VOCABULARY, 4), np.float32), "axis": np.array([1]), "two": np.array([0, 2]), "zero": np.array(0), "one": np.array(1),
        "long": np.array([1, 2**40, 1]), "huge": np.array(2**62),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"], name="look"),
        helper.make_node("Shape", ["embedded"], ["shape"], name="size"),
        helper.make_node("Expand", ["embedded", "shape"], ["wide"], name="widen"),
        helper.make_node("ReduceSum", ["wide", "axis"], ["logits"], name="sum", keepdims=0),
    ]
    graph = helper.make_graph(
        nodes, "g", inputs, [output], [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


SIGNATURE: dict[str, Any] = {}


def check(model: onnx.ModelProto | bytes, folder: Path) -> None:
    if not SIGNATURE:
        onnx.save_model(sound(), folder / "sound.onnx")
        SIGNATURE.update(signature(folder / "sound.onnx"))
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    assets = {"model.onnx": Asset(path.stat().st_size, "0" * 64), "model.onnx.data": Asset(64, "0" * 64)}
    check_graph_file(path, tiny_manifest(labels="abcd", vocabulary=VOCABULARY, golden=1, assets=assets, **SIGNATURE))


def node(
    operator: str, inputs: list[str], *, domain: str = "", outputs: tuple[str, ...] = ("further",), **attributes: Any
) -> Any:
    return lambda model: model.graph.node.append(helper.make_node(operator, inputs, list(outputs), domain=domain, **attributes))


def subgraph(operator: str, inputs: list[str]) -> Any:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, [])],
    )  # fmt: skip
    names = {"If": ["then_branch", "else_branch"]}.get(operator, ["body"])
    return node(operator, inputs, **dict.fromkeys(names, body))


def function(model: onnx.ModelProto) -> None:
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    model.functions.append(helper.make_function("own", "f", ["x"], ["y"], nodes, [helper.make_opsetid("", 20)]))


def tensor(**fields: Any) -> Any:
    return lambda model: model.graph.initializer.append(TensorProto(**fields))


def external(**entries: str) -> Any:
    def change(model: onnx.ModelProto) -> None:
        made = TensorProto(name="w", data_type=1, dims=[16], data_location=TensorProto.EXTERNAL)
        for key, value in entries.items():
            made.external_data.add(key=key, value=value)
        model.graph.initializer.append(made)

    return change


def output_type(kind: int) -> Any:
    return lambda model: setattr(model.graph.output[0].type.tensor_type, "elem_type", kind)


def opset(domain: str, version: int) -> Any:
    def change(model: onnx.ModelProto) -> None:
        del model.opset_import[:]
        model.opset_import.extend([helper.make_opsetid("", 20 if domain else version)])
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, version))

    return change


HOSTILE: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "Loop": (subgraph("Loop", ["huge", "", "table"]), "subgraphs"), "If": (subgraph("If", ["c"]), "subgraphs"),
    "Scan": (subgraph("Scan", ["table"]), "subgraphs"), "SequenceMap": (subgraph("SequenceMap", ["table"]), "subgraphs"),
    "BeamSearch": (subgraph("BeamSearch", ["input_ids"]), "subgraphs"),
    "a list of graphs": (lambda m: m.graph.node[0].attribute.add(name="g", type=10).graphs.add(name="x"), "subgraphs"),
    "functions": (function, "functions"), "training": (lambda m: m.training_info.add(), "training"),
    "ConstantOfShape": (node("ConstantOfShape", ["long"]), "operator ConstantOfShape"),
    "Constant": (node("Constant", [], value=numpy_helper.from_array(np.ones(3))), "tensors as attributes"),
    "Constant of ints": (node("Constant", [], value_ints=[1, 2]), "operator Constant"),
    "Pad by constants": (node("Pad", ["table", "long"]), "asks for more than"),
    "Conv that pads": (node("Conv", ["table", "table"], pads=[0, 2**40]), "pads by more than"),
    "Resize": (node("Resize", ["table", "", "two"]), "operator Resize"),
    "OneHot": (node("OneHot", ["input_ids", "huge", "two"]), "operator OneHot"), "EyeLike": (node("EyeLike", ["table"]), "operator EyeLike"),
    "NonZero": (node("NonZero", ["input_ids"]), "operator NonZero"), "Einsum": (node("Einsum", ["table"], equation="ij->"), "operator Einsum"),
    "RandomNormal": (node("RandomNormal", [], shape=[2**40]), "operator RandomNormal"),
    "SplitToSequence": (node("SplitToSequence", ["table"]), "operator SplitToSequence"), "Optional": (node("Optional", ["table"]),
    "operator Optional"),
    "StringSplit": (node("StringSplit", ["input_ids"], delimiter=" "), "operator StringSplit"),
    "a custom domain": (node("Anything", ["table"], domain="own.ops"), "operator Anything of own.ops"),
    "an ONNX operator of Microsoft's": (node("Loop", ["table"], domain=MICROSOFT), f"operator Loop of {MICROSOFT}"),
    "no name": (node("", ["table"]), "operator without a name"),
    "Expand to constants": (node("Expand", ["table", "long"]), "asks for more than"),
    "Tile by constants": (node("Tile", ["table", "long"]), "asks for more than"),
    "Range of constants": (node("Range", ["zero", "huge", "one"]), "asks for more than"),
    "Range of a product": (
        lambda m: m.graph.node.extend([
            helper.make_node("Mul", ["shape", "long"], ["more"]), helper.make_node("Expand", ["table", "more"], ["x"])]),
        "asks for more than",
    ),
    "Range over a text": (
        lambda m: m.graph.node.extend([
            helper.make_node("ReduceMax", ["input_ids"], ["top"], keepdims=0), helper.make_node("Range", ["zero", "top", "one"], ["x"])]),
        "depends on the text",
    ),
    "Expand by a text": (
        lambda m: m.graph.node.extend([
            helper.make_node("Squeeze", ["input_ids"], ["flat"]), helper.make_node("Expand", ["table", "flat"], ["x"])]),
        "depends on the text",
    ),
    "Tile by a text": (node("Tile", ["table", "attention_mask"]), "depends on the text"),
    "opset 1": (opset("", 1), "opset 1"), "opset 99": (opset("", 99), "opset 99"), "the manifest's opset": (opset("", 21), "opset 21 instead of"),
    "Microsoft's opset 2": (opset(MICROSOFT, 2), "opset 2 of domain"), "a further domain": (opset("ai.onnx.ml", 3),
    "operators of domain 'ai.onnx.ml'"),
    "no opset": (lambda m: m.ClearField("opset_import"), "opset None"),
    "two opsets": (lambda m: m.opset_import.append(helper.make_opsetid("", 20)), "two opsets"),
    "IR version 3": (lambda m: setattr(m, "ir_version", 3), "IR version 3"), "IR version 99": (lambda m: setattr(m, "ir_version", 99),
    "IR version 99"),
    "no graph": (lambda m: m.ClearField("graph"), "no graph"), "no nodes": (lambda m: m.graph.ClearField("node"), "0 nodes"),
    "no inputs": (lambda m: m.graph.ClearField("input"), "inputs none instead of"), "no outputs": (lambda m: m.graph.ClearField("output"),
    "outputs none"),
    "a further input": (lambda m: m.graph.input.append(helper.make_tensor_value_info("x", 1, [1])), "inputs input_ids, attention_mask, x"),
    "an input twice": (lambda m: m.graph.input.append(m.graph.input[0]), "inputs input_ids, attention_mask, input_ids"),
    "another output": (lambda m: setattr(m.graph.output[0], "name", "other"), "outputs other"),
    "a float input": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 1), "input input_ids: float32 instead of int64"),
    "bfloat16": (output_type(TensorProto.BFLOAT16), "bfloat16 instead of"), "float8": (output_type(TensorProto.FLOAT8E4M3FN), "data type 17"),
    "text": (output_type(TensorProto.STRING), "data type 8"), "no type": (lambda m: m.graph.output[0].ClearField("type"), "data type 0"),
    "a sequence": (lambda m: m.graph.output[0].type.sequence_type.elem_type.tensor_type.SetInParent(), "sequences"),
    "another size": (lambda m: setattr(m.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 5), "of shape"),
    "a third axis": (lambda m: m.graph.output[0].type.tensor_type.shape.dim.add(dim_value=1), "of shape"),
    "a default of an input": (tensor(name="input_ids", data_type=7, dims=[0]), "has a default"),
    "fewer rows than ids": (lambda m: m.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((3, 4), np.float32), "table")), "3 rows"),
    "a looked-up sum": (
        lambda m: m.graph.node.extend([
            helper.make_node("Add", ["table", "table"], ["t"]), helper.make_node("Gather", ["t", "input_ids"], ["x"])]),
        "no known number of rows",
    ),
    "a circle": (
        lambda m: m.graph.node.extend([helper.make_node("Abs", ["p"], ["q"]), helper.make_node("Abs", ["q"], ["p"])]), "nothing before it gives"
    ),
    "a value given twice": (node("Abs", ["table"], outputs=("embedded",)), "is given twice"),
    "a value of nobody": (node("Abs", ["nobody"]), "nothing before it gives"), "an output of nobody": (lambda m: m.graph.node.pop(),
    "which nothing gives"),
    "two initializers": (tensor(name="table", data_type=1, dims=[0]), "two initializers"),
    "a negative size": (tensor(name="w", data_type=1, dims=[-1]), "of shape"), "a size beyond its bytes": (
        tensor(name="w", data_type=1, dims=[2**40], raw_data=b"1234"), "4 bytes for"),
    "sizes that overflow": (tensor(name="w", data_type=1, dims=[2**33, 2**33], raw_data=b""), "bytes for"),
    "texts": (tensor(name="w", data_type=8, dims=[1], string_data=[b"x"]), "data type 8|tensors of texts"),
    "values in two places": (tensor(name="w", data_type=1, dims=[1], raw_data=b"1234", float_data=[1.0]), "raw"),
    "floats of another type": (tensor(name="w", data_type=7, dims=[2], float_data=[1.0, 2.0]), "floats for int64|bytes for"),
    "a segment": (lambda m: m.graph.initializer[0].segment.SetInParent(), "segments"),
    "a sparse initializer": (lambda m: m.graph.sparse_initializer.add(), "sparse"),
    "no values": (tensor(name="w", data_type=1, dims=[2]), "no place"),
    "outside": (external(location="/etc/passwd"), "not among the assets"), "above": (external(location="../x"), "not among the assets"),
    "the graph itself": (external(location="model.onnx"), "not among the assets"),
    "beyond the end": (external(location="model.onnx.data", offset="1"), "ends at byte 65"),
    "a negative offset": (external(location="model.onnx.data", offset="-1"), "external data at '-1'"),
    "an offset in words": (external(location="model.onnx.data", offset="1e3"), "external data at '1e3'"),
    "a length of its own": (external(location="model.onnx.data", length="8"), "8 bytes of external data for 64"),
    "an unknown key": (external(location="model.onnx.data", basepath="/"), "'basepath'"), "no file": (external(offset="0"), "in no file"),
    "a long name": (lambda m: setattr(m.graph.node[0], "name", "x" * 5000), "a name of 5,000 bytes"),
    "a reference of a function": (lambda m: m.graph.node[0].attribute.add(name="a", type=2, ref_attr_name="b"), "attributes of functions"),
    "an attribute without a type": (lambda m: m.graph.node[0].attribute.add(name="a", i=2), "of a kind that no bundle has"),
}  # fmt: skip


def test_a_sound_graph(tmp_path: Path) -> None:
    check(sound(), tmp_path)


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(name: str, tmp_path: Path) -> None:
    """By one message that says which file and what, without opening it in ONNX Runtime."""
    change, what = HOSTILE[name]
    model = sound()
    change(model)
    with pytest.raises(BadInput, match=rf"(?s)model\.onnx: not a graph that a bundle can hold.*({what})") as fault:
        check(model, tmp_path)
    assert len(str(fault.value)) < 2000


def field(number: int, wire: int, data: bytes = b"") -> bytes:
    return bytes([number << 3 | wire]) + data


MALFORMED = {
    "nothing": b"", "text": b"not a graph at all", "a field of none": field(30, 0, b"\x01"), "a group": field(7, 3),
    "a wire type of none": field(7, 6),
    "cut off in a number": field(1, 0, b"\x80"), "a number of eleven bytes": field(1, 0, b"\x80" * 10 + b"\x01"), "a number beyond 64 bits": field(
        1, 0, b"\xff" * 9 + b"\x7f"), "a length that leaves the file": field(7, 2, b"\x7f\x00"),
    "a length of 2^63": field(7, 2, b"\xff" * 8 + b"\x7f"), "a graph that is a number": field(7, 0, b"\x01"), "two graphs": field(7, 2, b"\0") * 2,
    "two versions": field(1, 0, b"\x0a") * 2, "a node that leaves the graph": field(7, 2, b"\x02") + field(1, 2, b"\x05"),
    "a name that is no UTF-8": field(7, 2, b"\x05") + field(1, 2, b"\x03") + field(4, 2, b"\x01\xff"),
    "a fixed number": field(1, 1, struct.pack("<q", 8)),
    "field number 0": b"\x00\x01",
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a graph that a bundle can hold"):
        check(MALFORMED[name], tmp_path)


def test_the_number_of_fields_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte of empty nodes is not walked through."""
    monkeypatch.setattr(onnx_file, "MOST_FIELDS", 1000)
    nodes = field(1, 2, b"\0") * 50_000
    with pytest.raises(BadInput, match="more than 1,000 fields"):
        check(field(7, 2, b"\xa0\x8d\x06") + nodes, tmp_path)


def test_weights_are_stepped_over(tmp_path: Path) -> None:
    """Reading takes as many steps for large weights as for small ones, and what it finds is what onnx finds."""
    left = []
    for width in (4, 40_000):
        model = sound()
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((VOCABULARY, width), np.float32), "table"))
        data = model.SerializeToString()
        reader = onnx_file._Reader(data)
        graph = reader.model((0, len(data)))
        left.append(reader.left)
        assert graph.initializers["table"].shape == (VOCABULARY, width)
    assert left[0] == left[1]
    (tmp_path / "model.onnx").write_bytes(data)
    graph = read_graph(tmp_path / "model.onnx")
    assert [(one.operator, list(one.inputs), list(one.outputs)) for one in graph.nodes] == [
        (one.op_type, one.input, one.output) for one in model.graph.node
    ]
    assert graph.initializers["long"].values == (1, 2**40, 1)
    assert {one.name: one.axes for one in graph.inputs} == {"input_ids": ("b", "s"), "attention_mask": ("b", "s")}


def test_the_list_names_operators_that_there_are() -> None:
    """Each is one of ONNX's own or of ONNX Runtime's, none takes a graph, and none gives anything but tensors of numbers."""
    for name in OPERATORS[""] - {"SimplifiedLayerNormalization"}:  # ONNX Runtime's, in ONNX's domain
        schema = onnx.defs.get_schema(name, 20)
        assert not any(
            one.type in (onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS)
            for one in schema.attributes.values()
        )
        assert (
            not any("seq" in kind or "optional" in kind for one in schema.outputs for kind in one.types) or name == "Identity"
        )
