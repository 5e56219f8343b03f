"""config.json of a checkpoint: what could name code or a place is refused, and so is what no model can have; what people have is not."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers

from edgekit.errors import BadInput
from edgekit.models.anatomy import ENCODERS
from edgekit.models.checkpoint import load
from edgekit.models.configuration import ACTIVATIONS, KEYS, config_faults, passed_on
from edgekit.models.decoders import decoder_types
from edgekit.models.facts import facts_of_checkpoint
from edgekit.models.files import check_files
from edgekit.models.image_families import IMAGE_FAMILIES
from edgekit.models.sound_families import SOUND_FAMILIES
from edgekit.models.view import open_config, view
from tests.conftest import PYTHONPATH
from tests.matrix.made import decoder, encoder

STUB = """__version__ = "0.18.2"
import sys


class Anything:
    def __init__(self, *a, **k): pass
    def __call__(self, *a, **k): return a[0] if a and callable(a[0]) else self
    def __getattr__(self, name): return Anything()


def get_kernel(*a, **k):
    print("get_kernel was called with", a, k, file=sys.stderr)
    raise RuntimeError("here code would have been fetched")


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (Anything,), {})
"""
"""A package of the name that transformers imports to fetch kernels."""
KERNEL = "kernels-community/flash-attn@main"


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_every_setting_of_transformers_classes_is_known() -> None:
    fields: set[str] = set()
    for architecture in (*ENCODERS, *IMAGE_FAMILIES, *SOUND_FAMILIES, *decoder_types()):
        kind = transformers.CONFIG_MAPPING[architecture]
        fields |= {field.name for field in dataclasses.fields(kind)}
    assert fields - set(KEYS) <= {"dtype", "transformers_version", "_out_features", "_out_indices", "out_indices"}


def test_every_activation_of_transformers_is_known() -> None:
    from transformers.activations import ACT2FN

    assert set(ACT2FN) <= ACTIVATIONS


def test_every_key_that_transformers_reads_besides_is_known() -> None:
    """Keys that a class takes from older files, and those that modules ask for by name."""
    read: set[str] = set()
    for architecture in (*ENCODERS, *decoder_types()):
        module = Path(sys.modules[transformers.CONFIG_MAPPING[architecture].__module__].__file__ or "")
        for path in module.parent.glob("*.py"):
            if path.name.startswith(("configuration_", "modeling_")) and not path.stem.endswith(("_audio", "_vision")):
                text = path.read_text(encoding="utf-8")
                read |= set(re.findall(r'getattr\((?:self\.)?config, "(\w+)"', text))
                if path.name.startswith("configuration_"):
                    read |= set(re.findall(r'kwargs\.(?:pop|get|setdefault)\("(\w+)"', text))
    assert read - set(KEYS) <= {"token_type_ids"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attn_implementation", KERNEL), ("_attn_implementation", KERNEL), ("_attn_implementation_internal", {"": KERNEL}),
        ("attention_implementation", "a/b"), ("experts_implementation", "a/b:c"), ("kernel_config", {"RMSNorm": "a/b:c"}),
        ("use_kernels", "a/b"), ("auto_map", {"AutoModel": "mine.Mine"}), ("trust_remote_code", True), ("custom_pipelines", {"a": {"impl": "a.B"}}),
        ("quantization_config", {"quant_method": "gptq"}), ("loader", "mine.module:run"), ("weights", "https://example.org/x"),
        ("weights", "~/x"), ("weights", "..\\x"), ("text_config", {"auto_map": {"AutoModel": "mine.Mine"}}), ("parts", ["a", "b/c"]),
        ("hidden_act", "mine.Mine"), ("architectures", ["../Mine"]), ("rope_scaling", {"rope_type": "a/b"}), ("score_activation", "os.system"),
    ],
)  # fmt: skip
def test_what_could_name_code_or_a_place(copy: Path, key: str, value: Any) -> None:
    edit(copy, **{key: value})
    with pytest.raises(BadInput) as fault:
        check_files(copy)
    assert key in fault.value.text() or key in ("auto_map", "quantization_config")
    assert fault.value.fix


@pytest.mark.parametrize("value", ["eager", "sdpa", "flash_attention_2", None])
def test_attention_is_ours_to_choose(copy: Path, value: str | None) -> None:
    edit(copy, attn_implementation=value, _attn_implementation_autoset=True)
    assert load(copy).config._attn_implementation in ("eager", "sdpa")
    with view(copy) as seen:
        assert not [key for key in json.loads((seen / "config.json").read_text()) if "attn_implementation" in key]


@pytest.mark.parametrize("key", ["auto_map", "quantization_config", "custom_pipelines"])
def test_keys_that_name_code_and_hold_nothing_name_none(copy: Path, key: str) -> None:
    for empty in (None, {}):
        edit(copy, **{key: empty})
        assert load(copy)


def test_kernels_are_never_asked_for(copy: Path, tmp_path: Path) -> None:
    """With a package that transformers would fetch kernels by, and a configuration that asks for them."""
    (tmp_path / "kernels.py").write_text(STUB)
    program = (
        "import sys; from pathlib import Path; from edgekit.models.view import view; from edgekit.errors import BadInput\n"
        "import edgekit.models.files as files, edgekit.models.view as views, edgekit.models.checkpoint as checkpoint\n"
        "folder = Path(sys.argv[1])\n"
        "try: checkpoint.load(folder)\n"
        "except BadInput as fault: print('refused', fault.what)\n"
        "views.sound_config = checkpoint.check_files = lambda folder: files.read_json(Path(folder) / 'config.json')\n"
        "model = checkpoint.load(folder); print(model.config._attn_implementation)\n"
    )
    edit(copy, attn_implementation=KERNEL, _attn_implementation=KERNEL, attention_implementation=KERNEL, use_kernels=True)
    done = subprocess.run(
        [sys.executable, "-c", program, str(copy)], capture_output=True, text=True, check=False, timeout=120,
        env={"PYTHONPATH": f"{tmp_path}:{PYTHONPATH}", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "get_kernel" not in done.stdout + done.stderr
    assert done.stdout.split("\n")[0].startswith("refused")
    assert done.stdout.split("\n")[1] in ("eager", "sdpa"), "even a configuration that was not refused chooses nothing"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_attention_heads", 3), ("num_attention_heads", 0), ("num_attention_heads", -4), ("num_attention_heads", [4]),
        ("hidden_size", "abc"), ("hidden_size", 10**9), ("hidden_size", 64), ("hidden_size", None), ("hidden_size", float("nan")),
        ("hidden_size", 32.5), ("hidden_size", True), ("vocab_size", 2**31), ("vocab_size", 7), ("max_position_embeddings", 10**10),
        ("max_position_embeddings", 512), ("num_hidden_layers", 10**7), ("num_hidden_layers", 900), ("num_hidden_layers", 1),
        ("intermediate_size", 10**9), ("intermediate_size", 65), ("num_labels", 10**9), ("num_labels", 99_999), ("id2label", ["a"]),
        ("id2label", "a"), ("label2id", [1]), ("model_type", ["bert"]), ("model_type", {"a": 1}), ("layer_norm_eps", "1e-12"),
        ("layer_norm_eps", float("inf")), ("hidden_dropout_prob", [0.1]), ("pad_token_id", 10**20), ("eos_token_id", ["a"]),
        ("type_vocab_size", "2"), ("hidden_act", 3), ("is_decoder", "yes"), ("hidden_act", "abc"), ("hidden_act", ""),
        ("hidden_dropout_prob", 3), ("hidden_dropout_prob", -0.5),
        ("initializer_range", -0.5), ("type_vocab_size", -1), ("layer_norm_eps", -1.0), ("rope_scaling", {"a": {"b": {"c": {"d": 1}}}}),
    ],
)  # fmt: skip
def test_what_no_model_can_have_is_refused_by_name(copy: Path, key: str, value: Any) -> None:
    config = json.loads((copy / "config.json").read_text())
    if key == "num_labels":
        config.pop("id2label")
    (copy / "config.json").write_text(json.dumps(config | {key: value, "model_type": config["model_type"]} | {key: value}))
    (copy / "edgekit.json").unlink(missing_ok=True)  # as a checkpoint from elsewhere
    with pytest.raises(BadInput) as fault:
        check_files(copy)
    assert any(words in fault.value.text() for words in (key, "labels", "is no JSON number"))
    assert len(fault.value.text()) < 1000


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "", "[]", "null", "\x00", '{"hidden_size": 1e999}'])
def test_what_is_no_configuration(copy: Path, text: str) -> None:
    (copy / "config.json").write_text(text)
    with pytest.raises(BadInput) as fault:
        check_files(copy)
    assert len(fault.value.text()) < 1000


REAL: list[dict[str, Any]] = [
    {"gradient_checkpointing": False, "position_embedding_type": "absolute", "transformers_version": "4.8.2", "_name_or_path": "a/b-c"},
    {"pooler_fc_size": 768, "pooler_type": "first_token_transform", "directionality": "bidi", "language": "english", "output_past": True},
    {"tie_weights_": True, "sinusoidal_pos_embds": False, "finetuning_task": "sst-2", "torch_dtype": "float16", "adapters": {"adapters": {}}},
    {"task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}, "n_ctx": 1024, "predict_special_tokens": True},
    {"rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "rope_type": "llama3", "original_max_position_embeddings": 8192}},
    {"eos_token_id": [128001, 128009], "pretraining_tp": 1, "_attn_implementation_autoset": True, "unsloth_version": "2024.9"},
    {"pos_att_type": "p2c|c2p", "norm_rel_ebd": "layer_norm", "position_buckets": 256, "max_relative_positions": -1, "pooler_dropout": 0},
    {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity", "_num_labels": 1, "label2id": {"LABEL_0": 0}},
    {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "4.1.0"}, "classifier_dropout": None},
    {"reference_compile": None, "global_rope_theta": 160000.0, "classifier_pooling": "mean", "repad_logits_with_grad": False},
    {"pad_token_id": -1, "rope_theta": 1000000, "use_sliding_window": False, "sliding_window": None, "attention_bias": False},
    {"problem_type": "multi_label_classification", "dtype": "bfloat16", "hidden_activation": None, "pruned_heads": {}, "do_sample": True},
    {"transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}, "tokenizer_class": None, "id2label": {"0": "a/b: c", "1": "~x"}},
]  # fmt: skip
"""What published checkpoints carry besides."""


@pytest.mark.parametrize("extras", REAL)
def test_what_real_checkpoints_carry_is_not_refused(extras: dict[str, Any]) -> None:
    assert config_faults({"model_type": "bert", **extras}) == []


def test_records_and_names_of_methods_are_not_passed_on(copy: Path) -> None:
    edit(
        copy,
        to_dict=3,
        use_return_dict=False,
        _name_or_path="a/b",
        task_specific_params={"a": "b/c"},
        gradient_checkpointing=False,
    )
    config = open_config(copy)
    assert callable(config.to_dict)
    assert config.name_or_path == str(copy)
    assert config.gradient_checkpointing is False
    assert not hasattr(config, "task_specific_params")


@pytest.mark.parametrize("family", [*ENCODERS, *decoder_types()])
def test_made_models_of_every_family_are_sound(family: str, tmp_path: Path) -> None:
    made = (encoder if family in ENCODERS else decoder)(family, tmp_path / family)
    config = check_files(made)
    assert passed_on(config, ()).keys() >= {key for key in config if not key.startswith("_")} - {
        "dtype",
        "transformers_version",
    }
    for key, wrong in (("vocab_size", config["vocab_size"] + 1), ("num_hidden_layers", 7), ("n_layer", 7), ("n_layers", 7)):
        if key in config and not (family == "albert" and key == "num_hidden_layers"):
            edit(made, **{key: wrong})
            with pytest.raises(BadInput, match="belong together"):
                check_files(made)
            edit(made, **{key: config[key]})


def test_real_models_are_sound(shared: Path) -> None:
    for path in sorted((shared / "models").glob("*/config.json")):
        assert config_faults(json.loads(path.read_text())) == [] or json.loads(path.read_text())["model_type"] == "vit"
        if (path.parent / "tokenizer.json").is_file():
            check_files(path.parent)


def relabelled(folder: Path, name: str, kind: str) -> None:
    """Give a tensor another number format in the header, its bytes as they are."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header[name]["dtype"] = kind
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + data[8 + size :])


