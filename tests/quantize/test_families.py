"""Every family of encoders: passes before quantization keep the function, and each form's file answers alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from edgekit.config.quantize import Int8, WeightOnly
from edgekit.models.anatomy import ENCODERS
from edgekit.onnx_graph.linear import linear_nodes
from edgekit.quantize.bias_correction import correct_biases, input_means
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.quantize.mixed_precision import groups_of
from edgekit.quantize.smoothquant import smooth
from edgekit.quantize.static import activation_ranges, quantize_static
from edgekit.quantize.weight_only import quantize_weights_only
from edgekit.quantize.weights import quantize_weight
from tests.exporter.test_architectures import build, cosine, export_graphs, rows
from tests.quantize.files import outputs, rewritten

QUICK = {"distilbert", "modernbert"}
LINE = [pytest.param(family, marks=[] if family in QUICK else [pytest.mark.slow]) for family in ENCODERS]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", LINE)
def test_methods_on_every_family(family: str, tmp_path: Path) -> None:
    model = build(family)
    export_graphs(model, tmp_path)
    source = tmp_path / "fused.onnx"
    feeds = [{name: value.numpy() for name, value in rows(model, 1, length).items()} for length in (4, 9, 17, 25, 30)]
    with torch.no_grad():
        whole = np.concatenate([model(**rows(model, 1, length)).logits.numpy() for length in (4, 9, 17, 25, 30)])

    counts = rewritten(source, tmp_path / "smooth.onnx", smooth, 0.5, feeds)
    assert counts["norms"] >= 2
    assert np.abs(outputs(tmp_path / "smooth.onnx", feeds) - whole).max() < 1e-3

    means = input_means(ir.load(tmp_path / "smooth.onnx"), feeds)
    rewritten(
        tmp_path / "smooth.onnx",
        tmp_path / "corrected.onnx",
        correct_biases,
        lambda weight: quantize_weight(weight, per_channel=True, reduce_range=False).restored(),
        means,
    )
    every = [linear.name for linear in linear_nodes(ir.load(source).graph)]
    assert sorted(name for names in groups_of(ir.load(source).graph).values() for name in names) == sorted(every)
    ranges = activation_ranges(ir.load(tmp_path / "smooth.onnx"), feeds, "minmax", 64, lambda *_: None)
    rewritten(tmp_path / "corrected.onnx", tmp_path / "dynamic.onnx", quantize_dynamic, Int8())
    rewritten(tmp_path / "corrected.onnx", tmp_path / "some.onnx", quantize_dynamic, Int8(), keep=every[::3])
    rewritten(tmp_path / "corrected.onnx", tmp_path / "static.onnx", quantize_static, Int8(mode="static"), ranges)
    rewritten(source, tmp_path / "weights.onnx", quantize_weights_only, WeightOnly(format="int8-weights"))
    for form in ("dynamic", "some", "static", "weights"):
        assert cosine(outputs(tmp_path / f"{form}.onnx", feeds), whole) > 0.98, form
