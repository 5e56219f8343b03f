"""A decoder language model as one ONNX graph for prompt and single tokens alike, with its cache of keys and values outside.

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

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir import tape

from edgekit.errors import EdgekitError
from edgekit.exporter.head_padding import padded
from edgekit.models.decoders import Decoder, Layer, Linear, Mlp, Norm, Rotary
from edgekit.models.decoders.weights import Weight
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.progress import Progress, silent
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA

__all__ = ["OPSET", "cos_sin", "write_graph"]

OPSET = 20
SMALL = 1024
"""Numbers up to which a constant stays inside the graph file."""


@dataclass
class _Sheet:
    """The graph as it is written: nodes, constants, and the values that every layer reads."""

    tape: tape.Tape = field(default_factory=tape.Tape)
    constants: dict[str, ir.Value] = field(default_factory=dict)

    def op(self, kind: str, inputs: list[Any], name: str, domain: str = "", **options: Any) -> Any:
        found = self.tape.op(kind, inputs, options, domain=domain, name=name)
        found.name = name
        return found

    def ops(self, kind: str, inputs: list[Any], outputs: list[str], name: str, domain: str = "", **options: Any) -> Any:
        """Several outputs; "" leaves one out."""
        found = self.tape.op_multi_out(kind, inputs, options, num_outputs=len(outputs), domain=domain, name=name)
        for value, called in zip(found, outputs, strict=True):
            value.name = called
        return found

    def weight(self, name: str, weight: Weight, *, turn: bool = False) -> ir.Value:
        """A constant that is read when the file is written; `turn`: transposed."""
        shape = weight.shape[::-1] if turn else weight.shape

        def read() -> ir.Tensor[Any]:
            array = weight.read()
            return ir.tensor(np.ascontiguousarray(array.T if turn else array), name=name)

        return self._keep(name, ir.LazyTensor(read, dtype=ir.DataType.FLOAT, shape=ir.Shape(shape), name=name))

    def array(self, name: str, array: np.ndarray) -> ir.Value:
        """A small constant; the same name is the same constant."""
        return self.constants.get(name) or self._keep(name, ir.tensor(array, name=name))

    def _keep(self, name: str, tensor: Any) -> ir.Value:
        self.constants[name] = self.tape.initializer(tensor, name=name)
        return self.constants[name]


def write_graph(decoder: Decoder, out: Path, progress: Progress = silent) -> None:
    """Write `model.onnx` and `model.onnx.data` to folder `out`.

    Raises:
        BadInput: heads that no kernel takes.
    """
    decoder = padded(decoder)
    sheet = _Sheet()
    inputs = {
        name: ir.val(name, ir.DataType[kind], shape)
        for name, kind, shape in (
            ("input_ids", "INT64", ("batch", "sequence")),
            ("seqlens_k", "INT32", ("batch",)),
            ("total_sequence_length", "INT32", ()),
            ("keep", "INT64", (1,)),
        )
    }
    table = sheet.weight("embedding", decoder.embedding)
    x = sheet.op("Gather", [table, inputs["input_ids"]], "embed")
    if decoder.embedding_scale != 1.0:
        x = sheet.op(
            "Mul", [x, sheet.array("embed.scale", np.array(decoder.embedding_scale, dtype=np.float32))], "embed.scaled"
        )
    if decoder.positions is not None:
        x = sheet.op("Add", [x, _positions(sheet, decoder.positions, inputs)], "embed.placed")
    for name, rotary in decoder.rotaries.items():
        cos, sin = cos_sin(rotary, decoder.context)
        sheet.array(f"cos.{name}", cos)
        sheet.array(f"sin.{name}", sin)
    caches: list[ir.Value] = []
    presents: list[ir.Value] = []
    delta: ir.Value | None = None
    for number, layer in enumerate(decoder.layers):
        shape = ("batch", layer.attention.kv_heads, "capacity", layer.attention.head_size)
        past = [ir.val(f"past.{number}.{part}", ir.DataType.FLOAT, shape) for part in ("key", "value")]
        x, delta, present = _layer(sheet, layer, f"layer.{number}", x, delta, past, inputs)
        caches, presents = [*caches, *past], [*presents, *present]
        for value, given in zip(present, past, strict=True):
            value.name, value.type, value.shape = given.name.replace("past", "present"), given.type, ir.Shape(shape)
    logits = _head(sheet, decoder, x, delta, table, inputs["keep"])
    logits.type, logits.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(("batch", "kept", decoder.vocabulary))
    graph = ir.Graph(
        [*inputs.values(), *caches],
        [logits, *presents],
        nodes=sheet.tape.nodes,
        initializers=sheet.tape.initializers,
        opset_imports={"": OPSET, MICROSOFT: 1},
        name="decoder",
    )

    def tell(tensor: Any, info: Any) -> None:
        progress(info.index, info.total, f"export: {tensor.name}")

    model = ir.Model(graph, ir_version=10, producer_name="edgekit")
    try:
        ir.save(model, out / MODEL, external_data=MODEL_DATA, size_threshold_bytes=SMALL * 4, callback=tell)
    except ir.serde.SerdeError as fault:  # what reading a weight raised stands behind the library's own error
        raise _first(fault) from None


def _first(fault: BaseException) -> BaseException:
    """The error of edgekit that led to `fault`, or `fault`."""
    cause: BaseException | None = fault
    while cause is not None and not isinstance(cause, EdgekitError):
        cause = cause.__cause__
    return cause or fault


def cos_sin(rotary: Rotary, context: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 (context, rotated / 2) each: cosine and sine of position x frequency, times the attention factor."""
    angles = np.arange(context, dtype=np.float32)[:, None] * rotary.frequency[None]
    scale = np.float32(rotary.scale)
    return np.cos(angles) * scale, np.sin(angles) * scale


