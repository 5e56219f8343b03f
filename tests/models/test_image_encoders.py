"""Encoders of images: cut, stored, read under older names, refused where files do not fit, exported and quantized."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgekit.config.quantize import Int8
from edgekit.errors import BadInput, NotPossibleHere
from edgekit.exporter.encoder import FUSED, export
from edgekit.models.anatomy import IMAGES
from edgekit.models.checkpoint import load, save
from edgekit.models.files import check_files, digest
from edgekit.models.preprocessing import positions_read, settle_pixels
from edgekit.models.shapes import cut, keep_layers, shapes_of
from edgekit.models.tensor_names import named_now
from edgekit.runtime.providers.session import plain_session
from tests.tiny_images import FAMILIES, made_model

AUTO = "AutoModelForImageClassification"
IMAGE = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(3))
OLDER = {
    "layers.0.attention.q_proj.weight": "encoder.layer.0.attention.attention.query.weight",
    "layers.1.attention.o_proj.bias": "encoder.layer.1.attention.output.dense.bias",
    "layers.0.mlp.fc1.weight": "encoder.layer.0.intermediate.dense.weight",
    "layers.0.mlp.fc2.bias": "encoder.layer.0.output.dense.bias",
    "layers.0.layernorm_before.weight": "encoder.layer.0.layernorm_before.weight",
}


def older(name: str) -> str:
    """What transformers 4 called a tensor."""
    for new, old in (
        ("layers.", "encoder.layer."), ("attention.q_proj", "attention.attention.query"), ("attention.k_proj", "attention.attention.key"),
        ("attention.v_proj", "attention.attention.value"), ("attention.o_proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"),
    ):  # fmt: skip
        name = name.replace(new, old)
    return name


def test_every_family_is_tried() -> None:
    assert sorted(IMAGES) == sorted(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_model_is_stored_and_exported(family: str, tmp_path: Path) -> None:
    model = load(made_model(tmp_path / "model", family, layers=3), AUTO)
    settle_pixels(tmp_path / "model", tmp_path / "model")
    zeroed = copy.deepcopy(model)
    for layer in zeroed.base_model.layers:
        layer.attention.o_proj.weight.data[:, 8:16] = 0
        layer.mlp.fc2.weight.data[:, ::2] = 0
    kept = [0, 2, 3]
    cut(model, [kept] * 3, [range(1, 64, 2)] * 3)
    assert torch.allclose(model(IMAGE).logits, zeroed(IMAGE).logits, atol=1e-4)
    keep_layers(model, [1, 2])
    cut(model, [[], [0, 1]], [range(32), []])
    save(model, tmp_path / "cut", tokenizer_files_from=tmp_path / "model")
    again = load(tmp_path / "cut", AUTO)
    assert shapes_of(again) == shapes_of(model) and torch.equal(again(IMAGE).logits, model(IMAGE).logits)
    assert positions_read(json.loads((tmp_path / "cut" / "config.json").read_text())) == 9 + {"vit": 1, "deit": 2}[family]
    (tmp_path / "onnx").mkdir()
    export(tmp_path / "cut", tmp_path / "onnx", task="image-classification", max_length=128)


@pytest.mark.parametrize(("family", "form"), [("deit", "static"), ("vit", "dynamic")])
def test_every_matmul_is_quantized(family: str, form: str, tmp_path: Path) -> None:
    import onnx_ir as ir

    from edgekit.config.recipe import Calibration
    from edgekit.onnx_graph.rewrite import tidy
    from edgekit.progress import silent
    from edgekit.quantize.dynamic import quantize_dynamic
    from edgekit.quantize.static import activation_ranges, quantize_static
    from edgekit.quantize.unfuse import unfuse

    folder = made_model(tmp_path / "model", family)
    settle_pixels(folder, folder)
    (tmp_path / "onnx").mkdir()
    export(folder, tmp_path / "onnx", task="image-classification", max_length=128)
    feeds = [{"pixel_values": IMAGE[:1].numpy()}]
    wanted = plain_session(tmp_path / "onnx" / FUSED).run(None, feeds[0])[0]
    model = ir.load(tmp_path / "onnx" / FUSED)
    unfuse(model)
    tidy(model, microsoft=True)
    settings = Int8(format="int8", mode=form)
    if form == "static":
        settings_of = Calibration()
        ranges = activation_ranges(model, feeds, "minmax", settings_of.memory_mb, silent)
        counts = quantize_static(model, settings, ranges)
        assert counts["matmul"] == 2 * 6 + 2, "of two layers, of the patches, and of the head"
    else:
        counts = quantize_dynamic(model, settings)
        assert (counts["attention"], counts["matmul"]) == (2, 2 * 3 + 2)
    found = plain_session(ir.to_proto(model).SerializeToString()).run(None, feeds[0])[0]
    assert abs(found - wanted).max() < 0.2 * abs(wanted).max()


def test_names_of_before_are_read(tmp_path: Path) -> None:
    folder = made_model(tmp_path / "model")
    wanted, state = load(folder, AUTO)(IMAGE).logits, load_file(folder / "model.safetensors")
    save_file({older(name): value for name, value in state.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(load(folder, AUTO)(IMAGE).logits, wanted) and digest(folder)
    for now, before in OLDER.items():
        assert named_now(f"vit.{before}", "vit") == f"vit.{now}" and named_now(f"vit.{before}", "bert") == f"vit.{before}"


def test_an_older_transformers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made_model(tmp_path / "model")

    def of_before(builder: Any, config: Any) -> Any:
        model = builder.from_config(config)
        model.base_model.encoder = model.base_model.layers
        del model.base_model.layers
        return model

    monkeypatch.setattr("edgekit.models.checkpoint.build_model", of_before)
    with pytest.raises(NotPossibleHere, match="of other modules") as fault:
        load(folder, AUTO)
    assert "transformers>=5.17" in fault.value.text()


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = made_model(tmp_path / "model")
    (folder / "preprocessor_config.json").rename(tmp_path / "kept.json")
    with pytest.raises(BadInput, match="how images become numbers"):
        check_files(folder)
    (tmp_path / "kept.json").rename(folder / "preprocessor_config.json")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "image_size": 16}))
    with pytest.raises(BadInput, match="12 x 12 pixels, and the model reads 16 x 16"):
        settle_pixels(folder, tmp_path)
    (folder / "config.json").write_text(json.dumps({**config, "image_size": [12, 0]}))
    with pytest.raises(BadInput, match="no model here can have"):
        check_files(folder)
    (folder / "config.json").write_text(json.dumps(config))
    state = load_file(folder / "model.safetensors")
    del state["vit.embeddings.cls_token"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="cls_token"):
        digest(folder)


def test_an_image_processor_that_does_more_is_refused(tmp_path: Path) -> None:
    folder = made_model(tmp_path / "model")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**settings, "image_processor_type": "PoolFormerImageProcessor"})
    )
    with pytest.raises(BadInput, match="something of it is not known here"):
        settle_pixels(folder, tmp_path)
