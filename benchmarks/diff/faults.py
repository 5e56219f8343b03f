"""Faults as conversions have them, each put into one place of a sound graph, with the part that a reader should be sent to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.differ.parts import Part
from edgekit.onnx_graph.initializers import add_initializer, array_of
from edgekit.onnx_graph.linear import LinearNode, bias_input, linear_nodes

__all__ = ["Fault", "decoder_faults", "faults"]

LINEARS = ("query", "key", "value", "attention", "up", "down")
"""Of a layer of an encoder, in the graph's order."""


@dataclass(frozen=True)
class Fault:
    """A fault, and the parts that are right answers."""

    name: str
    put: Callable[[ir.Model], None]
    right: tuple[Part, ...]
    decodes: bool = False
    packed: bool = False
    """Whether it is put into the graph that is packed, after rounding, rather than into the float32 one."""
    rounded: bool = False
    """Whether it is a fault of rounded graphs alone."""


def _replace(graph: ir.Graph, node: ir.Node, index: int, array: np.ndarray) -> None:
    """Give `node` a constant of its own, whatever shares the one it has."""
    name = f"fault.{node.name}.{index}"
    node.replace_input_with(index, add_initializer(graph, name, array))


def _linear(model: ir.Model, layer: int, which: str) -> LinearNode:
    return linear_nodes(model.graph)[layer * len(LINEARS) + LINEARS.index(which)]


def _weight(layer: int, which: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[ir.Model], None]:
    """Change the weight (in, out) of an encoder's Linear."""

    def put(model: ir.Model) -> None:
        linear = _linear(model, layer, which)
        _set(model.graph, linear, change(linear.weight.copy()))

    return put


def _set(graph: ir.Graph, linear: LinearNode, weight: np.ndarray) -> None:
    turned = linear.node.op_type == "Gemm" and linear.node.attributes.get_int("transB", 0)
    _replace(graph, linear.node, 1, np.ascontiguousarray(weight.T if turned else weight))


def _bias(layer: int, which: str) -> Callable[[ir.Model], None]:
    """Drop a bias."""

    def put(model: ir.Model) -> None:
        holder, index = bias_input(_linear(model, layer, which).node)
        bias = array_of(holder.inputs[index])
        assert bias is not None, "the Linear has a bias"
        _replace(model.graph, holder, index, np.zeros_like(bias))

    return put


def _noise(weight: np.ndarray) -> np.ndarray:
    """A twentieth of the weights replaced by others of their size, as by a file that was damaged."""
    random = np.random.default_rng(1)
    hit = random.random(weight.shape) < 0.05
    return np.where(hit, random.permutation(weight.ravel()).reshape(weight.shape) * 3, weight).astype(np.float32)


def _scaled(weight: np.ndarray) -> np.ndarray:
    weight[:, 5] *= 2
    return weight