def _positions(sheet: _Sheet, table: Weight, inputs: dict[str, ir.Value]) -> ir.Value:
    """Rows of learned positions: those of the last s of each row's tokens."""
    one, zero = sheet.array("one", np.array(1)), sheet.array("zero", np.array(0))
    shape = sheet.op("Shape", [inputs["input_ids"]], "positions.shape")
    length = sheet.op("Gather", [shape, one], "positions.length")
    ends = sheet.op("Cast", [inputs["seqlens_k"]], "positions.ends", to=ir.DataType.INT64)
    starts = sheet.op("Sub", [ends, sheet.op("Sub", [length, one], "positions.before")], "positions.starts")
    column = sheet.op("Unsqueeze", [starts, sheet.array("axis.1", np.array([1]))], "positions.column")
    steps = sheet.op("Range", [zero, length, one], "positions.steps")
    places = sheet.op("Add", [column, steps], "positions.places")
    return sheet.op("Gather", [sheet.weight("positions.table", table), places], "positions")


def _layer(
    sheet: _Sheet, layer: Layer, name: str, x: Any, delta: Any, past: list[ir.Value], inputs: dict[str, ir.Value]
) -> tuple[Any, Any, list[ir.Value]]:
    """(residual, what is still to be added to it, present key and value)."""
    normed, x = _add_norm(sheet, layer.attention_norm, f"{name}.attention.norm", x, delta)
    mixed, present = _attention(sheet, layer, f"{name}.attention", normed, past, inputs)
    if layer.after_attention is not None:
        mixed = _norm(sheet, layer.after_attention, f"{name}.attention.after", mixed)
    if layer.parallel:
        read = normed if layer.mlp_norm is None else _norm(sheet, layer.mlp_norm, f"{name}.mlp.norm", x)
        return x, sheet.op("Add", [mixed, _mlp(sheet, layer.mlp, f"{name}.mlp", read)], f"{name}.both"), present
    assert layer.mlp_norm is not None, "only a parallel MLP has no norm of its own"
    normed, x = _add_norm(sheet, layer.mlp_norm, f"{name}.mlp.norm", x, mixed)
    changed = _mlp(sheet, layer.mlp, f"{name}.mlp", normed)
    if layer.after_mlp is not None:
        changed = _norm(sheet, layer.after_mlp, f"{name}.mlp.after", changed)
    return x, changed, present


def _attention(
    sheet: _Sheet, layer: Layer, name: str, x: Any, past: list[ir.Value], inputs: dict[str, ir.Value]
) -> tuple[Any, list[ir.Value]]:
    part = layer.attention
    packed = _linear(sheet, part.qkv, f"{name}.qkv", x)
    query, key, value = packed, None, None
    if part.q_norm is not None and part.k_norm is not None:
        widths = np.array([part.heads, part.kv_heads, part.kv_heads]) * part.head_size
        split = sheet.array(f"split.{'.'.join(map(str, widths))}", widths.astype(np.int64))
        query, key, value = sheet.ops(
            "Split", [packed, split], [f"{name}.{kind}" for kind in ("q", "k", "v")], f"{name}.split", axis=-1
        )
        query = _per_head(sheet, part.q_norm, f"{name}.q_norm", query, part.head_size)
        key = _per_head(sheet, part.k_norm, f"{name}.k_norm", key, part.head_size)
    tables = [sheet.constants[f"{kind}.{part.rotary}"] for kind in ("cos", "sin")] if part.rotary else []
    found = sheet.ops(
        "GroupQueryAttention",
        [query, key, value, *past, inputs["seqlens_k"], inputs["total_sequence_length"], *tables],
        [f"{name}.mixed", f"{name}.present.key", f"{name}.present.value"],
        f"{name}.gqa",
        domain=MICROSOFT,
        num_heads=part.heads,
        kv_num_heads=part.kv_heads,
        scale=part.scale,
        do_rotary=int(part.rotary is not None),
        local_window_size=-1 if part.window is None else part.window,
        softcap=part.softcap,
    )
    return _linear(sheet, part.out, f"{name}.out", found[0]), list(found[1:])


