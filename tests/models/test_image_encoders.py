"""Encoders of images: cut, stored, read under older names, refused where files do not fit, exported and quantized."""

from __future__ import annotations

import copy
import io
import json
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from edgekit.compress.distillation.teacher import depth_of
from edgekit.config.quantize import Int8
from edgekit.errors import BadInput, NotPossibleHere
from edgekit.exporter.encoder import FUSED, export
from edgekit.models.anatomy import ENCODERS, IMAGES, REFUSED, layers_of
from edgekit.models.checkpoint import load, save
from edgekit.models.files import check_files, digest
from edgekit.models.image_families import IMAGE_FAMILIES, TOWERS, positions_read
from edgekit.models.preprocessing import fit_positions, made_images, settle_pixels
from edgekit.models.shapes import cut, keep_layers, layer_count, shapes_of
from edgekit.models.sound_families import SOUND_FAMILIES
from edgekit.models.tensor_names import named_now
from edgekit.runtime.bundle.graph import OPERATORS
from edgekit.runtime.pixels import read_pixels
from edgekit.runtime.processors import softmax
from edgekit.runtime.providers.session import plain_session
from tests.tiny_images import FAMILIES, LABELS, made_model

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
    assert sorted({*IMAGE_FAMILIES} - {*TOWERS.values()}) == sorted(FAMILIES)
    assert sorted(IMAGE_FAMILIES) == sorted({*IMAGES, *REFUSED} - {*ENCODERS, *SOUND_FAMILIES})


@pytest.mark.parametrize("family", sorted({*IMAGES} & {*FAMILIES}))
def test_a_cut_model_is_stored(family: str, tmp_path: Path) -> None:
    model = load(made_model(tmp_path / "model", family, layers=3), AUTO)
    zeroed = copy.deepcopy(model)
    for layer in layers_of(zeroed):
        attrgetter(IMAGES[family].attention_out)(layer).weight.data[:, 8:16] = 0
        layer.mlp.fc2.weight.data[:, ::2] = 0
    kept = [0, 2, 3]
    cut(model, [kept] * 3, [range(1, 64, 2)] * 3)
    assert torch.allclose(model(IMAGE).logits, zeroed(IMAGE).logits, atol=1e-4)
    keep_layers(model, [1, 2])
    cut(model, [[], [0, 1]], [range(32), []])
    save(model, tmp_path / "cut", tokenizer_files_from=tmp_path / "model")
    again = load(tmp_path / "cut", AUTO)
    assert shapes_of(again) == shapes_of(model) and torch.equal(again(IMAGE).logits, model(IMAGE).logits)
    if family == "vit":
        (tmp_path / "onnx").mkdir()
        export(tmp_path / "cut", tmp_path / "onnx", task="image-classification", max_length=128)


BESIDE = {
    "beit": 1,
    "clip": 1,
    "data2vec-vision": 1,
    "deit": 2,
    "dinov2": 1,
    "dinov2_with_registers": 5,
    "ijepa": 0,
    "siglip": 0,
    "vit": 1,
    "vit_msn": 1,
}
"""Positions of a family beside the nine patches of 12 x 12 pixels."""


@pytest.mark.parametrize("family", BESIDE)
def test_positions_are_those_that_the_model_has(family: str, tmp_path: Path) -> None:
    model = load(made_model(tmp_path / "model", family), AUTO)
    states = model(IMAGE, output_hidden_states=True).hidden_states
    assert {state.shape[1] for state in states} == {positions_read(model.config.to_dict())} == {9 + BESIDE[family]}


@pytest.mark.parametrize("family", ["beit", "clip", "siglip", "swin", "vit"])
def test_a_model_that_was_asked_without_gradients_is_trained(family: str, tmp_path: Path) -> None:
    """transformers keeps BEiT's indices of positions for all models of a process, and CLIP's and SigLIP's sizes are within those of their tower."""
    model = load(made_model(tmp_path / "model", family), AUTO)
    pixels = torch.zeros(1, 3, 16, 16) if family == "swin" else IMAGE
    with torch.inference_mode():
        model(pixels)
    again = load(tmp_path / "model", AUTO).train()
    again(pixels).logits.sum().backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in again.parameters())
    if family != "swin":
        assert layer_count(again) == depth_of(tmp_path / "model") == 2


