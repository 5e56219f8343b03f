"""The hidden size of every family, reduced: each axis that has it, the checkpoint that is saved and loaded, the graph that is exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.errors import BadInput
from edgekit.models.anatomy import KNOWN
from edgekit.models.checkpoint import load, save
from edgekit.models.narrow import hidden_size_of, narrow
from edgekit.models.shapes import LayerShape, cut, keep_layers, shapes_of
from tests.exporter.test_architectures import NAMES, build, export_graphs, rows
from tests.quantize.files import rewritten

KEPT = [number for number in range(32) if number % 6 not in (1, 4)][:21]
"""21 of 32, which four heads do not divide."""
FAMILIES = sorted(KNOWN)


def answers(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(**rows(model, 3, 12)).logits
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_the_order_of_the_dimensions_does_not_matter(family: str) -> None:
    """Permuted hidden states give the same answers: so every axis of the hidden size is cut alike, and no other."""
    model = build(family)
    before = answers(model)
    narrow(model, torch.randperm(32, generator=torch.Generator().manual_seed(1)).tolist())
    assert torch.allclose(answers(model), before, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_narrowed_checkpoint_comes_back(family: str, tiny_model: Path, tmp_path: Path) -> None:
    model = build(family)
    cut(model, [[0, 3], [1, 2]], [range(40), range(7)])
    narrow(model, KEPT)
    assert hidden_size_of(model) == 21 and [shape.head_size for shape in shapes_of(model)] == [8, 8]
    narrow(model, range(20))
    wanted = answers(model)
    save(model, tmp_path, tokenizer_files_from=tiny_model)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["built"]["hidden_size"] == 32 and 20 in (config.get("hidden_size"), config.get("dim"))
    again = load(tmp_path)
    assert hidden_size_of(again) == 20 and torch.equal(answers(again), wanted)
    keep_layers(again, [1])
    assert torch.isfinite(answers(again)).all()


LINE = [pytest.param(family, marks=[] if family == "bert" else [pytest.mark.slow]) for family in FAMILIES]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", LINE)
def test_it_exports(family: str, tmp_path: Path) -> None:
    from edgekit.config.quantize import Int8
    from edgekit.exporter.parity import check_parity
    from edgekit.quantize.dynamic import quantize_dynamic
    from edgekit.runtime.providers.session import plain_session

    model = build(family)
    narrow(model, KEPT)
    module = export_graphs(model, tmp_path)
    check_parity(module, tmp_path / "fused.onnx", NAMES, model.config, 30, 1e-4, per_token=False)
    rewritten(tmp_path / "fused.onnx", tmp_path / "int8.onnx", quantize_dynamic, Int8())
    session, feed = plain_session(tmp_path / "int8.onnx"), rows(model, 3, 12)
    (found,) = session.run(None, {one.name: feed[one.name].numpy() for one in session.get_inputs()})
    wanted = answers(model).numpy()
    assert np.linalg.norm(found - wanted) < 0.1 * np.linalg.norm(wanted)


def test_layers_without_heads_or_neurons_are_narrowed_too() -> None:
    model = build("bert")
    cut(model, [[], [0]], [range(8), []])
    before, bias = answers(model), model.bert.encoder.layer[0].attention.output.dense.bias.detach().clone()
    order = torch.randperm(32, generator=torch.Generator().manual_seed(1)).tolist()
    narrow(model, order)
    assert torch.allclose(answers(model), before, atol=2e-5)
    narrow(model, [order.index(number) for number in KEPT])
    assert torch.equal(model.bert.encoder.layer[0].attention.output.dense.bias, bias[KEPT]), "all that no heads leave"
    assert shapes_of(model) == [LayerShape(0, 8, 8), LayerShape(1, 8, 0)] and answers(model).isfinite().all()


def test_electras_own_embedding_size() -> None:
    model = build("electra", embedding_size=32)
    narrow(model, KEPT)
    assert model.config.built == {"hidden_size": 32, "embedding_size": 32} and torch.isfinite(answers(model)).all()


@pytest.mark.parametrize("kept", [[], [0, 0], [32], [-1]])
def test_dimensions_that_do_not_exist(kept: list[int]) -> None:
    with pytest.raises(BadInput, match="do not narrow a model of hidden size 32"):
        narrow(build("bert"), kept)


def test_a_convolution_is_refused() -> None:
    with pytest.raises(BadInput, match="convolution"):
        narrow(build("deberta-v2", conv_kernel_size=3), KEPT)


@pytest.mark.parametrize(
    "built", [3, {}, {"hidden_size": "32"}, {"hidden_size": 8}, {"hidden_size": 32, "heads": 4}, {"hidden_size": 10**7}]
)
def test_a_false_record_is_refused(tiny_model: Path, tmp_path: Path, built: Any) -> None:
    for path in tiny_model.iterdir():
        shutil.copy(path, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"built": built}))
    with pytest.raises(BadInput, match=r"built|narrowed from"):
        load(tmp_path)