@pytest.mark.parametrize(
    "name", ["classifier.bias", "bert.encoder.layer.0.output.dense.weight", "bert.embeddings.LayerNorm.weight"]
)
@pytest.mark.parametrize("kind", ["I32", "U32", "BOOL", "F64", "F8_E4M3", "nonsense"])
def test_numbers_of_another_format(copy: Path, name: str, kind: str) -> None:
    relabelled(copy, name, kind)
    with pytest.raises(BadInput) as fault:
        check_files(copy)
    assert kind in fault.value.text() or "safetensors" in fault.value.text()


@pytest.mark.parametrize(
    "change",
    [
        lambda offsets: [0, offsets[1] - offsets[0]],  # over another tensor
        lambda offsets: [offsets[0], offsets[1] + 4],
        lambda offsets: [offsets[0] + 10**9, offsets[1] + 10**9],
        lambda offsets: [offsets[1], offsets[0]],
        lambda offsets: [-8, offsets[1]],
        lambda offsets: [0, 2**63],
    ],
)
def test_offsets_that_overlap_or_leave_the_file(copy: Path, change: Any) -> None:
    path = copy / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = "bert.encoder.layer.1.output.dense.weight"
    header[name]["data_offsets"] = change(header[name]["data_offsets"])
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + data[8 + size :])
    with pytest.raises(BadInput, match="safetensors"):
        check_files(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_link_that_leaves_the_folder(copy: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (copy / name).rename(elsewhere / name)
    (copy / name).symlink_to(elsewhere / name)
    with pytest.raises(BadInput, match="a link that leaves the folder"):
        check_files(copy)


def test_shards_that_are_links_out(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").rename(tmp_path / "w.safetensors")
    (copy / "model-00001-of-00001.safetensors").symlink_to(tmp_path / "w.safetensors")
    (copy / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')
    with pytest.raises(BadInput, match="a link that leaves the folder"):
        check_files(copy)


def test_links_within_a_folder_and_the_hubs_cache_are_sound(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").rename(copy / "weights.safetensors")
    (copy / "model.safetensors").symlink_to("weights.safetensors")
    check_files(copy)
    cache = tmp_path / "models--a--b"
    snapshot, blobs = cache / "snapshots" / "0123", cache / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in copy.iterdir():
        shutil.copyfile(path, blobs / path.name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    check_files(snapshot)
    (tmp_path / "link").symlink_to(copy)
    check_files(tmp_path / "link")


def test_what_transformers_cannot_build_is_told(copy: Path) -> None:
    edit(copy, add_cross_attention=True)  # of a model that is no decoder
    with pytest.raises(BadInput, match="cannot build a model of this configuration"):
        load(copy)


@pytest.mark.parametrize(
    "name", ["modules.json", "config_sentence_transformers.json", "tokenizer_config.json", "generation_config.json"]
)
def test_nesting_in_any_of_its_files_is_no_traceback(copy: Path, name: str) -> None:
    (copy / name).write_text("[" * 100_000)
    try:
        facts_of_checkpoint(str(copy))
        check_files(copy)
    except BadInput as fault:
        assert len(fault.text()) < 1000
