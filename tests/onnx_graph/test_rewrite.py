"""Nodes put in place of others, and where the bias of a linear layer is found."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.linear import bias_add, bias_input, linear_nodes, module_path
from edgekit.onnx_graph.match import producer_of, same_shape, sole_reader, upstream
from edgekit.onnx_graph.metadata import KEPT, drop_metadata, keep_float
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.onnx_graph.rewrite import replace


def linear_model(*, gemm: bool = False) -> ir.Model:
    """x (b, 2) @ layer.weight (2, 3) + layer.bias, which is a Gemm or a MatMul and an Add, then Relu."""
    x = ir.val("x", ir.DataType.FLOAT, ("b", 2))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 20}, name="linear")
    weight = add_initializer(graph, "layer.weight", np.arange(6, dtype=np.float32).reshape(2, 3))
    bias = add_initializer(graph, "layer.bias", np.ones(3, dtype=np.float32))
    if gemm:
        nodes = [ir.node("Gemm", [x, weight, bias], name="layer")]
    else:
        nodes = [ir.node("MatMul", [x, weight], name="layer")]
        nodes.append(ir.node("Add", [nodes[0].outputs[0], bias], name="layer.add"))
    nodes.append(ir.node("Relu", [nodes[-1].outputs[0]], name="relu"))
    graph.extend(nodes)
    result = nodes[-1].outputs[0]
    result.name, result.type, result.shape = "y", ir.TensorType(ir.DataType.FLOAT), ir.Shape(("b", 3))
    graph.outputs.append(result)
    return ir.Model(graph, ir_version=10)


@pytest.mark.parametrize("gemm", [False, True])
def test_a_linear_layer_its_bias_and_its_module(gemm: bool) -> None:
    graph = linear_model(gemm=gemm).graph
    (linear,) = linear_nodes(graph)
    assert linear.name == "layer" and linear.weight.shape == (2, 3)
    holder, index = bias_input(linear.node)
    assert array_of(holder.inputs[index]) == pytest.approx(np.ones(3))
    assert module_path(linear.node) == "layer"
    assert (bias_add(linear.node) is None) == gemm
    assert (linear.bias is None) != gemm


def test_a_gemm_that_scales_its_terms_is_no_linear_layer() -> None:
    graph = linear_model(gemm=True).graph
    graph[0].attributes["alpha"] = ir.AttrFloat32("alpha", 0.5)
    assert linear_nodes(graph) == []


def test_the_result_of_new_nodes_takes_the_place_and_the_name_of_an_output() -> None:
    graph = linear_model().graph
    relu = graph[-1]
    gelu = ir.node("Gelu", [relu.inputs[0]], domain=MICROSOFT, name="gelu")
    replace(graph, [relu], [gelu], gelu.outputs[0])
    (output,) = graph.outputs
    assert output is gelu.outputs[0] and output.name == "y"
    assert output.shape == ir.Shape(("b", 3)) and relu.outputs[0].name == "y.before"


def test_patterns_are_followed_by_type() -> None:
    graph = linear_model().graph
    matmul, add, relu = graph
    assert producer_of(add.inputs[0], "MatMul") is matmul and producer_of(add.inputs[0], "Gemm") is None
    assert upstream(relu.outputs[0], "Relu", "Add", "MatMul") is graph.inputs[0]
    assert upstream(relu.outputs[0], "Add") is None
    assert sole_reader(matmul, "Add") is add and sole_reader(matmul, "Relu") is None
    assert same_shape(graph.outputs[0], graph.outputs[0]) and not same_shape(graph.inputs[0], graph.outputs[0])
    assert not same_shape(matmul.outputs[0], matmul.outputs[0]), "a shape that is not known equals none"


def test_a_scalar_initializer_stays_a_scalar() -> None:
    graph = linear_model().graph
    assert add_initializer(graph, "one", np.array(1)).shape == ir.Shape(())
    turned = add_initializer(graph, "turned", np.arange(6).reshape(2, 3).T)
    assert turned.const_value is not None and turned.const_value.numpy().flags.c_contiguous


def test_metadata_names_what_stays_float_and_loses_what_the_exporter_noted() -> None:
    model = linear_model()
    keep_float(model, ["no such layer"])
    assert KEPT not in model.metadata_props
    keep_float(model, ["layer"])
    assert model.metadata_props[KEPT] == '["layer.weight"]'
    model.graph[0].metadata_props["pkg.torch.onnx.stack_trace"] = "/home/somebody/model.py"
    model.graph[0].doc_string = "/home/somebody/model.py"
    drop_metadata(model)
    assert not model.metadata_props and not model.graph[0].metadata_props and model.graph[0].doc_string is None
