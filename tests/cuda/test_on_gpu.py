"""Target `cuda` on an NVIDIA GPU: nothing left on the CPU in silence, recordings that answer as plain runs do, decoders in float16."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgekit.runtime.errors import NotPossibleHere
from edgekit.runtime.providers.cuda import Replayed, graph_run
from edgekit.runtime.providers.names import CUDA
from edgekit.runtime.providers.session import open_session

pytestmark = pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(), reason=f"this onnxruntime has no {CUDA}")


def graph(path: Path, *, stray: bool) -> Path:
    """y = relu(x w), and with `stray` the determinant of y y', which the CUDA provider has no kernel for."""
    from onnx import TensorProto, helper, numpy_helper, save

    weight = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"], name="product"),
        helper.make_node("Relu", ["xw"], ["y"], name="relu"),
    ]
    shape: list[Any] = ["b", 8]
    if stray:
        nodes += [
            helper.make_node("Transpose", ["y"], ["t"], name="turn"),
            helper.make_node("MatMul", ["t", "y"], ["square"], name="square"),
            helper.make_node("Det", ["square"], ["z"], name="determinant"),
        ]
        shape = []
    body = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 8])],
        [helper.make_tensor_value_info("z" if stray else "y", TensorProto.FLOAT, shape)], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


def test_a_node_without_a_kernel_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotPossibleHere, match="determinant"):
        open_session(graph(tmp_path / "m.onnx", stray=True), provider=CUDA)


def test_recordings_answer_as_plain_runs_do(tmp_path: Path) -> None:
    session = open_session(graph(tmp_path / "m.onnx", stray=False), provider=CUDA)
    assert isinstance(session, Replayed)
    generator = np.random.default_rng(1)
    for _ in range(3):
        for rows in (1, 5, 2):
            x = generator.normal(size=(rows, 8)).astype(np.float32)
            (found,) = session.run(None, {"x": x})
            (plain,) = session.session.run(None, {"x": x}, graph_run(-1))
            np.testing.assert_allclose(found, plain, rtol=1e-6)
            assert np.abs(found).max() > 0


@pytest.mark.parametrize("bits", [16, 4])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_decoder_answers_as_on_the_cpu(tmp_path: Path, bits: int, rows: int) -> None:
    pytest.importorskip("torch")
    from edgekit.config.quantize import Float16, WeightOnly
    from edgekit.exporter.decoder_graph import write_graph
    from edgekit.models.decoders import describe
    from edgekit.quantize.float16_decoder import decoder_for_gpu
    from edgekit.runtime.generate.device import on_device
    from edgekit.runtime.generate.generation import parse_generation
    from edgekit.runtime.generate.graph import check_graph
    from tests.tiny_decoders import checkpoint

    whole, half = tmp_path / "whole", tmp_path / "half"
    whole.mkdir()
    half.mkdir()
    decoder = describe(checkpoint("qwen2", tmp_path / "checkpoint"))
    write_graph(decoder, whole)
    four = WeightOnly(format="int4-weights", embeddings="float32", accuracy_level=0)
    settings = four if bits == 4 else Float16(format="float16")
    decoder_for_gpu(whole, half, tmp_path, settings)
    if bits == 4:
        whole = tmp_path / "rounded"
    generation = parse_generation(
        {"context": 64, "eos": [], "bos": None, "layers": 2, "kv_heads": 2, "head_size": 16, "chat_template": None}
    )
    there = on_device(check_graph(open_session(half / "model.onnx", provider=CUDA), generation))
    here = check_graph(open_session(whole / "model.onnx"), generation)
    ids = np.random.default_rng(0).integers(3, 300, (rows, 24))
    caches = [there.empty(rows, 64), here.empty(rows, 64)]
    answers = []
    for one, cache in zip((there, here), caches, strict=True):
        read = [one.read(ids[row, : 8 + row], cache.rows(row, row + 1)) for row in range(rows)]
        steps = [one.run(np.ascontiguousarray(ids[:, place : place + 1]), cache)[:, 0] for place in range(12, 24)]
        answers.append(np.stack([np.stack(read), *steps]))
    spread = float(answers[1].std())
    assert np.sqrt(np.mean(np.square(answers[0] - answers[1]))) < 0.02 * spread, json.dumps({"spread": spread})