MATMULS = {"swin": 21}
"""MatMuls of the tiny models of other shapes: three blocks of six, the patches, what joins them, and the head."""
SAME_CODE = ("data2vec-vision", "dinov2_with_registers", "ijepa", "vit_msn")
"""Families whose modules are those of another one, or nearly."""
LINE = [pytest.param(family, marks=[pytest.mark.slow] if family in SAME_CODE else []) for family in FAMILIES]


@pytest.mark.parametrize("family", LINE)
def test_every_family_answers_as_the_pipeline_does(family: str, tmp_path: Path) -> None:
    """From the folder that transformers wrote to float and INT8 graphs, whose every MatMul is an integer one."""
    import onnx_ir as ir

    from edgekit.config.recipe import Calibration
    from edgekit.onnx_graph.rewrite import tidy
    from edgekit.progress import silent
    from edgekit.quantize.dynamic import quantize_dynamic
    from edgekit.quantize.static import activation_ranges, quantize_static
    from edgekit.quantize.unfuse import unfuse

    source = made_model(tmp_path / "source", family)
    model, folder = load(source, AUTO), tmp_path / "model"
    save(model, folder, tokenizer_files_from=source)
    settle_pixels(source, folder)
    assert digest(source) and digest(folder)
    (tmp_path / "onnx").mkdir()
    export(folder, tmp_path / "onnx", task="image-classification", max_length=128)
    session, reader = plain_session(tmp_path / "onnx" / FUSED), read_pixels(folder / "preprocessor_config.json")
    processor = transformers.AutoImageProcessor.from_pretrained(source, backend="pil")
    theirs = transformers.pipeline("image-classification", str(source), device="cpu", image_processor=processor)
    feeds, answers = [], []
    for data in made_images(seed=3)[:12]:
        feeds.append({"pixel_values": reader.pixels(data).tensor()[None]})
        answers.append(session.run(None, feeds[-1])[0])
        with Image.open(io.BytesIO(data)) as image:
            wanted = {one["label"]: one["score"] for one in theirs(image, top_k=len(LABELS))}
        assert dict(zip(LABELS, softmax(answers[-1][0]), strict=True)) == pytest.approx(wanted, abs=1e-4)
    for form in ("static", "dynamic"):
        graph = ir.load(tmp_path / "onnx" / FUSED)
        unfuse(graph)
        tidy(graph, microsoft=True)
        settings = Int8(format="int8", mode=form)
        if form == "static":
            ranges = activation_ranges(graph, feeds, "minmax", Calibration().memory_mb, silent)
            counts = quantize_static(graph, settings, ranges)
        else:
            counts = quantize_dynamic(graph, settings)
        assert counts["matmul"] + 3 * counts.get("attention", 0) == MATMULS.get(family, 14), (
            "six of a layer, of the patches, of the head"
        )
        assert "Conv" not in {node.op_type for node in graph.graph}
        assert all(node.op_type in OPERATORS[node.domain] for node in graph.graph), "a bundle holds no other"
        found = plain_session(ir.to_proto(graph).SerializeToString())
        worst = max(abs(found.run(None, feed)[0] - answer).max() for feed, answer in zip(feeds, answers, strict=True))
        assert worst < 0.2 * max(abs(answer).max() for answer in answers)


@pytest.mark.parametrize("family", ["dinov2", "dinov2_with_registers"])
def test_positions_are_brought_to_the_size_that_images_are_made(family: str, tmp_path: Path) -> None:
    """DINOv2's folders state 518 pixels and make images of 224."""
    crop = {"size": {"shortest_edge": 24}, "do_center_crop": True, "crop_size": {"height": 20, "width": 20}}
    source = made_model(tmp_path / "source", family, **crop)
    model = load(source, AUTO)
    image = torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(4))
    wanted = getattr(transformers, FAMILIES[family][0]).from_pretrained(source)(image).logits
    fit_positions(model, source)
    save(model, tmp_path / "model", tokenizer_files_from=source)
    settle_pixels(source, tmp_path / "model")
    again = load(tmp_path / "model", AUTO)
    assert again.config.image_size == 20 and torch.allclose(again(image).logits, wanted, atol=1e-5)
    wide = made_model(tmp_path / "wide", family, **{**crop, "crop_size": {"height": 12, "width": 20}})
    with pytest.raises(BadInput, match="fitted to square ones"):
        fit_positions(load(wide, AUTO), wide)