def _heads(size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Heads in reverse order."""
    return lambda weight: weight.reshape(len(weight), -1, size)[:, ::-1].reshape(weight.shape)


def _swapped_layers(first: int, second: int) -> Callable[[ir.Model], None]:
    def put(model: ir.Model) -> None:
        for which in LINEARS:
            one, other = _linear(model, first, which), _linear(model, second, which)
            left, right = one.weight.copy(), other.weight.copy()
            _set(model.graph, one, right)
            _set(model.graph, other, left)

    return put


def _norms(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type in ("LayerNormalization", "SkipLayerNormalization")]


def _epsilon(number: int, value: float) -> Callable[[ir.Model], None]:
    def put(model: ir.Model) -> None:
        _norms(model)[number].attributes["epsilon"] = ir.AttrFloat32("epsilon", value)

    return put


def _encoder_activation(layer: int) -> Callable[[ir.Model], None]:
    """ReLU in the place of GELU; of a fused one its bias is added first."""

    def put(model: ir.Model) -> None:
        node = [node for node in model.graph if node.op_type in ("Gelu", "BiasGelu", "FastGelu")][layer]
        made, value = [], node.inputs[0]
        if node.op_type == "BiasGelu":
            made.append(ir.node("Add", list(node.inputs), name=f"{node.name}.bias"))
            value = made[0].outputs[0]
        made.append(ir.node("Relu", [value], name=f"{node.name}.relu"))
        model.graph.insert_before(node, made)
        node.outputs[0].replace_all_uses_with(made[-1].outputs[0])
        model.graph.remove(node, safe=True)

    return put


def _attention_scale(layer: int) -> Callable[[ir.Model], None]:
    """Scores that are not divided by the square root of a head's size."""

    def put(model: ir.Model) -> None:
        query = _linear(model, layer, "query")
        _set(model.graph, query, query.weight * 4)

    return put


def _positions(model: ir.Model) -> None:
    """Positions that begin at 1."""
    node, table = _position_table(model)
    _replace(model.graph, node, 0, np.roll(table, -1, axis=-2))


def _no_positions(model: ir.Model) -> None:
    """Positions left out."""
    node, table = _position_table(model)
    _replace(model.graph, node, 0, np.zeros_like(table))


def _position_table(model: ir.Model) -> tuple[ir.Node, np.ndarray]:
    """The node that reads the table of positions (1, positions, hidden), and the table."""
    found = ((node, array_of(node.inputs[0])) for node in model.graph if node.op_type == "Slice")
    return next((node, table) for node, table in found if table is not None)


def _swapped_rows(first: int, second: int) -> Callable[[ir.Model], None]:
    """Two tokens of the embedding exchanged."""

    def put(model: ir.Model) -> None:
        node = next(
            node
            for node in model.graph
            if node.op_type == "Gather" and (table := array_of(node.inputs[0])) is not None and table.ndim == 2
        )
        table = np.array(array_of(node.inputs[0]))
        table[[first, second]] = table[[second, first]]
        _replace(model.graph, node, 0, table)

    return put


def _mask_ignored(model: ir.Model) -> None:
    """All tokens are attended to, padding too."""
    mask = next(value for value in model.graph.inputs if value.name == "attention_mask")
    readers = [(node, index) for node, index in mask.uses()]
    none, one = (add_initializer(model.graph, f"fault.{number}", np.array(number, dtype=np.int64)) for number in (0, 1))
    zeros = ir.node("Mul", [mask, none], name="fault.zeros")
    ones = ir.node("Add", [zeros.outputs[0], one], name="fault.ones")
    model.graph.insert_before(next(iter(model.graph)), [zeros, ones])
    for node, index in readers:
        node.replace_input_with(index, ones.outputs[0])


def _head_linear(number: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[ir.Model], None]:
    """Change a weight behind the layers; counted from the end."""

    def put(model: ir.Model) -> None:
        linear = linear_nodes(model.graph)[-number]
        _set(model.graph, linear, np.ascontiguousarray(change(linear.weight.copy())))

    return put


def _classifier_bias(model: ir.Model) -> None:
    """One label's bias is another's."""
    holder, index = bias_input(linear_nodes(model.graph)[-1].node)
    bias = np.array(array_of(holder.inputs[index]))
    bias[0] += 2.0
    _replace(model.graph, holder, index, bias)


def _zero_point(model: ir.Model) -> None:
    """The zero point of a weight off by one, in layer 1's last Linear of the MLP: what it reads has a mean, which this multiplies."""
    nodes = [node for node in model.graph if node.op_type == "DynamicQuantizeMatMul"]
    node = nodes[3 * 1 + 2]  # attention out, up and down of each layer: query, key and value are in QAttention
    zero = np.array(array_of(node.inputs[3]))
    _replace(model.graph, node, 3, (zero + 1).astype(zero.dtype))


def _constant(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[ir.Model], None]:
    """Change a constant of a decoder's graph, which has names."""

    def put(model: ir.Model) -> None:
        value = model.graph.initializers[name]
        add_initializer(model.graph, f"fault.{name}", np.ascontiguousarray(change(np.array(array_of(value)))))
        value.replace_all_uses_with(model.graph.initializers[f"fault.{name}"])

    return put


def _theta(model: ir.Model) -> None:
    """Rotary positions of another base: 1,000,000 in the place of 10,000, by stretching each frequency's angles."""
    cos, sin = (np.array(array_of(model.graph.initializers[f"{name}.all"])) for name in ("cos", "sin"))
    angles = np.unwrap(np.arctan2(sin, cos), axis=0)
    places = np.arange(angles.shape[1]) / angles.shape[1]
    angles = angles * (1e4 / 1e6) ** places
    _constant("cos.all", lambda _: np.cos(angles).astype(np.float32))(model)
    _constant("sin.all", lambda _: np.sin(angles).astype(np.float32))(model)


def _offset(model: ir.Model) -> None:
    """Rotary positions that begin at 1 for queries and keys alike would change nothing; here every second position is read for the next one."""
    for name in ("cos.all", "sin.all"):
        _constant(name, lambda table: table[np.arange(len(table)) // 2])(model)


def _key_heads(layer: int) -> Callable[[ir.Model], None]:
    """Keys' heads in reverse order, as of a file whose groups were written the other way."""

    def put(model: ir.Model) -> None:
        node = next(node for node in model.graph if node.name == f"layer.{layer}.attention.gqa")
        heads, kv_heads = (node.attributes[name].as_int() for name in ("num_heads", "kv_num_heads"))

        def change(weight: np.ndarray) -> np.ndarray:
            size = weight.shape[1] // (heads + 2 * kv_heads)
            keys = slice(heads * size, (heads + kv_heads) * size)
            weight[:, keys] = weight[:, keys].reshape(len(weight), kv_heads, size)[:, ::-1].reshape(len(weight), -1)
            return weight

        _constant(f"layer.{layer}.attention.qkv.weight", change)(model)

    return put


def _value_heads(layer: int) -> Callable[[ir.Model], None]:
    def put(model: ir.Model) -> None:
        node = next(node for node in model.graph if node.name == f"layer.{layer}.attention.gqa")
        heads, kv_heads = (node.attributes[name].as_int() for name in ("num_heads", "kv_num_heads"))

        def change(weight: np.ndarray) -> np.ndarray:
            size = weight.shape[1] // (heads + 2 * kv_heads)
            values = weight[:, (heads + kv_heads) * size :]
            weight[:, (heads + kv_heads) * size :] = values.reshape(len(weight), kv_heads, size)[:, ::-1].reshape(
                len(weight), -1
            )
            return weight

        _constant(f"layer.{layer}.attention.qkv.weight", change)(model)

    return put


def _decoder_activation(layer: int) -> Callable[[ir.Model], None]:
    """SiLU with the factor of QuickGELU."""

    def put(model: ir.Model) -> None:
        node = next(node for node in model.graph if node.name == f"layer.{layer}.mlp.activation")
        node.attributes["alpha"] = ir.AttrFloat32("alpha", 1.702)

    return put


def _gate(layer: int) -> Callable[[ir.Model], None]:
    """Gate and up exchanged."""

    def put(model: ir.Model) -> None:
        gate, up = (np.array(array_of(model.graph.initializers[f"layer.{layer}.mlp.{name}.weight"])) for name in ("gate", "up"))
        _constant(f"layer.{layer}.mlp.gate.weight", lambda _: up)(model)
        _constant(f"layer.{layer}.mlp.up.weight", lambda _: gate)(model)

    return put


def _window(layer: int) -> Callable[[ir.Model], None]:
    """A window of 4 tokens where the layer sees all."""

    def put(model: ir.Model) -> None:
        node = next(node for node in model.graph if node.name == f"layer.{layer}.attention.gqa")
        node.attributes["local_window_size"] = ir.AttrInt64("local_window_size", 4)

    return put


def _less_one(weight: np.ndarray) -> np.ndarray:
    return weight - 1


def faults(head_size: int, layers: int) -> list[Fault]:
    """Faults of an encoder with heads of `head_size` in `layers` layers, at least 3."""
    middle, last = layers // 2, layers - 1
    return [
        Fault(
            "a damaged weight: the attention's last Linear", _weight(middle, "attention", _noise), (Part("attention", middle),)
        ),
        Fault("a damaged weight: the MLP's first Linear", _weight(last, "up", _noise), (Part("neurons", last),)),
        Fault("two layers exchanged", _swapped_layers(0, last), (Part("heads", 0),)),
        Fault("another epsilon in a norm (0.1)", _epsilon(2 * middle + 2, 0.1), (Part("layer", middle),)),
        Fault("ReLU for GELU", _encoder_activation(middle), (Part("neurons", middle),)),
        Fault("a bias dropped: the MLP's first Linear", _bias(1, "up"), (Part("neurons", 1),)),
        Fault("a bias dropped: the attention's last Linear", _bias(1, "attention"), (Part("attention", 1),)),
        Fault("one channel twice as large", _weight(middle, "down", _scaled), (Part("layer", middle),)),
        Fault("heads in another order", _weight(last, "value", _heads(head_size)), (Part("heads", last),)),
        Fault("attention scores not scaled", _attention_scale(1), (Part("heads", 1),)),
        Fault("positions off by one", _positions, (Part("embeddings"),)),
        Fault("two rows of the embedding exchanged", _swapped_rows(50, 60), (Part("embeddings"),)),
        Fault("positions left out", _no_positions, (Part("embeddings"),)),
        Fault("the mask ignored", _mask_ignored, (Part("heads", 0),)),
        Fault("the pooler transposed", _head_linear(2, np.transpose), (Part("head"),)),
        Fault("a label's bias off", _classifier_bias, (Part("output"),)),
        Fault("a zero point off by one", _zero_point, (Part("layer", 1),), packed=True, rounded=True),
    ]


def decoder_faults(layers: int) -> list[Fault]:
    """Faults of a decoder of the Llama family with `layers` layers, at least 3."""
    middle, last = layers // 2, layers - 1
    return [
        Fault("another rope theta", _theta, (Part("keys", 0), Part("heads", 0)), decodes=True),
        Fault("rotary positions at half the pace", _offset, (Part("keys", 0), Part("heads", 0)), decodes=True),
        Fault("keys' heads in another order", _key_heads(middle), (Part("keys", middle),), decodes=True),
        Fault("values' heads in another order", _value_heads(1), (Part("values", 1),), decodes=True),
        Fault("SiLU with another factor", _decoder_activation(middle), (Part("neurons", middle),), decodes=True),
        Fault("gate and up exchanged", _gate(last), (Part("neurons", last),), decodes=True),
        Fault("a window of 4 tokens", _window(1), (Part("heads", 1),), decodes=True),
        Fault("a norm's weight less one", _constant(f"layer.{middle}.mlp.norm.weight", _less_one), (Part("neurons", middle),), decodes=True),
        Fault("a damaged weight: the MLP's last Linear", _constant(f"layer.{last}.mlp.down.weight", _noise), (Part("layer", last),), decodes=True),
        Fault("the last norm's weight less one", _constant("head.norm.weight", _less_one), (Part("head"),), decodes=True),
    ]  # fmt: skip
