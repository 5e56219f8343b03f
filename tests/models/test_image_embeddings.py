"""Embeddings of images: what each model gives is what transformers gives, from folders that transformers wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from edgekit.errors import BadInput
from edgekit.exporter.encoder import export
from edgekit.models.anatomy import IMAGES, layers_of
from edgekit.models.checkpoint import load, save
from edgekit.models.files import check_files, digest
from edgekit.models.shapes import cut, shapes_of
from edgekit.tasks import encoder_task
from edgekit.tasks.graph import graph_of
from tests.tiny_images import EMBEDDERS, made_embedder, made_model

TASK = encoder_task("image-feature-extraction")


def image(side: int) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))


def theirs(folder: Path, kind: str, pixels: torch.Tensor) -> torch.Tensor:
    """What transformers' documentation says to ask the model for."""
    model = getattr(transformers, EMBEDDERS[kind][0]).from_pretrained(folder)
    with torch.no_grad():
        if kind in ("clip", "siglip"):
            return model.get_image_features(pixel_values=pixels).pooler_output
        if kind == "vit with labels":
            return model.vit(pixels).last_hidden_state[:, 0]
        output = model(pixels)
        return output[0][:, 0] if kind == "vit_msn" else output.get("image_embeds", output.get("pooler_output"))


@pytest.mark.parametrize("kind", EMBEDDERS)
def test_the_embedding_is_transformers_own(kind: str, tmp_path: Path) -> None:
    source = made_embedder(tmp_path / "source", kind)
    assert digest(source)
    model, pixels = load(source, "AutoModel"), image(16 if kind == "swin" else 12)
    save(model, tmp_path / "model", tokenizer_files_from=source)
    assert digest(tmp_path / "model")
    again = load(tmp_path / "model", "AutoModel")
    wanted = theirs(source, kind, pixels)
    with torch.no_grad():
        assert torch.allclose(graph_of(TASK, model)(pixels), wanted, atol=1e-5)
        assert torch.equal(graph_of(TASK, again)(pixels), graph_of(TASK, model)(pixels))
    kept = load_file(tmp_path / "model" / "model.safetensors")
    assert not any("text" in name or "logit" in name or "classifier" in name for name in kept)


def test_the_head_of_siglip_is_exported_as_it_is(tmp_path: Path) -> None:
    """One that was cut too: `export` compares the graph with eager PyTorch."""
    model = load(made_embedder(tmp_path / "source", "siglip"), "AutoModel")
    cut(model, [[0, 2], [1]], [range(0, 64, 2), range(8)])
    save(model, tmp_path / "cut", tokenizer_files_from=tmp_path / "source")
    again = load(tmp_path / "cut", "AutoModel")
    assert shapes_of(again) == shapes_of(model) and len(layers_of(again)) == 2
    (tmp_path / "onnx").mkdir()
    found = export(tmp_path / "cut", tmp_path / "onnx", task=TASK.name, max_length=128)
    from edgekit.runtime.providers.session import plain_session

    pixels = image(12)
    with torch.no_grad():
        wanted = again(pixels).pooler_output.numpy()  # torch's own MultiheadAttention
    ours = plain_session(tmp_path / "onnx" / "fused.onnx").run(None, {"pixel_values": pixels.numpy()})[0]
    assert np.abs(ours - wanted).max() < 1e-4 and found["operators"].get("Split", 0) == 0


@pytest.mark.parametrize("family", ["ijepa", "data2vec-vision"])
def test_families_without_an_embedding_are_refused(family: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as fault:
        load(made_model(tmp_path / "model", family), "AutoModel")
    assert "gives no embedding of a whole image" in fault.value.text()


def test_siglip_without_its_head_is_refused(tmp_path: Path) -> None:
    config = transformers.SiglipVisionConfig(**EMBEDDERS["siglip tower"][1], vision_use_head=False)
    transformers.SiglipVisionModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessorPil(size={"height": 12, "width": 12}).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="no model of images") as fault:
        load(tmp_path, "AutoModel")
    assert "vision_use_head" in fault.value.text()


def test_a_tensor_of_the_tower_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = made_embedder(tmp_path, "clip")
    tensors = load_file(folder / "model.safetensors")
    del tensors["vision_model.post_layernorm.bias"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput) as fault:
        load(folder, "AutoModel")
    assert "missing tensor vision_model.post_layernorm.bias" in fault.value.text() and "text_model" not in fault.value.text()


def test_sizes_of_the_tower_of_texts_are_not_taken_for_those_of_images(tmp_path: Path) -> None:
    folder = made_embedder(tmp_path, "siglip")
    config = json.loads((folder / "config.json").read_text())
    assert config["text_config"]["num_hidden_layers"] == 3 and check_files(folder)
    config["vision_config"]["intermediate_size"] = 65
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput) as fault:
        check_files(folder)
    assert "intermediate_size = 65" in fault.value.text()


def test_a_tower_is_cut_where_its_family_is() -> None:
    assert {"siglip", "siglip_vision_model"} <= {*IMAGES}
