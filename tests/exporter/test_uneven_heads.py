"""Heads that differ by layer: what fusion reads off the graph holds, and one count for all layers is never let through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.config.quantize import Int8
from edgekit.errors import CheckFailed
from edgekit.exporter.encoder import export
from edgekit.exporter.parity import check_parity
from edgekit.models.checkpoint import load, save
from edgekit.models.shapes import cut
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.tasks import encoder_task
from edgekit.tasks.graph import graph_of
from tests.quantize.files import rewritten

NAMES = ("input_ids", "attention_mask")


@pytest.fixture(scope="module")
def uneven(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with 4, 2 and 1 heads, and its export beside it."""
    folder = tmp_path_factory.mktemp("uneven")
    model = load(tiny_model)
    cut(model, [range(4), [1, 3], [2]], [range(64)] * 3)
    save(model, folder / "checkpoint", tokenizer_files_from=tiny_model)
    (folder / "export").mkdir()
    export(folder / "checkpoint", folder / "export", task="text-classification", max_length=32)
    return folder


def heads_of(path: Path) -> list[int]:
    found = [node for node in onnx.load(path).graph.node if node.op_type in {"MultiHeadAttention", "QAttention"}]
    return [attribute.i for node in found for attribute in node.attribute if attribute.name == "num_heads"]


def test_each_layer_keeps_its_own_heads(uneven: Path, tmp_path: Path) -> None:
    assert heads_of(uneven / "export" / "fused.onnx") == [4, 2, 1]
    rewritten(uneven / "export" / "fused.onnx", tmp_path / "int8.onnx", quantize_dynamic, Int8())
    assert heads_of(tmp_path / "int8.onnx") == [4, 2, 1]


def test_one_count_for_all_layers_does_not_pass(uneven: Path, tmp_path: Path) -> None:
    model = onnx.load(uneven / "export" / "fused.onnx")
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "num_heads":
                attribute.i = 4
    onnx.save(model, tmp_path / "wrong.onnx")
    checkpoint = load(uneven / "checkpoint")
    module = graph_of(encoder_task("text-classification"), checkpoint).eval()
    difference = check_parity(
        module, uneven / "export" / "fused.onnx", NAMES, checkpoint.config, 32, 1e-4, per_token=False
    )  # fmt: skip
    assert np.isfinite(difference)
    with pytest.raises(CheckFailed, match="differs from eager PyTorch"):
        check_parity(module, tmp_path / "wrong.onnx", NAMES, checkpoint.config, 32, 1e-4, per_token=False)
