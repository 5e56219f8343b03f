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
from edgekit.models.checkpoint import load, save
from edgekit.models.files import check_files, digest
from edgekit.models.shapes import cut, keep_layers, shapes_of
from edgekit.models.sound_families import SOUND_FAMILIES, fewest_samples, frames_of, frames_read
from edgekit.models.sounds import settle_sound
from edgekit.runtime.providers.session import plain_session
from tests.audit.test_audit import ISA
from tests.models.test_image_encoders import older
from tests.tiny_sounds import BINS, FAMILIES, FRAMES, LABELS, made_model

AUTO = "AutoModelForAudioClassification"
SOUND = torch.randn(2, FRAMES, BINS, generator=torch.Generator().manual_seed(3))


def test_every_family_is_tried() -> None:
    assert sorted(SOUND_FAMILIES) == sorted(FAMILIES)


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


@pytest.fixture(scope="module", params=[5, 8])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fused graph of an AST whose patches overlap, and of one whose patches do not."""
    folder = made_model(tmp_path_factory.mktemp("made") / "model", stride=request.param)
    settle_sound(folder, folder)
    (folder / "onnx").mkdir()
    export(folder, folder / "onnx", task="audio-classification", max_length=128)
    return folder / "onnx" / FUSED


@pytest.mark.parametrize("form", ["static", "dynamic"])
def test_every_matmul_is_quantized(exported: Path, form: str, tmp_path: Path) -> None:
    """Patches that overlap are gathered, so that they are a MatMul too."""
    import onnx_ir as ir

    from edgekit.config.recipe import Calibration
    from edgekit.onnx_graph.rewrite import tidy
    from edgekit.progress import silent
    from edgekit.quantize.dynamic import quantize_dynamic
    from edgekit.quantize.static import activation_ranges, quantize_static
    from edgekit.quantize.unfuse import unfuse

    feeds = [{"input_values": SOUND[:1].numpy()}]
    wanted = plain_session(exported).run(None, feeds[0])[0]
    model = ir.load(exported)
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


SAMPLES = torch.randn(3, 900, generator=torch.Generator().manual_seed(4))


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # torch's, of what transformers gives WavLM
@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_padding_changes_nothing_where_frames_are_normalised_by_themselves(family: str, norm: str, tmp_path: Path) -> None:
    """A mask of frames gives what transformers gives of its mask of samples; group norm reads the padding, alone or not."""
    import transformers

    folder = made_model(tmp_path / "model", family, norm=norm)
    theirs = transformers.AutoModelForAudioClassification.from_pretrained(folder).eval()
    ours, config = load(folder, AUTO), json.loads((folder / "config.json").read_text())
    lengths = [900, 300, fewest_samples(config)]
    frames = [frames_of(config, length) for length in lengths]
    assert frames == theirs._get_feat_extract_output_lengths(torch.tensor(lengths)).tolist() and frames[-1] == 1
    assert frames_of(config, lengths[-1] - 1) < 1 and frames_read(config) == 0
    of_samples, of_frames = ((torch.arange(max(counts)) < torch.tensor(counts)[:, None]).long() for counts in (lengths, frames))
    together = ours(SAMPLES * of_samples, attention_mask=of_frames).logits
    assert torch.allclose(together, theirs(SAMPLES * of_samples, attention_mask=of_samples).logits, atol=1e-5)
    alone = torch.cat([ours(row[None, :length]).logits for row, length in zip(SAMPLES, lengths, strict=True)])
    assert torch.allclose(together, alone, atol=1e-4) == (norm == "layer")
    assert not hasattr(ours.base_model, "masked_spec_embed") and ours.config.mask_time_prob == 0


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_cut_models_of_samples_are_stored(norm: str, tmp_path: Path) -> None:
    """Either place of its norms, with a head that weighs layers or without; the convolution of positions keeps its weight norm."""
    model = load(made_model(tmp_path / "model", "wav2vec2", norm=norm, layers=3), AUTO)
    zeroed = copy.deepcopy(model)
    for layer in zeroed.base_model.encoder.layers:
        layer.attention.out_proj.weight.data[:, 8:16] = 0
        layer.feed_forward.output_dense.weight.data[:, ::2] = 0
    cut(model, [[0, 2, 3]] * 3, [range(1, 64, 2)] * 3)
    assert torch.allclose(model(SAMPLES).logits, zeroed(SAMPLES).logits, atol=1e-4)
    keep_layers(model, [0, 2])
    save(model, tmp_path / "cut", tokenizer_files_from=tmp_path / "model")
    again = load(tmp_path / "cut", AUTO)
    assert shapes_of(again) == shapes_of(model) and torch.equal(again(SAMPLES).logits, model(SAMPLES).logits)


def test_whispers_encoder_is_cut_and_stored(tmp_path: Path) -> None:
    features = torch.randn(1, BINS, 100, generator=torch.Generator().manual_seed(5))
    model = load(made_model(tmp_path / "model", "whisper", options={"use_weighted_layer_sum": True}), AUTO)
    cut(model, [[0, 3]] * 2, [range(10)] * 2)
    keep_layers(model, [1])
    save(model, tmp_path / "cut", tokenizer_files_from=tmp_path / "model")
    assert torch.equal(load(tmp_path / "cut", AUTO)(features).logits, model(features).logits)


def test_weight_norms_of_before_are_read(tmp_path: Path) -> None:
    folder = made_model(tmp_path / "model", "wav2vec2")
    wanted, state = load(folder, AUTO)(SAMPLES).logits, load_file(folder / "model.safetensors")
    ends = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    before = {
        next((name.removesuffix(new) + old for new, old in ends.items() if name.endswith(new)), name): value
        for name, value in state.items()
    }
    assert before.keys() != state.keys()
    save_file(before, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(load(folder, AUTO)(SAMPLES).logits, wanted) and digest(folder)


UNSERVED: dict[str, tuple[dict[str, object], str]] = {
    "an adapter": ({"add_adapter": True}, "use a model without an adapter"),
    "adapters of languages": ({"adapter_attn_dim": 16}, "adapters of a language"),
    "a batch norm": ({"conv_pos_batch_norm": True}, "batch normalisation"),
    "another head": ({"architectures": ["Wav2Vec2ForXVector"]}, "Wav2Vec2ForXVector"),
    "strides of another number": ({"conv_stride": [5]}, "not one number for each"),
    "no kernels": ({"conv_kernel": [10, 0]}, "whole numbers from 1 on"),
    "a frame of a second": ({"conv_kernel": [4000, 8]}, "a frame is of"),
    "another kernel": (
        {"conv_kernel": [12, 8]},
        "conv_kernel = 12, but feature_extractor.conv_layers.0.conv.weight is (16, 1, 10)",
    ),
    "another width": ({"conv_dim": [16, 99]}, "conv_dim = 99"),
    "other positions": ({"num_conv_pos_embeddings": 32}, "num_conv_pos_embeddings = 32"),
}


@pytest.mark.parametrize("name", UNSERVED)
def test_what_no_graph_computes_is_refused_by_name(name: str, tmp_path: Path) -> None:
    changes, said = UNSERVED[name]
    folder = made_model(tmp_path / "model", "wav2vec2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(BadInput) as fault:
        check_files(folder)
    assert said in fault.value.text()


@pytest.mark.parametrize(
    ("family", "changes", "said"),
    [
        ("wav2vec2", {"feature_extractor_type": "ASTFeatureExtractor"}, "this architecture by Wav2Vec2FeatureExtractor"),
        ("wav2vec2", {"padding_value": 1.0}, "padding_value"),
        ("wav2vec2", {"sampling_rate": 1000}, "not within"),
        ("whisper", {"feature_size": 20}, "feature_size makes 20 mel bins, and the model reads 16"),
        ("whisper", {"chunk_length": 2}, "chunk_length makes 200 frames, and the model reads 100"),
        ("whisper", {"hop_length": 80}, "chunk_length makes 200 frames"),
    ],
)
def test_extractors_that_do_not_fit_are_refused(family: str, changes: dict[str, object], said: str, tmp_path: Path) -> None:
    folder = made_model(tmp_path / "model", family)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(BadInput) as fault:
        settle_sound(folder, tmp_path)
    assert said in fault.value.text()


def test_a_head_with_missing_parts_is_named(tmp_path: Path) -> None:
    folder = made_model(tmp_path / "model", "wav2vec2")
    state = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in state.items() if not name.startswith("projector")},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(BadInput, match="missing tensor projector"):
        load(folder, AUTO)
    assert load(folder, AUTO, new_head=[*LABELS, "none"]).classifier.out_features == 4


def test_settings_within_a_processor_are_read(tmp_path: Path) -> None:
    """transformers 5 saves a processor's feature extractor so, and writes no file of its own for it."""
    import transformers

    folder = made_model(tmp_path / "model", "wav2vec2", head="ForCTC", layers=1)
    settle_sound(folder, tmp_path)
    wanted, before = (tmp_path / "preprocessor_config.json").read_text(), digest(folder)
    processor = transformers.Wav2Vec2Processor.from_pretrained(folder)
    (folder / "preprocessor_config.json").unlink()
    processor.save_pretrained(folder)
    assert not (folder / "preprocessor_config.json").is_file() and check_files(folder) and digest(folder) != before
    settle_sound(folder, tmp_path)
    assert (tmp_path / "preprocessor_config.json").read_text() == wanted


@pytest.mark.parametrize("head", ["Model", "ForPreTraining", "ForCTC"])
def test_a_new_head_is_put_on_any_of_them(head: str, tmp_path: Path) -> None:
    folder = made_model(tmp_path / "model", "wav2vec2", head=head, layers=1)
    state, model = load_file(folder / "model.safetensors"), load(folder, AUTO, new_head=LABELS)
    name = "encoder.layers.0.attention.q_proj.weight"
    stored = next(value for key, value in state.items() if key.endswith(name))
    assert torch.equal(model.wav2vec2.encoder.layers[0].attention.q_proj.weight, stored) and model.classifier.out_features == 3