def test_a_distilled_deit_answers_with_both_its_heads(tmp_path: Path) -> None:
    folder = made_model(tmp_path / "model", "deit", architecture="DeiTForImageClassificationWithTeacher")
    model = load(folder, AUTO)
    assert torch.equal(
        model(IMAGE).logits, transformers.DeiTForImageClassificationWithTeacher.from_pretrained(folder)(IMAGE).logits
    )
    save(model, tmp_path / "saved", tokenizer_files_from=folder)
    assert torch.equal(load(tmp_path / "saved", AUTO)(IMAGE).logits, model(IMAGE).logits)


NAMES_OF_BEFORE = {
    "beit": {
        "beit.encoder.layer.1.attention.attention.relative_position_bias.relative_position_bias_table":
            "beit.layers.1.relative_position_bias.relative_position_bias_table",
        "beit.encoder.layer.1.attention.attention.key.weight": "beit.layers.1.attention.k_proj.weight",
        "beit.encoder.layer.1.lambda_1": "beit.layers.1.lambda_1",
    },
    "dinov2": {
        "dinov2.encoder.layer.0.attention.attention.value.bias": "dinov2.encoder.layer.0.attention.v_proj.bias",
        "dinov2.encoder.layer.0.attention.output.dense.weight": "dinov2.encoder.layer.0.attention.o_proj.weight",
        "dinov2.encoder.layer.0.mlp.fc1.weight": "dinov2.encoder.layer.0.mlp.fc1.weight",
    },
    "swin": {
        "swin.encoder.layers.0.blocks.1.attention.self.query.weight": "swin.encoder.layers.0.blocks.1.attention.q_proj.weight",
        "swin.encoder.layers.0.blocks.1.attention.self.relative_position_bias_table":
            "swin.encoder.layers.0.blocks.1.attention.relative_position_bias.relative_position_bias_table",
        "swin.encoder.layers.0.blocks.1.attention.output.dense.bias": "swin.encoder.layers.0.blocks.1.attention.o_proj.bias",
        "swin.encoder.layers.0.blocks.1.intermediate.dense.weight": "swin.encoder.layers.0.blocks.1.mlp.fc1.weight",
        "swin.encoder.layers.0.blocks.1.output.dense.weight": "swin.encoder.layers.0.blocks.1.mlp.fc2.weight",
    },
    "vit_msn": {"encoder.layer.0.attention.attention.query.weight": "vit.layers.0.attention.q_proj.weight"},
}  # fmt: skip


@pytest.mark.parametrize("family", NAMES_OF_BEFORE)
def test_names_of_before_of_every_family(family: str, tmp_path: Path) -> None:
    names = {name for name, _ in load(made_model(tmp_path / "model", family), AUTO).named_parameters()}
    for before, now in NAMES_OF_BEFORE[family].items():
        assert named_now(before, family) == now and now in names


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "more positions": ("vit", {"image_size": 8192, "patch_size": 4}, "make 4,194,305 positions"),
    "smaller patches": ("vit", {"patch_size": 2}, "patch_size = 2, but"),
    "one channel": (
        "siglip",
        {"vision_config": {**FAMILIES["siglip"][1]["vision_config"], "num_channels": 1}},
        "num_channels = 1, but",
    ),
    "wider neurons": ("dinov2", {"mlp_ratio": 4096}, "mlp_ratio = 4096, but"),
    "gated neurons": ("dinov2", {"use_swiglu_ffn": True}, "use_swiglu_ffn"),
    "more blocks": ("swin", {"depths": [2, 2]}, "depths and num_heads: not of the 3 blocks"),
    "other windows": ("swin", {"window_size": 2}, "window_size and num_heads, but"),
    "wider stages": ("swin", {"embed_dim": 64}, "embed_dim = 64, but"),
    "code in a part": ("clip", {"vision_config": {"auto_map": {"AutoModel": "mine.Mine"}}}, "auto_map"),
    "no part": ("clip", {"vision_config": 5}, "5 is not an object"),
    "windows that do not divide": ("swin", {"image_size": 20}, "windows of 4 do not divide the 20 / 2 positions of stage 1"),
    "an odd stage": ("swin", {"image_size": 24, "window_size": 4}, "stage 2"),
    "of any size": ("siglip", {"model_type": "siglip2"}, "it reads images of any size"),
    "other windows too": ("swin", {"model_type": "swinv2"}, "compares directions"),
}


@pytest.mark.parametrize("name", WRONG)
def test_configurations_that_do_not_fit_are_refused(name: str, tmp_path: Path) -> None:
    family, changes, said = WRONG[name]
    folder = made_model(tmp_path / "model", family)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(BadInput) as fault:
        check_files(folder)
    assert said in fault.value.text()


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
