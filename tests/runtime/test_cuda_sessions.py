"""Sessions of the GPU, as far as a CPU can tell: buffers kept by shape, and the nodes that a provider did not take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgekit.runtime.errors import CheckFailed, NotPossibleHere
from edgekit.runtime.providers.cuda import Replayed, check_placement
from edgekit.runtime.providers.names import CUDA, RECORD_ASSIGNMENT


@pytest.fixture
def session(tmp_path: Path) -> onnxruntime.InferenceSession:
    """double = x + x, and mean over rows."""
    body = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["double"], name="twice"), helper.make_node("ReduceMean", ["double"], ["mean"], name="mean")],
        "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 4])],
        [helper.make_tensor_value_info("double", TensorProto.FLOAT, ["b", 4]), helper.make_tensor_value_info("mean", TensorProto.FLOAT, None)],
    )  # fmt: skip
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(tmp_path / "m.onnx"))
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(RECORD_ASSIGNMENT, "1")
    return onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), options, providers=["CPUExecutionProvider"])


def test_shapes_in_turn_answer_as_plain_runs(session: onnxruntime.InferenceSession) -> None:
    replayed = Replayed(session, "cpu", limit=2)
    generator = np.random.default_rng(0)
    kept = []
    for rows in (1, 2, 1, 3, 2, 1):
        x = generator.normal(size=(rows, 4)).astype(np.float32)
        kept.append((replayed.run(None, {"x": x}), session.run(None, {"x": x})))
    for found, wanted in kept:  # afterwards: an answer must not change when its buffer is used again
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(replayed._shapes) == 2


def test_outputs_are_given_in_the_order_asked_for(session: onnxruntime.InferenceSession) -> None:
    x = np.ones((2, 4), dtype=np.float32)
    mean, double = Replayed(session, "cpu").run(["mean", "double"], {"x": x})
    assert float(mean.squeeze()) == 2
    assert double.shape == (2, 4)


def test_an_input_that_cannot_be_used_is_an_error(session: onnxruntime.InferenceSession) -> None:
    with pytest.raises(CheckFailed, match="cannot run"):
        Replayed(session, "cpu").run(None, {"x": np.ones((2, 5), dtype=np.float32)})


def test_nodes_elsewhere_are_named(session: onnxruntime.InferenceSession) -> None:
    check_placement(session, "CPUExecutionProvider", "m.onnx")
    with pytest.raises(NotPossibleHere, match="twice: Add on CPUExecutionProvider"):
        check_placement(session, CUDA, "m.onnx")
