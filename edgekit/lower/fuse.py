"""Fewer, larger operators: ONNX Runtime's own fused forms, found by the shapes in the graph and not by a configured head count.

At batch 1 and ten tokens an encoder spends about as long in small operators as in arithmetic. onnxscript's
`optimize_for_ort` finds attention, skip-normalisation and bias-GELU; the passes here then remove what it leaves: the
expanded copy of the mask in each layer, the token-type lookup that is always row 0, the position lookup that counts up by
one, the arithmetic of relative positions (MPNet, DeBERTa) and rotations (ModernBERT), whose tables are known beforehand, and
products of constants. Heads are read off each layer's own reshape, so layers pruned to different head counts fuse rightly. A pass
that does not find its exact shape leaves the graph alone; parity with eager PyTorch is checked afterwards.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter.ort_fusions import optimize_for_ort

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is first imported

__all__ = ["drop_notes", "fuse"]

MICROSOFT = "com.microsoft"
FOLDED = 2**24
"""Largest constant, in numbers, that folding may read or make: a position projection of DeBERTa-v2-xxlarge has 512 x 1536."""
ELEMENTWISE = {
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Div", "Equal", "Expand", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
    "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Shape", "Sign", "Sub", "Where",
}  # fmt: skip


def fuse(source: Path, out: Path, max_length: int) -> dict[str, int]:
    """Write the fused form of ONNX model `source` to `out`; returns how often each operator stands in it.

    Position tables are cut to `max_length` rows, the longest input the bundle accepts.
    """
    model = ir.load(source)
    _fold_products(model)
    model, _ = optimize_for_ort(model, clear_metadata=True)
    for step in (
        _biased_attention, _rotary_attention, _mask_as_key_padding, _fold_token_types, _slice_positions, _skip_normalisations,
        _look_up_distances,
    ):  # fmt: skip
        step(model.graph, max_length)
        RemoveUnusedNodesPass()(model)
    model.opset_imports[MICROSOFT] = 1
    RemoveUnusedOpsetsPass()(model)
    drop_notes(model)
    ir.save(model, out)
    return dict(sorted(Counter(node.op_type for node in model.graph).items()))


def _fold_products(model: ir.Model) -> None:
    """Compute what depends on weights alone: DeBERTa projects its normalised table of relative positions in every layer."""
    for node in list(model.graph):
        if node.op_type != "LayerNormalization" or len(node.inputs) < 3:
            continue
        values, scale, bias = (_array(value) for value in node.inputs[:3])
        if values is None or scale is None or bias is None:
            continue
        exact = values.astype(np.float64)
        spread = np.sqrt(exact.var(axis=-1, keepdims=True) + node.attributes["epsilon"].as_float())
        normal = (exact - exact.mean(axis=-1, keepdims=True)) / spread * scale + bias
        node.outputs[0].replace_all_uses_with(_initializer(model.graph, f"{node.name}.folded", normal.astype(np.float32)))
    RemoveUnusedNodesPass()(model)
    fold_constants(model, input_size_limit=FOLDED, output_size_limit=FOLDED)


def _biased_attention(graph: ir.Graph, _: int) -> None:
    """softmax(alpha Q K' + bias + mask) V with a padding mask as MultiHeadAttention with an attention bias (MPNet)."""
    for node in list(graph):
        outer = _made_by(node.inputs[0], "Add") if node.op_type == "Softmax" else None
        inner = _made_by(outer.inputs[0], "Add") if outer is not None else None
        scores = _made_by(inner.inputs[0], "FusedMatMul") if inner is not None else None
        mixed = _only_user(node, "MatMul")
        out = _only_user(_only_user(mixed, "Transpose"), "Reshape")
        if outer is None or inner is None or scores is None or mixed is None or out is None:
            continue
        query = scores.inputs[0]
        parts = [_behind(value, "Transpose", "Reshape") for value in (*scores.inputs, mixed.inputs[1])]
        heads = query.shape[1] if query is not None and query.shape is not None else None
        mask, bias = outer.inputs[1], inner.inputs[1]
        if not isinstance(heads, int) or None in parts or not _comes_from(mask, _raw_mask(graph)):
            continue
        expand = _made_by(bias, "Expand")  # over the batch, which the operator does by itself
        chosen = _made_by(bias, "Gather")
        if expand is not None:
            bias = expand.inputs[0]
        elif chosen is not None and (expand := _made_by(chosen.inputs[0], "Expand")) is not None:
            chosen.replace_input_with(0, expand.inputs[0])
        attention = ir.node(
            "MultiHeadAttention",
            [*parts, None, _key_padding(graph), bias],
            {"num_heads": heads, "scale": scores.attributes["alpha"].as_float()},
            domain=MICROSOFT,
            name=f"{node.name}.attention",
        )
        graph.insert_before(node, attention)
        out.outputs[0].replace_all_uses_with(attention.outputs[0])


def _rotary_attention(graph: ir.Graph, max_length: int) -> None:
    """Rotations of a packed query and key as RotaryEmbedding, without transposing them to heads and back (ModernBERT).

    x * cos + concat(-x2, x1) * sin with angles position * frequency (Su et al. 2021, equation 34).
    """
    tables: dict[str | None, list[ir.Value]] = {}
    for node in [item for item in graph if item.op_type == "MultiHeadAttention"]:
        query, key = (_rotation(_behind(value, "Reshape", "Transpose")) for value in node.inputs[:2])
        frequencies = _array(query[1]) if query is not None else None
        if query is None or key is None or query[1] is not key[1] or frequencies is None:
            continue
        thirds = [_third(_behind(query[0], "Transpose")), _third(_behind(key[0], "Transpose"))]
        thirds.append(_third(_behind(node.inputs[2], "Reshape")))
        if [index for _, index in thirds] != [0, 1, 2] or any(packed is not thirds[0][0] for packed, _ in thirds):
            continue
        name = query[1].name
        if name not in tables:
            angles = np.arange(max_length, dtype=np.float32)[:, None] * frequencies.ravel()
            tables[name] = [_initializer(graph, f"{name}.{turn.__name__}", turn(angles)) for turn in (np.cos, np.sin)]
            tables[name].insert(0, _initializer(graph, f"{name}.start", np.array([0])))
        split = ir.node("Split", [thirds[0][0]], {"axis": -1, "num_outputs": 3}, num_outputs=3, name=f"{node.name}.split")
        turns = [ir.node("RotaryEmbedding", [part, *tables[name]], domain=MICROSOFT) for part in split.outputs[:2]]
        graph.insert_before(node, [split, *turns])
        for index, value in enumerate((turns[0].outputs[0], turns[1].outputs[0], split.outputs[2])):
            node.replace_input_with(index, value)
        back = _only_user(_only_user(node, "Reshape"), "Reshape")
        if back is not None and back.outputs[0].shape is not None and len(back.outputs[0].shape) == 3:
            back.outputs[0].replace_all_uses_with(node.outputs[0])


def _rotation(value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    """(x, frequencies) where `value` is x * cos + concat(-x2, x1) * sin, by position."""
    total = _made_by(value, "Add")
    terms = [_made_by(item, "Mul") for item in total.inputs] if total is not None else []
    swapped = _made_by(terms[1].inputs[0], "Concat") if len(terms) == 2 and terms[1] is not None else None
    if swapped is None or terms[0] is None or terms[1] is None:
        return None
    halves = [_behind(swapped.inputs[0], "Neg", "Slice"), _behind(swapped.inputs[1], "Slice")]
    angles = [_behind(terms[0].inputs[1], "Unsqueeze", "Cos"), _behind(terms[1].inputs[1], "Unsqueeze", "Sin")]
    doubled = _made_by(angles[0], "Concat")
    product = _made_by(doubled.inputs[0], "Mul") if doubled is not None else None
    frequencies = product.inputs[1] if product is not None else None
    x = terms[0].inputs[0]
    if x is None or frequencies is None or halves != [x, x] or angles[1] is not angles[0]:
        return None
    return x, frequencies


def _third(value: ir.Value | None) -> tuple[ir.Value | None, int]:
    """(packed, index) where `value` is one third of `packed`, (b, s, 3 * width), seen as (b, s, 3, heads, size); else index -1."""
    cut = _made_by(_behind(value, "Squeeze"), "Slice")
    start = _array(cut.inputs[1]) if cut is not None else None
    return (None, -1) if cut is None or start is None else (_behind(cut.inputs[0], "Reshape"), int(start.item()))


def _mask_as_key_padding(graph: ir.Graph, _: int) -> None:
    """Give MultiHeadAttention the raw 0/1 mask (input 4) instead of an expanded additive one (input 5).

    Only where the additive mask comes from nothing but `attention_mask`; others lose an expansion to their own shape.
    """
    for node in [item for item in graph if item.op_type == "MultiHeadAttention" and len(item.inputs) > 5]:
        expand = _made_by(node.inputs[5], "Expand")
        if _comes_from(node.inputs[5], _raw_mask(graph)):
            node.replace_input_with(5, None)
            node.replace_input_with(4, _key_padding(graph))
        elif expand is not None and _same_shape(expand.inputs[0], expand.outputs[0]):
            node.replace_input_with(5, expand.inputs[0])


def _raw_mask(graph: ir.Graph) -> ir.Value | None:
    return next((value for value in graph.inputs if value.name == "attention_mask"), None)


def _key_padding(graph: ir.Graph) -> ir.Value:
    """The mask as MultiHeadAttention takes it, int32 (b, s), made once."""
    cast = next((node for node in graph if node.name == "key_padding"), None)
    if cast is None:
        cast = ir.node("Cast", [_raw_mask(graph)], {"to": ir.DataType.INT32}, name="key_padding")
        graph.insert_before(graph[0], cast)
    return cast.outputs[0]


def _comes_from(value: ir.Value | None, origin: ir.Value | None) -> bool:
    """Whether `value` is `origin` passed through Unsqueeze, Cast, 1 - x, scaling and Expand alone."""
    while value is not None and value is not origin:
        node = value.producer()
        if node is None or node.op_type not in {"Expand", "Mul", "Sub", "Cast", "Unsqueeze"}:
            return False
        flowing = [item for item in node.inputs if item is not None and item.const_value is None]
        value = flowing[0] if node.op_type in {"Mul", "Sub"} and len(flowing) == 1 else node.inputs[0]
    return value is not None and value is origin


def _fold_token_types(graph: ir.Graph, _: int) -> None:
    """Replace Gather(table, indices that are always 0) + x by a constant row, folded into the position table when there is one."""
    for node in list(graph):
        types = _array(node.inputs[0]) if node.op_type == "Gather" else None
        if types is None or not _always_zero(node.inputs[1]):
            continue
        row = types[0]
        (add, _), *more = node.outputs[0].uses()
        if more or add.op_type != "Add":
            continue
        constant = _initializer(graph, f"{node.inputs[0].name}.row0", row)
        other = next(item for item in add.inputs if item is not node.outputs[0])
        position = _position_gather(add)
        if position is None:
            add.replace_input_with(list(add.inputs).index(node.outputs[0]), constant)
            continue
        table = _array(position.inputs[0])
        assert table is not None, "a position lookup reads a constant table"
        position.replace_input_with(
            0, _initializer(graph, f"{position.inputs[0].name}.with_type0", (table + row).astype(table.dtype))
        )
        add.outputs[0].replace_all_uses_with(other)


def _position_gather(add: ir.Node) -> ir.Node | None:
    """The position lookup that the sum `add` is added to next."""
    for user, _ in add.outputs[0].uses():
        if user.op_type not in {"Add", "SkipLayerNormalization"}:
            continue
        for item in user.inputs[:2]:
            producer = item.producer() if item is not None else None
            if producer is not None and producer.op_type == "Gather" and _counted(producer.inputs[1]) is not None:
                return producer
    return None


def _slice_positions(graph: ir.Graph, max_length: int) -> None:
    """Replace Gather(table, [n, n + 1, … n + sequence - 1]) by Slice(table[n:], 0, sequence), rows cut to `max_length`."""
    for node in list(graph):
        whole = _array(node.inputs[0]) if node.op_type == "Gather" else None
        counted = _counted(node.inputs[1]) if whole is not None else None
        if whole is None or counted is None:
            continue
        first, stop = counted
        table = whole[None, first : first + max_length]
        constants = [
            _initializer(graph, f"{node.name}.{name}", value)
            for name, value in (("table", table), ("start", np.array([0])), ("axis", np.array([1])))
        ]
        cut = ir.node("Slice", [constants[0], constants[1], stop, constants[2]], name=f"{node.name}.slice")
        graph.insert_before(node, cut)
        node.outputs[0].replace_all_uses_with(cut.outputs[0])


def _skip_normalisations(graph: ir.Graph, _: int) -> None:
    """LayerNormalization(a + b) as SkipLayerNormalization, which broadcasts b over the batch and can hand on the sum.

    What is left to find here: sums with a position table, and models that normalise before a block and use the sum again.
    """
    for node in list(graph):
        add = _made_by(node.inputs[0], "Add") if node.op_type == "LayerNormalization" else None
        if add is None or any(_array(item) is not None for item in add.inputs):
            continue
        used_again = len(add.outputs[0].uses()) > 1
        pair = sorted(add.inputs, key=lambda item: _made_by(item, "Slice") is not None)
        sliced = [_made_by(item, "Slice") is not None for item in pair] == [False, True]
        if not _same_shape(*pair) and (used_again or not sliced):
            continue
        skip = ir.node(
            "SkipLayerNormalization", [*pair, *node.inputs[1:]], {"epsilon": node.attributes["epsilon"].as_float()},
            num_outputs=4 if used_again else 1, domain=MICROSOFT, name=f"{node.name}.skip",
        )  # fmt: skip
        graph.insert_before(add, skip)
        for old, new in ((node.outputs[0], skip.outputs[0]), (add.outputs[0], skip.outputs[-1])):
            new.shape, new.type = old.shape, old.type
            old.replace_all_uses_with(new)


def _look_up_distances(graph: ir.Graph, max_length: int) -> None:
    """Replace what is computed number by number from the distances of all pairs of tokens by a lookup in 2 max_length - 1 values."""
    for root in [node for node in graph if node.op_type == "Sub"]:
        counts = [_made_by(_behind(value, "Unsqueeze"), "Range") for value in root.inputs]
        if counts[0] is None or counts[0] is not counts[1]:
            continue
        derived, distances = [], root.outputs[0]
        known = {distances}
        for node in graph:
            followed = node.op_type in ELEMENTWISE and known & set(node.inputs)
            if followed and all(value in known or _array(value) is not None for value in node.inputs):
                derived.append(node)
                known.add(node.outputs[0])
        ends = [
            node.outputs[0] for node in derived
            if node.op_type != "Shape" and any(user not in derived for user, _ in node.outputs[0].uses())
        ]  # fmt: skip
        if len(derived) < 4 or not ends:
            continue
        arrays = _evaluate(graph, distances, ends, np.arange(1 - max_length, max_length))
        last = _initializer(graph, f"{root.name}.last", np.array(max_length - 1))
        index = ir.node("Add", [distances, last], name=f"{root.name}.index")
        tables = [_initializer(graph, f"{end.name}.table", array) for end, array in zip(ends, arrays, strict=True)]
        found = [ir.node("Gather", [table, index.outputs[0]], name=f"{table.name}.lookup") for table in tables]
        graph.insert_after(root, [index, *found])
        for end, node in zip(ends, found, strict=True):
            node.outputs[0].shape, node.outputs[0].type = end.shape, end.type
            end.replace_all_uses_with(node.outputs[0])


def _evaluate(graph: ir.Graph, given: ir.Value, wanted: list[ir.Value], numbers: np.ndarray) -> list[np.ndarray]:
    """`wanted` as ONNX Runtime computes them, number by number, from `given` = `numbers`, int64 (n,)."""
    import onnxruntime

    part = ir.convenience.extract(graph, [given], wanted)
    for value in (*part.inputs, *(output for node in part for output in node.outputs)):
        value.shape = None
    part.inputs[0].shape = ir.Shape(numbers.shape)
    model = ir.Model(part, ir_version=10)
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    arrays: list[np.ndarray] = session.run(None, {part.inputs[0].name: numbers})
    return arrays


def _made_by(value: ir.Value | None, kind: str) -> ir.Node | None:
    """The node that makes `value`, if it is of this kind."""
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == kind else None


def _behind(value: ir.Value | None, *kinds: str) -> ir.Value | None:
    """What goes in first where `value` comes out of nodes of these kinds, last one first."""
    for kind in kinds:
        node = _made_by(value, kind)
        value = None if node is None else node.inputs[0]
    return value


def _same_shape(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether both shapes are known, by number or name, and equal."""
    if one is None or other is None or one.shape is None or other.shape is None or one.shape.has_unknown_dim():
        return False
    return bool(one.shape == other.shape)


def _only_user(node: ir.Node | None, kind: str) -> ir.Node | None:
    """The one node that reads `node`, if it is of this kind."""
    users = [user for user, _ in node.outputs[0].uses()] if node is not None else []
    return users[0] if len(users) == 1 and users[0].op_type == kind else None


def _always_zero(value: ir.Value | None) -> bool:
    """Whether `value` selects, by shape alone, from a constant of zeros."""
    while value is not None:
        constant = _array(value)
        if constant is not None:
            return not constant.any()
        node = value.producer()
        if node is None or node.op_type not in {"Expand", "GatherElements", "Slice", "Reshape", "Unsqueeze", "Gather"}:
            return False
        value = node.inputs[0]
    return False


def _counted(value: ir.Value | None) -> tuple[int, ir.Value] | None:
    """(n, stop) where `value` is Slice([n, n + 1, n + 2, …], 0, stop) with step 1; None where it is anything else."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Slice":
        return None
    numbers, start, stop = _array(node.inputs[0]), _array(node.inputs[1]), node.inputs[2]
    step = _array(node.inputs[4]) if len(node.inputs) > 4 else np.array([1])
    if numbers is None or start is None or stop is None or step is None or start.any() or (step != 1).any():
        return None
    flat = numbers.ravel()
    return (int(flat[0]), stop) if np.array_equal(flat, flat[0] + np.arange(flat.size)) else None


def _array(value: ir.Value | None) -> np.ndarray | None:
    """The constant behind `value`, or None."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else tensor.numpy()


def _initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """`array` as a named initializer of `graph`."""
    value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name))
    value.shape = ir.Shape(array.shape)
    value.dtype = value.const_value.dtype
    graph.initializers[name] = value
    return value


def drop_notes(model: ir.Model) -> None:
    """Remove the exporter's stack traces and source paths, which name the building machine and change the bytes."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
