"""Encoders of sounds: cut, stored, read under older names, refused where files do not fit, exported with every stride and quantized."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgekit.audit.audit import audit
from edgekit.config.quantize import Int8
from edgekit.config.target import load_target
from edgekit.errors import BadInput
from edgekit.exporter.encoder import FUSED, export
from edgekit.models.anatomy import SOUNDS
from edgekit.models.checkpoint import load, save
from edgekit.models.files import check_files, digest
from edgekit.models.shapes import cut, keep_layers, shapes_of
from edgekit.models.sounds import frames_read, settle_sound
from edgekit.runtime.providers.session import plain_session
from tests.audit.test_audit import ISA
from tests.models.test_image_encoders import older
from tests.tiny_sounds import BINS, FAMILIES, FRAMES, made_model

AUTO = "AutoModelForAudioClassification"
SOUND = torch.randn(2, FRAMES, BINS, generator=torch.Generator().manual_seed(3))


def test_every_family_is_tried() -> None:
    assert sorted(SOUNDS) == sorted(FAMILIES)


def test_a_cut_model_is_stored_and_exported(tmp_path: Path) -> None:
    model = load(made_model(tmp_path / "model", layers=3), AUTO)
    settle_sound(tmp_path / "model", tmp_path / "model")
    zeroed = copy.deepcopy(model)
    for layer in zeroed.base_model.layers:
        layer.attention.o_proj.weight.data[:, 8:16] = 0
        layer.mlp.fc2.weight.data[:, ::2] = 0
    cut(model, [[0, 2, 3]] * 3, [range(1, 64, 2)] * 3)
    assert torch.allclose(model(SOUND).logits, zeroed(SOUND).logits, atol=1e-4)
    keep_layers(model, [1, 2])
    save(model, tmp_path / "cut", tokenizer_files_from=tmp_path / "model")
    again = load(tmp_path / "cut", AUTO)
    assert shapes_of(again) == shapes_of(model) and torch.equal(again(SOUND).logits, model(SOUND).logits)
    assert frames_read(json.loads((tmp_path / "cut" / "config.json").read_text())) == 2 + 2 * 3


@pytest.mark.parametrize(("stride", "form"), [(5, "static"), (8, "static"), (5, "dynamic")])
def test_every_matmul_is_quantized(stride: int, form: str, tmp_path: Path) -> None:
    """Patches that overlap are gathered, so that they are a MatMul too."""
    import onnx_ir as ir

    from edgekit.config.recipe import Calibration
    from edgekit.onnx_graph.rewrite import tidy
    from edgekit.progress import silent
    from edgekit.quantize.dynamic import quantize_dynamic
    from edgekit.quantize.static import activation_ranges, quantize_static
    from edgekit.quantize.unfuse import unfuse

    folder = made_model(tmp_path / "model", stride=stride)
    settle_sound(folder, folder)
    (tmp_path / "onnx").mkdir()
    export(folder, tmp_path / "onnx", task="audio-classification", max_length=128)
    feeds = [{"input_values": SOUND[:1].numpy()}]
    wanted = plain_session(tmp_path / "onnx" / FUSED).run(None, feeds[0])[0]
    model = ir.load(tmp_path / "onnx" / FUSED)
    assert all(node.op_type != "Conv" for node in model.graph)
    unfuse(model)
    tidy(model, microsoft=True)
    settings = Int8(format="int8", mode=form)
    if form == "static":
        ranges = activation_ranges(model, feeds, "minmax", Calibration().memory_mb, silent)
        counts = quantize_static(model, settings, ranges)
        assert counts["matmul"] == 2 * 6 + 2, "of two layers, of the patches, and of the head"
    else:
        counts = quantize_dynamic(model, settings)
        assert (counts["attention"], counts["matmul"]) == (2, 2 * 3 + 2)
    found = plain_session(ir.to_proto(model).SerializeToString()).run(None, feeds[0])[0]
    assert abs(found - wanted).max() < 0.2 * abs(wanted).max()
    ir.save(model, tmp_path / "model.onnx")
    target = load_target("x86-vnni")
    document = audit(
        tmp_path / "model.onnx", target.model_copy(update={"quantize": settings}), host_isa=ISA, host_arch="x86_64"
    )
    assert (document["stray_qdq"], document["matmuls_integer"]) == (0, 2 * 6 + 2)


def test_names_of_before_are_read(tmp_path: Path) -> None:
    folder = made_model(tmp_path / "model")
    wanted, state = load(folder, AUTO)(SOUND).logits, load_file(folder / "model.safetensors")
    save_file({older(name): value for name, value in state.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(load(folder, AUTO)(SOUND).logits, wanted) and digest(folder)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = made_model(tmp_path / "model")
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    path.unlink()
    with pytest.raises(BadInput, match="how sounds become numbers"):
        check_files(folder)
    for changes, said in (
        ({"max_length": 32}, "max_length = 32, and the model reads 24"),
        (
            {"feature_extractor_type": "Wav2Vec2FeatureExtractor"},
            "by Wav2Vec2FeatureExtractor, and this architecture by ASTFeatureExtractor",
        ),
        ({"feature_extractor_type": "NoSuchExtractor"}, "cannot load it"),
        ({"padding_value": 1.0}, "padding_value"),
        ({"sampling_rate": 1000}, "not within"),
    ):
        path.write_text(json.dumps({**settings, **changes}))
        with pytest.raises(BadInput) as fault:
            settle_sound(folder, tmp_path)
        assert said in fault.value.text()
    path.write_text(json.dumps(settings))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "time_stride": 0}))
    with pytest.raises(BadInput, match="no model here can have"):
        check_files(folder)
