"""A decoder of two layers made by hand, its float64 twin in numpy, and tokenizers small enough to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.runtime.generate.generation import Generation

HEADS, KV_HEADS, SIZE = 4, 2, 16
WIDTH, INNER, LAYERS = HEADS * SIZE, 96, 2
CONTEXT = 128
MICROSOFT = "com.microsoft"
TINY = Generation(CONTEXT, (2,), 1, LAYERS, KV_HEADS, SIZE, None)


@dataclass(frozen=True)
class TinyDecoder:
    """Weights float32 by name, and what the graph made of them must compute."""

    weights: dict[str, np.ndarray]
    vocabulary: int

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """float64 (s, vocabulary) of ids (s,), every position attending to itself and all before."""
        weights = {name: array.astype(np.float64) for name, array in self.weights.items()}
        x = weights["table"][ids]
        count = len(ids)
        future = np.triu(np.full((count, count), -np.inf), 1)
        for number in range(LAYERS):
            packed = x @ weights[f"{number}.qkv"]
            query, key, value = np.split(packed, [HEADS * SIZE, (HEADS + KV_HEADS) * SIZE], axis=-1)
            query = turned(query.reshape(count, HEADS, SIZE), weights)
            key = turned(key.reshape(count, KV_HEADS, SIZE), weights)
            value = value.reshape(count, KV_HEADS, SIZE)
            mixed = np.empty((count, HEADS, SIZE))
            for head in range(HEADS):
                group = head // (HEADS // KV_HEADS)
                scores = query[:, head] @ key[:, group].T / np.sqrt(SIZE) + future
                shares = np.exp(scores - scores.max(-1, keepdims=True))
                mixed[:, head] = shares / shares.sum(-1, keepdims=True) @ value[:, group]
            x = x + mixed.reshape(count, -1) @ weights[f"{number}.out"]
            x = x + np.maximum(x @ weights[f"{number}.up"], 0) @ weights[f"{number}.down"]
        return np.asarray(x @ weights["head"])


def turned(x: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """x (s, heads, size) with its halves rotated against each other by position."""
    cos, sin = (weights[name][: len(x), None] for name in ("cos", "sin"))
    low, high = x[..., : SIZE // 2], x[..., SIZE // 2 :]
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


def make_decoder(vocabulary: int, seed: int = 0, context: int = CONTEXT) -> TinyDecoder:
    generator = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return (generator.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)

    angles = np.arange(context)[:, None] * 10_000.0 ** (-np.arange(SIZE // 2) / (SIZE // 2))
    weights = {"table": drawn(vocabulary, WIDTH) * 8, "cos": np.cos(angles), "sin": np.sin(angles)}
    for number in range(LAYERS):
        weights[f"{number}.qkv"] = drawn(WIDTH, (HEADS + 2 * KV_HEADS) * SIZE)
        weights[f"{number}.out"] = drawn(HEADS * SIZE, WIDTH)
        weights[f"{number}.up"] = drawn(WIDTH, INNER)
        weights[f"{number}.down"] = drawn(INNER, WIDTH)
    weights["head"] = drawn(WIDTH, vocabulary) * 3
    return TinyDecoder({name: array.astype(np.float32) for name, array in weights.items()}, vocabulary)


def write_decoder(decoder: TinyDecoder, folder: Path, cache: str = "FLOAT") -> Path:
    """`model.onnx` with its data beside it, by the contract of a decoder's graph; `cache`: FLOAT, FLOAT16 or INT8."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True, exist_ok=True)
    shape, kind = ["batch", KV_HEADS, "capacity", SIZE], TensorProto.DataType.Value(cache)
    scales, options = [], {}
    if cache == "INT8":
        scales = [*[""] * 3, "scale", "scale"]
        options = {"k_quant_type": "PER_TENSOR", "v_quant_type": "PER_TENSOR", "kv_cache_bit_width": 8}
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"]),
        helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, ["batch"]),
        helper.make_tensor_value_info("total_sequence_length", TensorProto.INT32, []),
        helper.make_tensor_value_info("keep", TensorProto.INT64, [1]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "kept", decoder.vocabulary])]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["x.0"])]
    for number in range(LAYERS):
        past, present = ([f"{when}.{number}.{part}" for part in ("key", "value")] for when in ("past", "present"))
        inputs += [helper.make_tensor_value_info(name, kind, shape) for name in past]
        outputs += [helper.make_tensor_value_info(name, kind, shape) for name in present]
        nodes += [
            helper.make_node("MatMul", [f"x.{number}", f"{number}.qkv"], [f"{number}.packed"]),
            helper.make_node(
                "GroupQueryAttention",
                [f"{number}.packed", "", "", *past, "seqlens_k", "total_sequence_length", "cos", "sin", *scales],
                [f"{number}.mixed", *present],
                domain=MICROSOFT, num_heads=HEADS, kv_num_heads=KV_HEADS, do_rotary=1, **options,
            ),
            helper.make_node("MatMul", [f"{number}.mixed", f"{number}.out"], [f"{number}.added"]),
            helper.make_node("Add", [f"x.{number}", f"{number}.added"], [f"{number}.y"]),
            helper.make_node("MatMul", [f"{number}.y", f"{number}.up"], [f"{number}.inner"]),
            helper.make_node("Relu", [f"{number}.inner"], [f"{number}.active"]),
            helper.make_node("MatMul", [f"{number}.active", f"{number}.down"], [f"{number}.more"]),
            helper.make_node("Add", [f"{number}.y", f"{number}.more"], [f"x.{number + 1}"]),
        ]  # fmt: skip
    nodes += [
        helper.make_node("Neg", ["keep"], ["start"]),
        helper.make_node("Slice", [f"x.{LAYERS}", "start", "end", "axis"], ["kept"]),
        helper.make_node("MatMul", ["kept", "head"], ["logits"]),
    ]
    constants = {**decoder.weights, "end": np.array([2**31 - 1]), "axis": np.array([1])}
    if cache == "INT8":
        constants["scale"] = np.array([0.05], dtype=np.float32)
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, initializers)
    imports = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    onnx.save(model, str(folder / "model.onnx"), save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    return folder
