"""A decoder as one ONNX graph for prompt and single tokens alike, with its cache of keys and values as inputs and outputs.

    input_ids int64 (b, s), seqlens_k int32 (b,): tokens in the cache after this run, less one,
    total_sequence_length int32 (): their largest, plus one, keep int64 (1,): positions from the end that logits are wanted for,
    past.N.key / past.N.value float32 (b, kv_heads, capacity, head_size)
    -> logits float32 (b, keep, vocabulary), present.N.key / present.N.value: where past and present are the same memory,
       the kernel writes the new tokens in place and copies nothing

The graph is written from the checkpoint's description, not traced: attention is ONNX Runtime's GroupQueryAttention
(contrib_ops/cpu/bert/group_query_attention.cc), which rotates, masks and appends to the cache in one operator, and every
weight goes from its safetensors file to the model's data file by itself, so memory holds one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir import tape

from edgekit.errors import EdgekitError
from edgekit.exporter.head_padding import pad_heads
from edgekit.models.decoders import Attention, Decoder, Layer, Linear, Mlp, Norm, Rotary
from edgekit.models.decoders.weights import Weight
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.progress import Progress, silent
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA

if TYPE_CHECKING:
    from onnx_ir.external_data import CallbackInfo

__all__ = ["OPSET", "build_graph", "cos_sin", "write_graph"]

OPSET = 20
SMALL = 1024
"""Float32 elements up to which a constant stays inside the graph file."""


Attribute: TypeAlias = int | float | str | ir.DataType


@dataclass
class _Builder:
    """The graph as it is written: nodes, constants, and the values that every layer reads."""

    tape: tape.Tape = field(default_factory=tape.Tape)
    constants: dict[str, ir.Value] = field(default_factory=dict)

    def op(
        self, op_type: str, inputs: Sequence[ir.Value | None], name: str, domain: str = "", **attributes: Attribute
    ) -> ir.Value:
        """The output of a new node; both are called `name`."""
        output = self.tape.op(op_type, inputs, attributes, domain=domain, name=name)
        output.name = name
        return output

    def ops(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        outputs: Sequence[str],
        name: str,
        domain: str = "",
        **attributes: Attribute,
    ) -> list[ir.Value]:
        """The outputs, called `outputs`, of a new node called `name`."""
        values = self.tape.op_multi_out(op_type, inputs, attributes, num_outputs=len(outputs), domain=domain, name=name)
        for value, output in zip(values, outputs, strict=True):
            value.name = output
        return list(values)

    def weight(self, name: str, weight: Weight, *, transpose: bool = False) -> ir.Value:
        """A constant that is read when the file is written."""
        shape = weight.shape[::-1] if transpose else weight.shape

        def read() -> ir.Tensor[np.ndarray]:
            array = weight.read()
            return ir.tensor(np.ascontiguousarray(array.T if transpose else array), name=name)

        return self._add(name, ir.LazyTensor(read, dtype=ir.DataType.FLOAT, shape=ir.Shape(shape), name=name))

    def array(self, name: str, array: np.ndarray) -> ir.Value:
        """A small constant; the same name is the same constant."""
        return self.constants.get(name) or self._add(name, ir.tensor(array, name=name))

    def _add(self, name: str, tensor: ir.TensorProtocol) -> ir.Value:
        self.constants[name] = self.tape.initializer(tensor, name=name)
        return self.constants[name]


def write_graph(decoder: Decoder, out: Path, progress: Progress = silent) -> None:
    """Write `model.onnx` and `model.onnx.data` to folder `out`.

    Raises:
        BadInput: heads that no kernel takes.
    """
    model = ir.Model(build_graph(pad_heads(decoder)), ir_version=10, producer_name="edgekit")

    def report(tensor: ir.TensorProtocol, info: CallbackInfo) -> None:
        progress(info.index, info.total, f"export: {tensor.name}")

    try:
        ir.save(model, out / MODEL, external_data=MODEL_DATA, size_threshold_bytes=SMALL * 4, callback=report)
    except ir.serde.SerdeError as fault:  # what reading a weight raised is among the causes of the library's own error
        raise _own_error(fault) from None


def _own_error(fault: BaseException) -> BaseException:
    """The error of edgekit that led to `fault`, or `fault`."""
    cause: BaseException | None = fault
    while cause is not None and not isinstance(cause, EdgekitError):
        cause = cause.__cause__
    return cause or fault


def build_graph(decoder: Decoder) -> ir.Graph:
    """The graph of `decoder`, whose heads a kernel takes; weights are read when it is saved."""
    builder = _Builder()
    inputs = {
        name: ir.val(name, ir.DataType[dtype], shape)
        for name, dtype, shape in (
            ("input_ids", "INT64", ("batch", "sequence")),
            ("seqlens_k", "INT32", ("batch",)),
            ("total_sequence_length", "INT32", ()),
            ("keep", "INT64", (1,)),
        )
    }
    embedding = builder.weight("embedding", decoder.embedding)
    x = _embed(builder, decoder, embedding, inputs)
    for name, rotary in decoder.rotaries.items():
        cos, sin = cos_sin(rotary, decoder.context)
        builder.array(f"cos.{name}", cos)
        builder.array(f"sin.{name}", sin)
    pasts: list[ir.Value] = []
    presents: list[ir.Value] = []
    delta: ir.Value | None = None
    for number, layer in enumerate(decoder.layers):
        shape = ("batch", layer.attention.kv_heads, "capacity", layer.attention.head_size)
        past = [ir.val(f"past.{number}.{part}", ir.DataType.FLOAT, shape) for part in ("key", "value")]
        x, delta, present = _layer(builder, layer, f"layer.{number}", x, delta, past, inputs)
        pasts, presents = [*pasts, *past], [*presents, *present]
        for after, before in zip(present, past, strict=True):
            after.name, after.type, after.shape = str(before.name).replace("past", "present"), before.type, ir.Shape(shape)
    assert delta is not None, "a decoder has layers"
    logits = _head(builder, decoder, x, delta, embedding, inputs["keep"])
    logits.type, logits.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(("batch", "kept", decoder.vocabulary))
    return ir.Graph(
        [*inputs.values(), *pasts],
        [logits, *presents],
        nodes=builder.tape.nodes,
        initializers=builder.tape.initializers,
        opset_imports={"": OPSET, MICROSOFT: 1},
        name="decoder",
    )


def _embed(builder: _Builder, decoder: Decoder, embedding: ir.Value, inputs: Mapping[str, ir.Value]) -> ir.Value:
    """(b, s, hidden): the tokens' embeddings, scaled and with learned positions where the model has them."""
    x = builder.op("Gather", [embedding, inputs["input_ids"]], "embed")
    if decoder.embedding_scale != 1.0:
        scale = builder.array("embed.scale", np.array(decoder.embedding_scale, dtype=np.float32))
        x = builder.op("Mul", [x, scale], "embed.scaled")
    if decoder.positions is not None:
        x = builder.op("Add", [x, _positions(builder, decoder.positions, inputs)], "embed.placed")
    return x


