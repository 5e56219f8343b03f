"""Export: parity over shapes, a clean graph, and refusals."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgekit.data.disjoint import check_disjoint
from edgekit.errors import BadInput, CheckFailed
from edgekit.exporter.architectures import supported
from edgekit.exporter.calibration import choose_rows
from edgekit.exporter.encoder import export
from edgekit.exporter.parity import check_parity
from edgekit.models.checkpoint import load, save
from edgekit.models.shapes import keep_layers
from edgekit.tasks import encoder_task, find_task, task_names
from edgekit.tasks.graph import graph_of


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


def test_both_graphs_are_sound_and_named(tiny_export: Path) -> None:
    for name in ("model.onnx", "fused.onnx"):
        model = onnx.load(str(tiny_export / name))
        onnx.checker.check_model(model)
        assert [item.name for item in model.graph.input] == ["input_ids", "attention_mask"]
        assert [item.name for item in model.graph.output] == ["logits"]
        axes = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim]
        assert axes == ["batch", "sequence"]


def test_the_fused_graph_has_one_attention_a_layer_and_no_leftovers(tiny_export: Path) -> None:
    found = operators(tiny_export / "fused.onnx")
    assert found["MultiHeadAttention"] == 3
    assert found["SkipLayerNormalization"] == 3 * 2 + 1
    assert found["BiasGelu"] == 3
    assert not {"Softmax", "Where", "Expand", "Concat", "Reshape", "Transpose"} & set(found)
    assert sum(found.values()) * 2 < sum(operators(tiny_export / "model.onnx").values())


def test_no_path_of_the_building_machine_is_left(tiny_export: Path) -> None:
    for name in ("model.onnx", "fused.onnx"):
        data = (tiny_export / name).read_bytes()
        assert b"site-packages" not in data
        assert b".py" not in data


def test_the_same_checkpoint_gives_the_same_bytes(tiny_model: Path, tiny_export: Path, tmp_path: Path) -> None:
    metrics = export(tiny_model, tmp_path, task="text-classification", max_length=32)
    for name in ("model.onnx", "fused.onnx"):
        assert (tmp_path / name).read_bytes() == (tiny_export / name).read_bytes()
    assert metrics["operators"] == operators(tmp_path / "fused.onnx")
    fusions = metrics["fusions"]
    assert isinstance(fusions, dict) and isinstance(fusions.pop("onnxruntime-fusions"), int)
    assert fusions == {
        "fold-token-types": 1,
        "mask-as-key-padding": 3,
        "slice-positions": 1,
        "skip-layer-norms": 1,
        "choose-token-early": 1,
    }


def test_padding_does_not_change_an_answer(tiny_export: Path) -> None:
    session = onnxruntime.InferenceSession(str(tiny_export / "fused.onnx"), providers=["CPUExecutionProvider"])
    ids = np.array([[2, 8, 9, 10, 3]])
    alone = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
    padded = np.concatenate([ids, np.zeros((1, 7), dtype=np.int64)], axis=1)
    mask = np.concatenate([np.ones_like(ids), np.zeros((1, 7), dtype=np.int64)], axis=1)
    assert session.run(None, {"input_ids": padded, "attention_mask": mask})[0] == pytest.approx(alone, abs=1e-5)


def test_a_difference_from_eager_fails_with_the_shapes(tiny_model: Path, tiny_export: Path) -> None:
    model = load(tiny_model)
    model.classifier.bias.data[0] += 0.01
    with pytest.raises(CheckFailed, match="differs from eager") as fault:
        module = graph_of(encoder_task("text-classification"), model)
        names = ("input_ids", "attention_mask")
        check_parity(module, tiny_export / "fused.onnx", names, model.config, 32, 1e-4, per_token=False)
    assert "batch 5, sequence 32" in fault.value.text() or "batch 5" in fault.value.text()


def test_large_outputs_may_differ_by_as_large_a_share(tiny_model: Path, tmp_path: Path) -> None:
    """A regression that answers in thousands is right to seven digits of a thousand."""
    from edgekit.exporter.encoder import to_onnx
    from edgekit.exporter.parity import token_feeds

    model = load(tiny_model)
    names = ("input_ids", "attention_mask")
    module = graph_of(encoder_task("text-classification"), model).eval()
    for parameter in (model.classifier.weight, model.classifier.bias):
        parameter.data *= 5e4
    sample = list(token_feeds(model.config, 32))[-1]
    ir.save(to_onnx(module, {name: sample[name] for name in names}, "logits", 32), tmp_path / "large.onnx")
    assert check_parity(module, tmp_path / "large.onnx", names, model.config, 32, 1e-4, per_token=False) > 1e-4
    model.classifier.weight.data *= 1.001
    with pytest.raises(CheckFailed, match="share of the largest output"):
        check_parity(module, tmp_path / "large.onnx", names, model.config, 32, 1e-4, per_token=False)


def test_a_model_that_pytorch_cannot_run_is_refused_with_its_words(tiny_model: Path, tiny_export: Path) -> None:
    model = load(tiny_model)
    module = graph_of(encoder_task("text-classification"), model)
    model.bert.embeddings.position_embeddings.weight.data = model.bert.embeddings.position_embeddings.weight.data[:4]
    with pytest.raises(BadInput, match="transformers fails on an input of 11 tokens: IndexError"):
        check_parity(
            module, tiny_export / "fused.onnx", ("input_ids", "attention_mask"), model.config, 32, 1e-4, per_token=False
        )


@pytest.mark.parametrize("task", [name for name in task_names() if find_task(name).kind == "encoder"])
def test_every_task_has_architectures(task: str) -> None:
    assert {"image": "vit", "sound": "wav2vec2", "text": "bert"}[find_task(task).reads] in supported(task)


def test_an_architecture_that_cannot_be_exported(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import RoFormerConfig, RoFormerForSequenceClassification

    config = RoFormerConfig(vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    RoFormerForSequenceClassification(config).save_pretrained(tmp_path / "other")
    shutil.copy(tiny_model / "tokenizer.json", tmp_path / "other")
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInput, match="'roformer' cannot be exported"):
        export(tmp_path / "other", tmp_path / "out", task="text-classification", max_length=32)


def test_longer_inputs_than_the_model_has_positions_for(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="max_length = 99, but the model has positions for 32 tokens"):
        export(tiny_model, tmp_path, task="text-classification", max_length=99)


def test_the_shortest_longest_input_that_a_recipe_may_ask_for(tiny_model: Path, tmp_path: Path) -> None:
    model = load(tiny_model)
    keep_layers(model, [0])
    save(model, tmp_path / "model", tokenizer_files_from=tiny_model)
    export(tmp_path / "model", tmp_path, task="text-classification", max_length=8)
    session = onnxruntime.InferenceSession(str(tmp_path / "fused.onnx"), providers=["CPUExecutionProvider"])
    for length in (2, 8):
        ids = np.full((1, length), 7)
        assert np.isfinite(session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]).all()


def test_calibration_rows_are_drawn_hashed_and_disjoint(tiny_artifact: Path, tmp_path: Path) -> None:
    made = choose_rows(tiny_artifact, tmp_path, 16, seed=1)
    rows = [json.loads(line) for line in (tmp_path / "calibration.jsonl").read_text().splitlines()]
    assert made["rows"] == len(rows) == 16
    assert len({row["text"] for row in rows}) == 16
    test = [json.loads(line) for line in (tiny_artifact / "test.jsonl").read_text().splitlines()]
    check_disjoint(rows, test)
    with pytest.raises(BadInput, match="also"):
        check_disjoint([*rows, {"text": test[0]["text"].upper()}], test)