def _per_head(sheet: _Sheet, norm: Norm, name: str, x: Any, size: int) -> Any:
    """`norm` over each head's numbers of x (b, s, heads * size)."""
    heads = sheet.op("Reshape", [x, sheet.array(f"by.{size}", np.array([0, 0, -1, size]))], f"{name}.heads")
    flat = sheet.array("flat", np.array([0, 0, -1]))
    return sheet.op("Reshape", [_norm(sheet, norm, name, heads), flat], f"{name}.flat")


def _mlp(sheet: _Sheet, mlp: Mlp, name: str, x: Any) -> Any:
    up = _linear(sheet, mlp.up, f"{name}.up", x)
    if mlp.gate is None:
        return _linear(sheet, mlp.down, f"{name}.down", _activation(sheet, mlp, name, up))
    gate = _activation(sheet, mlp, name, _linear(sheet, mlp.gate, f"{name}.gate", x))
    return _linear(sheet, mlp.down, f"{name}.down", sheet.op("Mul", [gate, up], f"{name}.gated"))


def _activation(sheet: _Sheet, mlp: Mlp, name: str, x: Any) -> Any:
    if mlp.activation == "silu":  # QuickGelu is x * sigmoid(alpha * x)
        return sheet.op("QuickGelu", [x], f"{name}.activation", domain=MICROSOFT, alpha=1.0)
    if mlp.activation == "relu":
        return sheet.op("Relu", [x], f"{name}.activation")
    return sheet.op("Gelu", [x], f"{name}.activation", approximate="tanh" if mlp.activation == "gelu_tanh" else "none")


def _linear(sheet: _Sheet, linear: Linear, name: str, x: Any) -> Any:
    product = sheet.op("MatMul", [x, sheet.weight(f"{name}.weight", linear.weight, turn=True)], name)
    return (
        product
        if linear.bias is None
        else sheet.op("Add", [product, sheet.weight(f"{name}.bias", linear.bias)], f"{name}.biased")
    )


def _norm(sheet: _Sheet, norm: Norm, name: str, x: Any) -> Any:
    weight = sheet.weight(f"{name}.weight", norm.weight)
    if norm.rms:
        return sheet.op("SimplifiedLayerNormalization", [x, weight], name, axis=-1, epsilon=norm.epsilon, stash_type=1)
    assert norm.bias is not None, "LayerNorm has a bias"
    bias = sheet.weight(f"{name}.bias", norm.bias)
    return sheet.op("LayerNormalization", [x, weight, bias], name, axis=-1, epsilon=norm.epsilon)


def _add_norm(sheet: _Sheet, norm: Norm, name: str, x: Any, delta: Any) -> tuple[Any, Any]:
    """(norm of x + delta, x + delta); delta None: (norm of x, x).

    With a root mean square the sum is part of the norm's operator, which is as fast as the two apart. SkipLayerNormalization is not:
    its CPU kernel adds number after number. With ONNX Runtime 1.32.0 on an AVX-512 chip, one thread, a prompt of 128 tokens took a model
    of GPT-2's shape 264 ms with it and 250 ms without, and with 8-bit weights 194 ms and 179 ms (medians, interleaved); single
    tokens took the same.
    """
    if delta is None:
        return _norm(sheet, norm, name, x), x
    if not norm.rms:
        whole = sheet.op("Add", [x, delta], f"{name}.sum")
        return _norm(sheet, norm, name, whole), whole
    given = [x, delta, sheet.weight(f"{name}.weight", norm.weight)]
    outputs = [name, f"{name}.mean", f"{name}.deviation", f"{name}.sum"]
    found = sheet.ops("SkipSimplifiedLayerNormalization", given, outputs, name, domain=MICROSOFT, epsilon=norm.epsilon)
    return found[0], found[3]


def _head(sheet: _Sheet, decoder: Decoder, x: Any, delta: Any, table: ir.Value, keep: ir.Value) -> Any:
    """Logits of the last `keep` positions; the others are cut off before the last norm."""
    start = sheet.op("Neg", [keep], "head.start")
    end, axis = sheet.array("head.end", np.array([2**31 - 1])), sheet.array("axis.1", np.array([1]))
    whole = sheet.op("Add", [x, delta], "head.sum")
    x = _norm(sheet, decoder.norm, "head.norm", sheet.op("Slice", [whole, start, end, axis], "head.kept"))
    if decoder.head is not None:
        logits = _linear(sheet, decoder.head, "head", x)
    else:
        logits = sheet.op("FusedMatMul", [x, table], "head", domain=MICROSOFT, transB=1)
    if decoder.softcap:
        cap = sheet.array("head.cap", np.array(decoder.softcap, dtype=np.float32))
        bent = sheet.op("Tanh", [sheet.op("Div", [logits, cap], "head.scaled")], "head.bent")
        logits = sheet.op("Mul", [bent, cap], "head.capped")
    logits.name = "logits"
    return logits