def cos_sin(rotary: Rotary, context: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 (context, rotated / 2) each: cosine and sine of position x frequency, times the attention factor."""
    angles = np.arange(context, dtype=np.float32)[:, None] * rotary.frequency[None]
    scale = np.float32(rotary.scale)
    return np.cos(angles) * scale, np.sin(angles) * scale


def _positions(builder: _Builder, table: Weight, inputs: Mapping[str, ir.Value]) -> ir.Value:
    """Rows of learned positions: those of the last s of each row's tokens."""
    one, zero = builder.array("one", np.array(1)), builder.array("zero", np.array(0))
    shape = builder.op("Shape", [inputs["input_ids"]], "positions.shape")
    length = builder.op("Gather", [shape, one], "positions.length")
    ends = builder.op("Cast", [inputs["seqlens_k"]], "positions.ends", to=ir.DataType.INT64)
    starts = builder.op("Sub", [ends, builder.op("Sub", [length, one], "positions.before")], "positions.starts")
    column = builder.op("Unsqueeze", [starts, builder.array("axis.1", np.array([1]))], "positions.column")
    steps = builder.op("Range", [zero, length, one], "positions.steps")
    rows = builder.op("Add", [column, steps], "positions.places")
    return builder.op("Gather", [builder.weight("positions.table", table), rows], "positions")


def _layer(
    builder: _Builder,
    layer: Layer,
    name: str,
    x: ir.Value,
    delta: ir.Value | None,
    past: list[ir.Value],
    inputs: Mapping[str, ir.Value],
) -> tuple[ir.Value, ir.Value, list[ir.Value]]:
    """(residual stream, the last block's output that is still to be added to it, present key and value).

    `delta` is the layer before's second result; it is added where the first norm is.
    """
    normed, x = _add_norm(builder, layer.attention_norm, f"{name}.attention.norm", x, delta)
    attended, present = _attention(builder, layer.attention, f"{name}.attention", normed, past, inputs)
    if layer.after_attention is not None:
        attended = _norm(builder, layer.after_attention, f"{name}.attention.after", attended)
    if layer.parallel:
        mlp_input = normed if layer.mlp_norm is None else _norm(builder, layer.mlp_norm, f"{name}.mlp.norm", x)
        mlp_output = _mlp(builder, layer.mlp, f"{name}.mlp", mlp_input)
        return x, builder.op("Add", [attended, mlp_output], f"{name}.both"), present
    assert layer.mlp_norm is not None, "only a parallel MLP has no norm of its own"
    normed, x = _add_norm(builder, layer.mlp_norm, f"{name}.mlp.norm", x, attended)
    mlp_output = _mlp(builder, layer.mlp, f"{name}.mlp", normed)
    if layer.after_mlp is not None:
        mlp_output = _norm(builder, layer.after_mlp, f"{name}.mlp.after", mlp_output)
    return x, mlp_output, present


def _attention(
    builder: _Builder, attention: Attention, name: str, x: ir.Value, past: list[ir.Value], inputs: Mapping[str, ir.Value]
) -> tuple[ir.Value, list[ir.Value]]:
    """(attention's output (b, s, hidden), present key and value)."""
    query = _linear(builder, attention.qkv, f"{name}.qkv", x)
    key, value = None, None  # where the operator splits the packed query, key and value by itself
    if attention.q_norm is not None and attention.k_norm is not None:
        sizes = np.array([attention.heads, attention.kv_heads, attention.kv_heads]) * attention.head_size
        split = builder.array(f"split.{'.'.join(map(str, sizes))}", sizes.astype(np.int64))
        query, key, value = builder.ops(
            "Split", [query, split], [f"{name}.{kind}" for kind in ("q", "k", "v")], f"{name}.split", axis=-1
        )
        query = _per_head(builder, attention.q_norm, f"{name}.q_norm", query, attention.head_size)
        key = _per_head(builder, attention.k_norm, f"{name}.k_norm", key, attention.head_size)
    tables = [builder.constants[f"{function}.{attention.rotary}"] for function in ("cos", "sin")] if attention.rotary else []
    mixed, *present = builder.ops(
        "GroupQueryAttention",
        [query, key, value, *past, inputs["seqlens_k"], inputs["total_sequence_length"], *tables],
        [f"{name}.mixed", f"{name}.present.key", f"{name}.present.value"],
        f"{name}.gqa",
        domain=MICROSOFT,
        num_heads=attention.heads,
        kv_num_heads=attention.kv_heads,
        scale=attention.scale,
        do_rotary=int(attention.rotary is not None),
        local_window_size=-1 if attention.window is None else attention.window,
        softcap=attention.softcap,
    )
    return _linear(builder, attention.out, f"{name}.out", mixed), present


def _per_head(builder: _Builder, norm: Norm, name: str, x: ir.Value, size: int) -> ir.Value:
    """`norm` over each head of x (b, s, heads * size)."""
    heads = builder.op("Reshape", [x, builder.array(f"by.{size}", np.array([0, 0, -1, size]))], f"{name}.heads")
    flat = builder.array("flat", np.array([0, 0, -1]))
    return builder.op("Reshape", [_norm(builder, norm, name, heads), flat], f"{name}.flat")


def _mlp(builder: _Builder, mlp: Mlp, name: str, x: ir.Value) -> ir.Value:
    up = _linear(builder, mlp.up, f"{name}.up", x)
    if mlp.gate is None:
        return _linear(builder, mlp.down, f"{name}.down", _activation(builder, mlp, name, up))
    gate = _activation(builder, mlp, name, _linear(builder, mlp.gate, f"{name}.gate", x))
    return _linear(builder, mlp.down, f"{name}.down", builder.op("Mul", [gate, up], f"{name}.gated"))


def _activation(builder: _Builder, mlp: Mlp, name: str, x: ir.Value) -> ir.Value:
    if mlp.activation == "silu":  # QuickGelu is x * sigmoid(alpha * x)
        return builder.op("QuickGelu", [x], f"{name}.activation", domain=MICROSOFT, alpha=1.0)
    if mlp.activation == "relu":
        return builder.op("Relu", [x], f"{name}.activation")
    return builder.op("Gelu", [x], f"{name}.activation", approximate="tanh" if mlp.activation == "gelu_tanh" else "none")


def _linear(builder: _Builder, linear: Linear, name: str, x: ir.Value) -> ir.Value:
    output = builder.op("MatMul", [x, builder.weight(f"{name}.weight", linear.weight, transpose=True)], name)
    if linear.bias is None:
        return output
    return builder.op("Add", [output, builder.weight(f"{name}.bias", linear.bias)], f"{name}.biased")


def _norm(builder: _Builder, norm: Norm, name: str, x: ir.Value) -> ir.Value:
    weight = builder.weight(f"{name}.weight", norm.weight)
    if norm.rms:
        return builder.op("SimplifiedLayerNormalization", [x, weight], name, axis=-1, epsilon=norm.epsilon, stash_type=1)
    assert norm.bias is not None, "LayerNorm has a bias"
    bias = builder.weight(f"{name}.bias", norm.bias)
    return builder.op("LayerNormalization", [x, weight, bias], name, axis=-1, epsilon=norm.epsilon)


def _add_norm(builder: _Builder, norm: Norm, name: str, x: ir.Value, delta: ir.Value | None) -> tuple[ir.Value, ir.Value]:
    """(norm of x + delta, x + delta); delta None: (norm of x, x).

    With RMS norm the sum is part of the norm's operator, which is as fast as the two apart. SkipLayerNormalization is not: its CPU
    kernel is not vectorised. With ONNX Runtime 1.32.0 on an AVX-512 CPU, one thread, a prompt of 128 tokens took a model
    of GPT-2's shape 264 ms with it and 250 ms without, and with 8-bit weights 194 ms and 179 ms (medians, interleaved); single
    tokens took the same.
    """
    if delta is None:
        return _norm(builder, norm, name, x), x
    if not norm.rms:
        total = builder.op("Add", [x, delta], f"{name}.sum")
        return _norm(builder, norm, name, total), total
    terms = [x, delta, builder.weight(f"{name}.weight", norm.weight)]
    outputs = [name, f"{name}.mean", f"{name}.deviation", f"{name}.sum"]
    normed, _, _, total = builder.ops(
        "SkipSimplifiedLayerNormalization", terms, outputs, name, domain=MICROSOFT, epsilon=norm.epsilon
    )
    return normed, total


def _head(builder: _Builder, decoder: Decoder, x: ir.Value, delta: ir.Value, embedding: ir.Value, keep: ir.Value) -> ir.Value:
    """Logits (b, keep, vocabulary) of the last `keep` positions; the others are cut off before the last norm."""
    start = builder.op("Neg", [keep], "head.start")
    end, axis = builder.array("head.end", np.array([2**31 - 1])), builder.array("axis.1", np.array([1]))
    total = builder.op("Add", [x, delta], "head.sum")
    x = _norm(builder, decoder.norm, "head.norm", builder.op("Slice", [total, start, end, axis], "head.kept"))
    if decoder.head is not None:
        logits = _linear(builder, decoder.head, "head", x)
    else:
        logits = builder.op("FusedMatMul", [x, embedding], "head", domain=MICROSOFT, transB=1)
    if decoder.softcap:
        cap = builder.array("head.cap", np.array(decoder.softcap, dtype=np.float32))
        squashed = builder.op("Tanh", [builder.op("Div", [logits, cap], "head.scaled")], "head.bent")
        logits = builder.op("Mul", [squashed, cap], "head.capped")
    logits.name = "logits"
    return logits
