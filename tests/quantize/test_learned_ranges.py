"""Learned ranges: read strictly, matched to their layers, and standing in the Q/DQ nodes of the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit.config.recipe import Calibration
from edgekit.config.target import load_target
from edgekit.errors import BadInput
from edgekit.onnx_graph.linear import linear_nodes, module_path
from edgekit.progress import silent
from edgekit.quantize.encoder import QuantizeWork, quantize_encoder
from edgekit.quantize.learned_ranges import RANGES, learned_ranges, match_ranges
from edgekit.quantize.observe import Feed
from edgekit.quantize.selection import Evidence
from edgekit.quantize.static import activation_scale

VNNI = load_target("x86-vnni")
SELF = "bert.encoder.layer.0.attention.self"


def write(folder: Path, ranges: object) -> Path:
    (folder / RANGES).write_text(json.dumps(ranges))
    return folder


def lowered(
    source: Path, out: Path, learned: dict[str, tuple[float, float]], feeds: list[Feed], **changes: object
) -> dict[str, object]:
    quantize = VNNI.quantize.model_copy(update={"mode": "static", **changes})
    return quantize_encoder(
        quantize,
        QuantizeWork(
            source=source,
            out=out,
            session=VNNI.session,
            calibration=Calibration(method="minmax"),
            feeds=feeds,
            evidence=Evidence([], lambda rows: 0.0, 0.01, timed=False),
            progress=silent,
            learned=learned,
        ),
    )


def scale_in(path: Path, name: str) -> float:
    model = onnx.load(path)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == name)
    return float(onnx.numpy_helper.to_array(stored[node.input[1]]))


def test_a_checkpoint_without_ranges_has_none(tmp_path: Path) -> None:
    assert learned_ranges(tmp_path) == {}


def test_learned_ranges_stand_in_the_file_and_the_rest_is_calibrated(
    tiny_export: Path, train_feeds: list[Feed], tmp_path: Path
) -> None:
    source = tiny_export / "fused.onnx"
    asked = {f"{SELF}.query": [-2.0, 3.0], f"{SELF}.key": [-2.5, 2.0], "classifier": [-1, 1]}
    learned = learned_ranges(write(tmp_path, asked))
    made = lowered(source, tmp_path, learned, train_feeds)
    assert made["ranges"] == {"learned": 2, "calibrated": 12}
    graph = ir.load(source).graph
    inputs = {module_path(linear.node): linear.node.inputs[0].name for linear in linear_nodes(graph) if linear.node.inputs[0]}
    query, head = inputs[f"model.{SELF}.query"], inputs["model.classifier"]
    assert query is not None and head is not None
    assert scale_in(tmp_path / "model.onnx", query) == pytest.approx(float(activation_scale(-2.5, 3.0, False)[0])), "the widest"
    assert scale_in(tmp_path / "model.onnx", head) == pytest.approx(2 / 255)


def test_where_everything_is_learned_no_calibration_rows_are_needed(tiny_export: Path, tmp_path: Path) -> None:
    source = tiny_export / "fused.onnx"
    paths = [module_path(linear.node) for linear in linear_nodes(ir.load(source).graph)]
    learned = {str(path).removeprefix("model."): (-4.0, 4.0) for path in paths}
    assert len(learned) == 20, "every layer's path is known"
    made = lowered(source, tmp_path, learned, [])
    assert made["ranges"] == {"learned": 14, "calibrated": 0}


def test_learned_ranges_and_smoothing_exclude_each_other(tiny_export: Path, train_feeds: list[Feed], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="smooth changes them"):
        lowered(tiny_export / "fused.onnx", tmp_path, {"classifier": (-1.0, 1.0)}, train_feeds, smooth=0.5)


def test_a_range_without_its_layer_is_named(tiny_export: Path) -> None:
    with pytest.raises(BadInput) as fault:
        match_ranges(ir.load(tiny_export / "fused.onnx"), {"bert.encoder.layer.9.output.dense": (-1, 1), "dense": (-1, 1)})
    assert "layer.9.output.dense: 0 linear layers" in fault.value.text() and "dense: 10 linear layers" in fault.value.text()


@pytest.mark.parametrize("ranges", [
    [1, 2], {"a": 3}, {"a": [1]}, {"a": ["x", 1]}, {"a": [1, -1]}, {"a": [0.5, 1]}, {"a": [0, float("inf")]}, {"a": [True, 1]},
])  # fmt: skip
def test_files_that_say_something_else_are_refused(tmp_path: Path, ranges: object) -> None:
    with pytest.raises(BadInput):
        learned_ranges(write(tmp_path, ranges))
    (tmp_path / RANGES).write_text("{")
    with pytest.raises(BadInput, match="not sound JSON"):
        learned_ranges(tmp_path)


def test_zero_stays_exact() -> None:
    for low, high in ((-2.5, 3.0), (0.0, 1.0), (-1.0, 0.0)):
        scale, zero = activation_scale(low, high, signed=False)
        assert float((np.clip(np.rint(0 / scale) + int(zero), 0, 255) - int(zero)) * scale) == 0
