"""A decoder in float16 answers as in float32, and its graph leaves no arithmetic on numbers of the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import CheckFailed
from edgekit.exporter.decoder_graph import write_graph
from edgekit.models.decoders import describe
from edgekit.quantize.float16_decoder import decoder_to_float16
from edgekit.runtime.generate.device import DeviceGraph, on_device
from edgekit.runtime.generate.generation import parse_generation
from edgekit.runtime.generate.graph import Graph, check_graph
from edgekit.runtime.providers.session import open_session
from tests.tiny_decoders import checkpoint

CONTEXT = 64


def graph_of(folder: Path) -> Graph:
    found = parse_generation(
        {"context": CONTEXT, "eos": [], "bos": None, "layers": 2, "kv_heads": 2, "head_size": 16, "chat_template": None}
    )
    return check_graph(open_session(folder / "model.onnx"), found)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, DeviceGraph, Path]:
    folder = tmp_path_factory.mktemp("half")
    for name in ("whole", "half"):
        (folder / name).mkdir()
    write_graph(describe(checkpoint("qwen2", folder / "checkpoint")), folder / "whole")
    changed = decoder_to_float16(folder / "whole", folder / "half")
    assert changed["float16"] > 10
    return graph_of(folder / "whole"), on_device(graph_of(folder / "half"), "cpu"), folder


@pytest.mark.parametrize("rows", [1, 3])
def test_prompts_and_tokens_answer_as_in_float32(graphs: tuple[Graph, DeviceGraph, Path], rows: int) -> None:
    ids = np.random.default_rng(0).integers(3, 300, (rows, 20))
    found = []
    for graph in graphs[:2]:
        cache = graph.empty(rows, CONTEXT)
        read = [graph.read(ids[row, : 6 + row], cache.rows(row, row + 1)) for row in range(rows)]
        steps = [graph.run(np.ascontiguousarray(ids[:, place : place + 1]), cache)[:, 0] for place in range(10, 20)]
        found.append(np.stack([np.stack(read), *steps]))
    assert graphs[1].dtype == np.float16
    assert 0 < np.abs(found[0] - found[1]).max() < 0.02 * found[0].std()


def test_a_cache_row_is_copied_and_used_again(graphs: tuple[Graph, DeviceGraph, Path]) -> None:
    graph = graphs[1]
    ids = np.random.default_rng(1).integers(3, 300, 9)
    one, two = graph.empty(1, CONTEXT), graph.empty(2, CONTEXT)
    wanted = graph.read(ids, one)
    two.take(1, one, 0, 8)
    np.testing.assert_allclose(graph.read(ids, two.rows(1, 2)), wanted, atol=2e-3)
    memory = one.memory
    del one
    assert graph.empty(1, CONTEXT).memory is memory


def test_the_graph_has_no_negation_left(graphs: tuple[Graph, DeviceGraph, Path]) -> None:
    model = ir.load(graphs[2] / "half" / "model.onnx")
    assert not [node.name for node in model.graph if node.op_type == "Neg"]
    kinds = {value.name: value.dtype for value in model.graph.inputs}
    assert kinds["past.0.key"] == ir.DataType.FLOAT16
    assert "start" in kinds
    assert next(value for value in model.graph.outputs if value.name == "logits").dtype == ir.DataType.FLOAT


def test_a_number_beyond_float16_is_refused(graphs: tuple[Graph, DeviceGraph, Path], tmp_path: Path) -> None:
    model = ir.load(graphs[2] / "whole" / "model.onnx")
    value = model.graph.initializers["embedding"]
    assert value.const_value is not None
    table = value.const_value.numpy().copy()
    table[5, 5] = 1e5
    value.const_value = ir.tensor(table, name="embedding")
    ir.save(model, tmp_path / "model.onnx", external_data="model.onnx.data")
    (tmp_path / "out").mkdir()
    with pytest.raises(Exception, match="embedding") as caught:
        decoder_to_float16(tmp_path, tmp_path / "out")
    assert isinstance(caught.value, CheckFailed)
