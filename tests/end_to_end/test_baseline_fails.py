"""A baseline that onnxruntime's own tool fails to make is a row that says so: in the table, the report, the manifest and the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.bench.variants import specifications
from edgekit.host import detect
from edgekit.pipeline.run import run_recipe
from edgekit.progress import Show
from edgekit.quantize.baseline import stock_int8
from edgekit.report.facts import read_facts
from edgekit.report.tables import variants_grid
from edgekit.report.verdicts import cautions
from edgekit.runtime.bundle.verify import verify
from edgekit.store import NOT_MADE
from tests.tiny_heads import made_model, recipe, sentence, write_rows

SAID = "Inferred shape and existing shape differ in dimension 0: (384) vs (77)"
TARGET = "x86-vnni" if detect().arch == "x86_64" else "arm64-dotprod"


class ShapeInferenceError(Exception):
    """As onnxruntime and onnx name theirs, which are no kind of ValueError in every release."""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxruntime import quantization

    def quantize_dynamic(*given: Any, **named: Any) -> None:
        raise ShapeInferenceError(f"{SAID}\nand a second line \x1b[31m")

    monkeypatch.setattr(quantization, "quantize_dynamic", quantize_dynamic)


def test_it_is_noted_and_nothing_is_left_behind(failing: None, tmp_path: Path) -> None:
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), tmp_path / "plain.onnx")
    out = tmp_path / "out"
    out.mkdir()
    assert SAID in str(stock_int8(tmp_path / "plain.onnx", out)[NOT_MADE])
    assert list(out.iterdir()) == []


def test_shapes_that_the_export_tells_are_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those of before weights were folded stay in some exports, and the shape inference of onnx 1.23.1 stops at them."""
    from onnxruntime import quantization

    def quantize_dynamic(given: Path, out: str) -> None:
        model = onnx.load(given)
        if model.graph.value_info:
            raise ShapeInferenceError(SAID)
        onnx.save(model, out)

    monkeypatch.setattr(quantization, "quantize_dynamic", quantize_dynamic)
    stale = onnx.helper.make_tensor_value_info("folded", onnx.TensorProto.FLOAT, [384, 77])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "stale", [], [], value_info=[stale])), tmp_path / "plain.onnx")
    out = tmp_path / "out"
    out.mkdir()
    assert set(stock_int8(tmp_path / "plain.onnx", out)) == {"bytes"} and [path.name for path in out.iterdir()] == [
        "model.onnx"
    ]


def test_a_full_disk_is_no_such_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from onnxruntime import quantization

    def quantize_dynamic(*given: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(quantization, "quantize_dynamic", quantize_dynamic)
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), tmp_path / "plain.onnx")
    with pytest.raises(OSError, match="No space"):
        stock_int8(tmp_path / "plain.onnx", tmp_path)


def test_the_export_goes_on(failing: None, tmp_path: Path) -> None:
    made_model(tmp_path / "model", ["a", "b"])
    draw = np.random.default_rng(0)
    write_rows(tmp_path, [{"text": sentence(draw), "label": "ab"[number % 2]} for number in range(32)])
    recipe(tmp_path, "text-classification")
    (result,) = run_recipe(str(tmp_path / "tiny.toml"), [TARGET], tmp_path / "build", measure=False, show=Show(silent=True))
    facts = read_facts(result.path)
    stock = facts.variant("ort-int8-stock")
    assert stock is not None and SAID in stock.not_made and stock.quality is None
    grid = variants_grid(facts)
    (row,) = (row for row in grid.rows if row[0].main == "off-the-shelf INT8")
    assert row[0].detail == "could not be made"
    assert any(SAID in item.text and "Not compared with" in item.text for item in cautions(facts))
    for name in ("report.md", "report.html"):
        text = (result.path / name).read_text(encoding="utf-8")
        assert "could not be made" in text and "384" in text and "\x1b" not in text
    manifest = json.loads((result.bundle / "manifest.json").read_text(encoding="utf-8"))
    assert SAID in next(iter(manifest["edgekit"]["not_made"].values()))
    assert "Not compared with off-the-shelf" in (result.bundle / "README.md").read_text(encoding="utf-8")
    verify(result.bundle)
    lineage = json.loads((result.path / "lineage.json").read_text(encoding="utf-8"))
    _, left_out = specifications(lineage, tmp_path, {})
    assert SAID in left_out["ort-int8-stock"]
