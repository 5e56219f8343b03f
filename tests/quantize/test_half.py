"""float16: half precision inside, int64 and float32 at the edges, and answers that hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.quantize.half import to_float16
from edgekit.quantize.observe import Feed
from tests.quantize.test_smooth import outputs


@pytest.mark.parametrize("form", ["fused", "model"])
def test_edges_keep_their_types_and_the_inside_is_half(
    tiny_export: Path, test_feeds: list[Feed], tmp_path: Path, form: str
) -> None:
    source, out = tiny_export / f"{form}.onnx", tmp_path / "half.onnx"
    assert to_float16(source, out)["float16"] > 50
    graph = onnx.load(out).graph
    kinds = [item.type.tensor_type.elem_type for item in (*graph.input, *graph.output)]
    assert kinds == [onnx.TensorProto.INT64, onnx.TensorProto.INT64, onnx.TensorProto.FLOAT]
    assert onnx.TensorProto.FLOAT not in Counter(tensor.data_type for tensor in graph.initializer)
    whole, half = outputs(source, test_feeds), outputs(out, test_feeds)
    assert half.dtype == np.float32
    assert np.abs(whole - half).max() < 5e-3
    assert np.array_equal(whole.argmax(axis=1), half.argmax(axis=1))
    assert out.stat().st_size < 0.65 * source.stat().st_size
