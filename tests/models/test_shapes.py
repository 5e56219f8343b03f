"""Shapes of layers: read off, cut, rebuilt, exported; heads that differ by layer, and layers without any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForSequenceClassification

from edgekit.errors import BadInput
from edgekit.models.checkpoint import load, save
from edgekit.models.shapes import LayerShape, cut, keep_layers, resize, shapes_of

WIDTH, HEADS, NEURONS = 16, 4, 24
UNEVEN = ([[0, 3], [], [1]], [range(5), range(24), []])


def bert(layers: int = 3) -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=WIDTH, num_hidden_layers=layers, num_attention_heads=HEADS, intermediate_size=NEURONS,
        max_position_embeddings=32, num_labels=3, attn_implementation="sdpa",
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def batch(rows: int = 3, length: int = 7) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 40, (rows, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[-1, length // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: Any, **inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**(inputs or batch())).logits
    return found


def zeroed(model: Any, heads: Any, neurons: Any) -> Any:
    """The same model at full size, with the columns of what is not kept set to nothing."""
    size = WIDTH // HEADS
    for layer, kept_heads, kept_neurons in zip(model.bert.encoder.layer, heads, neurons, strict=True):
        for head in set(range(HEADS)) - set(kept_heads):
            layer.attention.output.dense.weight.data[:, head * size : (head + 1) * size] = 0
        layer.output.dense.weight.data[:, sorted(set(range(NEURONS)) - set(kept_neurons))] = 0
    return model


subsets = st.tuples(
    st.lists(st.sets(st.integers(0, HEADS - 1)).map(sorted), min_size=3, max_size=3),
    st.lists(st.sets(st.integers(0, NEURONS - 1)).map(sorted), min_size=3, max_size=3),
)


@settings(max_examples=10, deadline=None)
@given(kept=subsets)
def test_any_cut_equals_zeroed_columns(kept: Any) -> None:
    model = bert()
    cut(model, *kept)
    assert torch.allclose(logits(model), logits(zeroed(bert(), *kept)), atol=1e-5)
    assert [(shape.heads, shape.neurons) for shape in shapes_of(model)] == [
        (len(heads), len(neurons)) for heads, neurons in zip(*kept, strict=True)
    ]


def test_a_cut_model_can_be_cut_again_down_to_nothing() -> None:
    model = bert()
    cut(model, *UNEVEN)
    cut(model, [[1], [], []], [[0, 1], range(24), []])
    assert torch.allclose(logits(model), logits(zeroed(bert(), [[3], [], []], [[0, 1], range(24), []])), atol=1e-5)
    cut(model, [[]] * 3, [[]] * 3)
    assert torch.allclose(logits(model), logits(zeroed(bert(), [[]] * 3, [[]] * 3)), atol=1e-5)


def test_layers_stay_in_their_order_and_the_configuration_follows() -> None:
    model, whole = bert(), bert()
    keep_layers(model, [2, 0])
    assert model.config.num_hidden_layers == len(shapes_of(model)) == 2
    assert model.bert.encoder.layer[1].output.dense.weight.equal(whole.bert.encoder.layer[2].output.dense.weight)


@pytest.mark.parametrize("indices", [[], [3], [-1, 0]])
def test_layers_that_do_not_exist(indices: list[int]) -> None:
    with pytest.raises(BadInput, match="of a model with 3"):
        keep_layers(bert(), indices)


@pytest.mark.parametrize(
    "shapes", [[LayerShape(5, 4, 24)] * 3, [LayerShape(4, 4, 25)] * 3, [LayerShape(2, 8, 24)] * 3, [LayerShape(4, 4, 24)] * 4]
)
def test_shapes_that_cannot_come_from_the_model(shapes: list[LayerShape]) -> None:
    with pytest.raises(BadInput):
        resize(bert(), shapes)


def test_a_round_trip_gives_the_very_same_outputs_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    model = bert()
    cut(model, *UNEVEN)
    keep_layers(model, [0, 2])
    for name in ("a", "b"):
        save(model, tmp_path / name, tokenizer_files_from=tmp_path / "tokenizer")
    again = load(tmp_path / "a")
    assert torch.equal(logits(again), logits(model))
    assert shapes_of(again) == shapes_of(model)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    "document",
    [
        [], {}, {"schema_version": 2, "layers": [{"heads": 1, "head_size": 4, "neurons": 1}]}, {"schema_version": 1, "layers": []},
        {"schema_version": 1, "layers": [{"heads": -1, "head_size": 4, "neurons": 1}]},
        {"schema_version": 1, "layers": [{"heads": True, "head_size": 4, "neurons": 1}]},
        {"schema_version": 1, "layers": [{"heads": 1, "neurons": 1}]},
        {"schema_version": 1, "layers": [{"heads": 2, "head_size": 4, "neurons": 5}]},
    ],
)  # fmt: skip
def test_a_record_of_shapes_that_is_wrong(tmp_path: Path, document: Any) -> None:
    """The last one is well formed, but not the shape of the weights beside it."""
    (tmp_path / "tokenizer.json").write_text("{}")
    save(bert(1), tmp_path, tokenizer_files_from=tmp_path / "none")
    (tmp_path / "edgekit.json").write_text(json.dumps(document))
    with pytest.raises(BadInput):
        load(tmp_path)


def test_layers_without_heads_or_neurons_export_with_dynamic_axes(tmp_path: Path) -> None:
    import onnxruntime

    from edgekit.exporter.encoder import export

    model = bert()
    cut(model, *UNEVEN)
    for name in ("model", "onnx"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    save(model, tmp_path / "model", tokenizer_files_from=tmp_path / "none")
    export(tmp_path / "model", tmp_path / "onnx", task="text-classification", max_length=32)
    for path in sorted((tmp_path / "onnx").glob("*.onnx")):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for rows, length in ((1, 4), (3, 7), (5, 19)):
            inputs = batch(rows, length)
            found = session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})[0]
            assert np.abs(found - logits(model, **inputs).numpy()).max() < 1e-4
