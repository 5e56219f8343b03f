"""Decoders as ONNX: every family against eager PyTorch, whole and in steps, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from edgekit.errors import BadInput, CheckFailed
from edgekit.exporter import decoder as decoder_export
from edgekit.exporter.decoder import export_decoder
from edgekit.exporter.decoder_graph import cos_sin, write_graph
from edgekit.models.decoders import Decoder, Rotary, decoder_types, describe
from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.generate.generation import parse_generation
from edgekit.runtime.generate.graph import check_graph
from edgekit.runtime.generate.model import language_model
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.providers.session import open_session
from tests.tiny_decoders import CONFIGS, checkpoint, copied


def quiet(done: float, total: float, text: str) -> None:
    pass


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_eager(name: str, tmp_path: Path) -> None:
    source = checkpoint(name, tmp_path / "model")
    (tmp_path / "out").mkdir()
    made = export_decoder(source, tmp_path / "out", max_length=64, progress=quiet)  # compares whole and in steps
    assert made["difference"] < 1e-5
    facts = json.loads((tmp_path / "out" / "generation.json").read_text())
    assert facts["context"] == 64 and facts["layers"] == 2 and facts["eos"] == [2]


@pytest.mark.parametrize("name", ["phi3, longrope", "llama, longrope"])
def test_longrope_within_its_original_length(name: str, tmp_path: Path) -> None:
    """Up to the last token that the short factors are for, read and generated as transformers does; not beyond it."""
    source = checkpoint(name, tmp_path / "model")
    (tmp_path / "out").mkdir()
    export_decoder(source, tmp_path / "out", max_length=128, progress=quiet)
    generation = parse_generation(json.loads((tmp_path / "out" / "generation.json").read_text()))
    model = language_model(open_session(tmp_path / "out" / "model.onnx"), generation, source / "tokenizer.json")
    theirs = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    ids = np.random.default_rng(0).integers(3, 300, 128)
    with torch.inference_mode():
        for length in (7, 100, 128):
            wanted = theirs(torch.from_numpy(ids[None, :length])).logits[0].log_softmax(-1).numpy()
            scores = wanted[np.arange(length - 1), ids[1:length]]
            np.testing.assert_allclose(model.score(ids[:length]), scores, atol=2e-5)
        beyond = theirs(torch.from_numpy(np.append(ids, 5)[None])).logits[0].log_softmax(-1).numpy()
        assert np.abs(beyond[np.arange(127), ids[1:]] - scores).max() > 1e-3, "where other angles would show"
        said = theirs.generate(torch.from_numpy(ids[None, :110]), max_new_tokens=18, do_sample=False)[0, 110:]
    assert list(model.generate(ids[:110], Sampling(max_new_tokens=18)).tokens) == said.tolist()
    with pytest.raises(BadInput, match="129 tokens are more than the context of 128"):
        model.generate(np.append(ids, 5))
    (tmp_path / "more").mkdir()
    with pytest.raises(BadInput, match="the model was made for 128 tokens"):
        export_decoder(source, tmp_path / "more", max_length=129, progress=quiet)


def test_exporting_says_nothing_by_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = checkpoint("llama", tmp_path / "model")
    (tmp_path / "out").mkdir()
    capfd.readouterr()
    export_decoder(source, tmp_path / "out", max_length=64, progress=quiet)
    assert capfd.readouterr() == ("", "")


def test_every_family_has_a_tiny_one() -> None:
    assert {kind for kind, _ in CONFIGS.values()} == set(decoder_types())


def test_a_wrong_graph_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = checkpoint("llama", tmp_path / "model")
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(
        decoder_export, "write_graph", lambda decoder, out, progress: write_graph(with_other_angles(decoder), out, progress)
    )
    with pytest.raises(CheckFailed, match="differ from eager"):
        export_decoder(source, tmp_path / "out", max_length=64, progress=quiet)


def with_other_angles(decoder: Decoder) -> Decoder:
    return replace(decoder, rotaries={"all": Rotary(decoder.rotaries["all"].frequency * 1.05, 1.0)})


def test_angles_against_float64() -> None:
    rotary = Rotary((1.0 / 10000.0 ** (np.arange(0, 16, 2) / 16)).astype(np.float32), 1.5)
    cos, sin = cos_sin(rotary, 50)
    angles = np.arange(50)[:, None] * rotary.frequency.astype(np.float64)[None]
    assert np.abs(cos - 1.5 * np.cos(angles)).max() < 1e-5
    assert np.abs(sin - 1.5 * np.sin(angles)).max() < 1e-5


@pytest.mark.parametrize("name", ["gpt2", "opt", "gpt_neox, in sequence", "gpt_neox", "phi", "qwen2"])
def test_no_sum_is_fused_with_a_layer_norm(name: str, tmp_path: Path) -> None:
    """Neither in the graph as it is written nor as ONNX Runtime opens it: that kernel is slow on a CPU."""
    import onnx
    import onnxruntime

    write_graph(describe(checkpoint(name, tmp_path / "model")), tmp_path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "opened.onnx")
    onnxruntime.InferenceSession(str(tmp_path / MODEL), options, providers=["CPUExecutionProvider"])
    for file in (MODEL, "opened.onnx"):
        kinds = {node.op_type for node in onnx.load(str(tmp_path / file)).graph.node}
        assert "SkipLayerNormalization" not in kinds
        assert ("SkipSimplifiedLayerNormalization" in kinds) == (name == "qwen2")


def test_the_graph_names_no_path_and_keeps_weights_beside_it(tmp_path: Path) -> None:
    source = checkpoint("qwen2", tmp_path / "model")
    write_graph(describe(source), tmp_path)
    text = (tmp_path / MODEL).read_bytes()
    assert str(tmp_path).encode() not in text
    assert len(text) < 100_000 < (tmp_path / "model.onnx.data").stat().st_size


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("llama", {"hidden_act": "tanh"}, 'hidden_act = "tanh"'),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}, "angles that depend on"),
        ("opt", {"do_layer_norm_before": False}, "opt-350m"),
        ("phi", {"qk_layernorm": True}, "queries and keys"),
    ],
)
def test_options_that_are_not_served(name: str, changes: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=says):
        describe(checkpoint(name, tmp_path / "model", **changes))


def test_tensors_missing_or_left_over(tmp_path: Path) -> None:
    source = checkpoint("llama", tmp_path / "model")
    whole = load_file(source / "model.safetensors")
    less = copied(source, tmp_path / "less")
    save_file({name: value for name, value in whole.items() if "layers.1.mlp.up_proj" not in name}, less / "model.safetensors")
    with pytest.raises(BadInput, match=r"missing tensor model.layers.1.mlp.up_proj.weight"):
        describe(less)
    more = copied(source, tmp_path / "more")
    save_file({**whole, "model.layers.0.extra.weight": torch.zeros(3)}, more / "model.safetensors")
    with pytest.raises(BadInput, match=r"unknown tensor model.layers.0.extra.weight"):
        describe(more)
    spoilt = copied(source, tmp_path / "spoilt")
    save_file({**whole, "model.norm.weight": torch.full((64,), float("nan"))}, spoilt / "model.safetensors")
    with pytest.raises(BadInput, match=r"model.norm.weight: holds NaN"):
        write_graph(describe(spoilt), tmp_path)


def test_an_encoder_is_no_decoder(tiny_model: Path) -> None:
    with pytest.raises(BadInput, match="no decoder of architecture 'bert'"):
        describe(tiny_model)


def test_more_tokens_than_the_model_was_made_for(tmp_path: Path) -> None:
    source = checkpoint("gpt2", tmp_path / "model")
    with pytest.raises(BadInput, match="max_length = 500, but the model was made for 128"):
        export_decoder(source, tmp_path, max_length=500, progress=quiet)


def test_learned_positions_end_where_they_end(tmp_path: Path) -> None:
    write_graph(describe(checkpoint("gpt2", tmp_path / "model")), tmp_path)
    shape = {"layers": 2, "kv_heads": 4, "head_size": 16}
    stated = parse_generation({"context": 500, "eos": [], "bos": None, "chat_template": None, **shape})
    graph = check_graph(open_session(tmp_path / MODEL), stated)
    cache = graph.empty(1, 200)
    graph.run(np.ones((1, 128), dtype=np.int64), cache)
    with pytest.raises(CheckFailed, match="no position for token 129, although the stated context is 500"):
        graph.run(np.array([[1]]), cache)
