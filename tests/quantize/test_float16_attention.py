"""Attention rewritten for the CUDA provider means the same, padding included, and reads no shape."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from edgekit.quantize.float16_attention import for_cuda


def run(path: Path, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input_ids": ids, "attention_mask": mask})[0])


def test_padded_rows_answer_as_before(tiny_export: Path, tmp_path: Path) -> None:
    source, out = tiny_export / "fused.onnx", tmp_path / "rewritten.onnx"
    model = ir.load(source)
    attentions = sum(node.op_type == "MultiHeadAttention" for node in model.graph)
    assert for_cuda(model.graph) == attentions > 0
    ir.save(model, out)
    generator = np.random.default_rng(0)
    ids = generator.integers(5, 50, (3, 12))
    mask = np.ones_like(ids)
    mask[1, 5:], mask[2, 11:] = 0, 0
    np.testing.assert_allclose(run(out, ids, mask), run(source, ids, mask), atol=2e-5)
    assert np.abs(run(out, ids, mask) - run(out, ids, np.ones_like(mask)))[1:].max() > 1e-3  # the mask is seen
    kinds = Counter(node.op_type for node in onnx.load(out).graph.node)
    assert kinds["Split"] == attentions
    assert not kinds["Expand"]


def test_a_graph_without_attention_is_left_alone(tiny_export: Path) -> None:
    graph = ir.load(tiny_export / "model.onnx").graph
    before = [node.op_type for node in graph if node.op_type != "Expand"]
    assert for_cuda(graph) == 0
    assert [node.op_type for node in graph if node.op_type != "Expand"] == before
