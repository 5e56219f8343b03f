"""Quantization-aware training: its arithmetic is that of the static quantizer, and its ranges reach the Q/DQ nodes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import edgekit as ek
from edgekit.compress.method import Work
from edgekit.compress.methods.quantize_aware import Settings, run
from edgekit.compress.quantization.fake_int8 import attach, detach, fake_input, fake_weight
from edgekit.models.checkpoint import load, save
from edgekit.quantize.static import activation_scale
from edgekit.quantize.weights import quantize_weight


@settings(max_examples=60, deadline=None)
@given(st.floats(-20, 0), st.floats(0.01, 20), st.integers(0, 999))
def test_inputs_are_rounded_as_the_runtime_rounds_them(low: float, high: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=50).astype(np.float32) * 5
    found = fake_input(torch.from_numpy(values), torch.tensor(low), torch.tensor(high)).numpy()
    scale, zero = activation_scale(low, high, signed=False)
    wanted = (np.clip(np.rint(values / scale) + float(zero), 0, 255) - float(zero)) * scale
    assert np.abs(found - wanted).max() <= scale * 1.001  # a value half-way between two steps may fall to either
    assert np.mean(np.abs(found - wanted) > scale / 2) <= 0.05


def test_weights_are_rounded_as_they_are_stored() -> None:
    weight = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
    stored = quantize_weight(weight.T, per_channel=True, reduce_range=False, signed=True)
    wanted = (stored.values.astype(np.float32) - stored.zero.astype(np.float32)) * stored.scale
    assert np.allclose(fake_weight(torch.from_numpy(weight), 8).numpy().T, wanted, atol=1e-6)


def test_gradients_reach_values_inside_and_the_ends() -> None:
    values = torch.tensor([-3.0, -0.5, 0.4, 9.0], requires_grad=True)
    low, high = torch.tensor(-1.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    fake_input(values, low, high).sum().backward()
    assert values.grad is not None and low.grad is not None and high.grad is not None
    assert values.grad.tolist() == [0.0, 1.0, 1.0, 0.0], "what is cut off has no gradient"
    assert low.grad.item() > 0.5 and high.grad.item() > 0.5


def test_quantizers_come_and_go(tiny_model: Path) -> None:
    model, plain = load(tiny_model), load(tiny_model)
    ids = torch.tensor([[2, 8, 9, 10, 3]])
    ranges = attach(model, 8)
    assert ranges["bert.encoder.layer.0.attention.self.query"] is ranges["bert.encoder.layer.0.attention.self.value"]
    with torch.no_grad():
        model(input_ids=ids)
        for one in ranges.values():
            one.settle()
        rounded = model(input_ids=ids).logits
    whole = plain(input_ids=ids).logits.detach()
    assert 0 < (rounded - whole).abs().max() < 0.2 * whole.abs().max()
    detach(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(model(input_ids=ids).logits.detach(), whole)


def test_pruned_weights_stay_zero(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    sparse = load(tiny_model)
    sparse.bert.encoder.layer[1].attention.self.query.weight.data[:, ::2] = 0.0
    save(sparse, tmp_path / "sparse", tokenizer_files_from=tiny_model)
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    work = Work(
        source=tmp_path / "sparse", original=tiny_model, dense=tiny_model, rows=tiny_artifact, out=out, scratch=scratch,
        task="text-classification", max_length=32, seed=7, progress=lambda done, total, text: None,
    )  # fmt: skip
    run(work, Settings(method="quantize-aware", epochs=1, batch=16, learning_rate=1e-3))
    found = load(out).bert.encoder.layer[1].attention.self.query.weight.detach()
    assert (found[:, ::2] == 0).all()
    assert not torch.equal(found, sparse.bert.encoder.layer[1].attention.self.query.weight), "it was trained"


def test_learned_ranges_reach_the_bundle(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    (tmp_path / "aware.toml").write_text(
        f'schema = 1\ntask = "text-classification"\n[model]\nid = "{tiny_model}"\nmax_length = 32\n'
        f'[data]\ntrain = "{tiny_data}/train.jsonl"\nvalidation = "{tiny_data}/validation.jsonl"\ntest = "{tiny_data}/test.jsonl"\n'
        '[[compress]]\nmethod = "quantize-aware"\nepochs = 2\nbatch = 16\nlearning_rate = 1e-4\n'
        '[quantize]\nmode = "static"\nactivations = "uint8"\nreduce_range = true\n'
    )
    made = ek.export(str(tmp_path / "aware.toml"), target="x86-avx2", build=tmp_path / "build", measure=False)
    lineage = json.loads((made.path / "lineage.json").read_text())
    folder = next(made.path / stage["path"] for stage in lineage["stages"] if stage["stage"] == "quantize-aware")
    learned = json.loads((folder / "ranges.json").read_text())
    assert len(learned) == 3 * 6 + 2
    graph = onnx.load(str(made.path / "bundle" / "model.onnx")).graph
    scales = [
        float(numpy_helper.to_array(item)) for item in graph.initializer if item.name.endswith(".scale") and not item.dims
    ]
    low, high = learned["bert.encoder.layer.1.intermediate.dense"]
    assert any(scale == pytest.approx((high - low) / 255, rel=1e-5) for scale in scales)
    assert lineage["variants"]["bundle"]["quality"]["value"] >= 0.8
