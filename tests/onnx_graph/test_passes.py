"""Passes: run in order, in place, counted where they change something."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.onnx_graph.passes import Pass, run_passes


def chain(*op_types: str) -> ir.Model:
    """x -> one node of each type -> y."""
    x = ir.val("x", ir.DataType.FLOAT, (2,))
    nodes, value = [], x
    for op_type in op_types:
        nodes.append(ir.node(op_type, [value]))
        value = nodes[-1].outputs[0]
    value.name = "y"
    return ir.Model(ir.Graph([x], [value], nodes=nodes, opset_imports={"": 20}, name="chain"), ir_version=10)


def drop(op_type: str) -> Pass:
    """Lets readers of nodes of `op_type` read their input instead; the nodes stay, unused."""

    def run(model: ir.Model) -> int:
        nodes = [node for node in model.graph if node.op_type == op_type]
        for node in nodes:
            node.outputs[0].replace_all_uses_with(node.inputs[0])
        return len(nodes)

    return Pass(f"drop {op_type}", run)


def test_each_pass_sees_what_the_one_before_it_left() -> None:
    model, seen = chain("Identity", "Neg", "Identity", "Abs"), []
    look = Pass("look", lambda model: seen.append([node.op_type for node in model.graph]) or 0)
    changed = run_passes(model, [look, drop("Identity"), look, drop("Neg"), look, drop("Identity")])
    assert seen == [["Identity", "Neg", "Identity", "Abs"], ["Neg", "Abs"], ["Abs"]], "unused nodes go after each pass"
    assert changed == {"drop Identity": 2, "drop Neg": 1}, "a pass that changes nothing is not named"


def test_counts_of_passes_of_one_name_are_added() -> None:
    model = chain("Neg", "Abs", "Neg", "Exp")
    assert run_passes(model, [Pass("drop", drop("Neg").run), Pass("drop", drop("Abs").run)]) == {"drop": 3}
    assert [node.op_type for node in model.graph] == ["Exp"]
