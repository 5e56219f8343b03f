"""sentence-transformers folders: what their files say is read, and what is not computed is refused by file and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgekit.errors import BadInput
from edgekit.models.facts import facts_of_checkpoint
from edgekit.models.sentence import Dense, LayerNorm, Normalize, Sentence, read_sentence, transformer_folder, with_lower_case
from edgekit.plan.encoder import ENCODER
from edgekit.plan.recipes import recipe_model

OLD, PARTS = "sentence_transformers.models.", "sentence_transformers.sentence_transformer.modules."
BASIC = ("Transformer", "Pooling")
MEAN = {"pooling_mode_mean_tokens": True}


def folder_of(
    place: Path, *kinds: str, pooling: dict[str, Any] | None = None, configs: dict[str, Any] | None = None, **files: Any
) -> Path:
    """Module files without weights. `configs`: config.json of modules by their kind; `files`: other files by name, without .json."""
    modules = []
    for number, kind in enumerate(kinds or BASIC):
        path, name = ("" if number == 0 else f"{number}_{kind.rpartition('.')[2]}"), kind if "." in kind else OLD + kind
        modules.append({"idx": number, "name": str(number), "path": path, "type": name})
        if path:
            (place / path).mkdir(exist_ok=True)
            document = (pooling or MEAN) if kind == "Pooling" else (configs or {}).get(kind, {})
            (place / path / "config.json").write_text(json.dumps(document))
    (place / "config.json").write_text(json.dumps({"hidden_size": 8, "model_type": "bert"}))
    for name, document in {"modules": modules, **files}.items():
        (place / f"{name}.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return place


def faults_of(folder: Path) -> list[str]:
    sentence, faults = read_sentence(folder)
    assert (sentence is None) == bool(faults)
    return list(faults)


@pytest.mark.parametrize(
    ("document", "poolings"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, ("mean",)),
        ({"pooling_mode_cls_token": True}, ("cls",)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True, "pooling_mode_lasttoken": True}, ("max", "mean", "lasttoken")),
        ({"pooling_mode_weightedmean_tokens": True, "pooling_mode_mean_sqrt_len_tokens": True}, ("mean_sqrt_len_tokens", "weightedmean")),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": False}, ("mean",)),
        ({"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True}, ("mean",)),
        ({"pooling_mode": ["max", "cls"]}, ("max", "cls")),
        ({"pooling_mode": "cls", "pooling_mode_mean_tokens": True}, ("cls",)),
        ({}, ("mean",)),
    ],
)  # fmt: skip
def test_pooling(tmp_path: Path, document: dict[str, Any], poolings: tuple[str, ...]) -> None:
    """As sentence-transformers 6.2 reads both forms."""
    (tmp_path / "1_Pooling").mkdir()
    sentence, faults = read_sentence(folder_of(tmp_path, pooling=document or {"word_embedding_dimension": 8}))
    assert sentence is not None and not faults and sentence.poolings == poolings and sentence.size(8) == 8 * len(poolings)


def test_all_that_is_read(tmp_path: Path) -> None:
    dense = {
        "in_features": 8,
        "out_features": 4,
        "activation_function": "torch.nn.modules.activation.GELU",
        "use_residual": True,
    }
    folder = folder_of(
        tmp_path, *BASIC, "Dense", f"{PARTS}layer_norm.LayerNorm", "Normalize",
        configs={"Dense": dense, f"{PARTS}layer_norm.LayerNorm": {"dimension": 4}},
        sentence_bert_config={"max_seq_length": 20, "do_lower_case": True},
        config_sentence_transformers={
            "prompts": {"query": "q: ", "passage": None}, "default_prompt_name": "query", "truncate_dim": 3, "similarity_fn_name": "dot",
            "__version__": {"sentence_transformers": "3.0.0"},
        },
    )  # fmt: skip
    tensors = {"linear.weight": torch.zeros(4, 8), "linear.bias": torch.zeros(4), "residual.weight": torch.zeros(4, 8)}
    save_file(tensors, folder / "2_Dense/model.safetensors")
    save_file({"norm.weight": torch.zeros(4), "norm.bias": torch.zeros(4)}, folder / "3_LayerNorm/model.safetensors")
    sentence, faults = read_sentence(folder)
    assert not faults and sentence == Sentence(
        ("mean",), (Dense("2_Dense", 8, 4, True, "GELU", True), LayerNorm("3_LayerNorm", 4), Normalize()), True, 20,
        {"query": "q: ", "document": "", "passage": ""}, "query", 3, "dot",
    )  # fmt: skip
    assert sentence.size(8) == 3 and not sentence.unit
    assert facts_of_checkpoint(str(folder)).sentence == sentence


@pytest.mark.parametrize(
    "kind", ["LSTM", "CNN", "WeightedLayerPooling", "Router", "StaticEmbedding", "CLIPModel", "BoW", "WordWeights"]
)
def test_other_modules_are_named(tmp_path: Path, kind: str) -> None:
    (fault,) = faults_of(folder_of(tmp_path, *BASIC, kind))
    assert "modules.json" in fault and f"{kind} (2_{kind})" in fault


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ((*BASIC, "modeling.Dense"), "module modeling.Dense (2_Dense)"),
        ((*BASIC, "pylate.models.Dense.Dense"), "pylate.models.Dense.Dense"),
        (("Transformer",), "its modules are Transformer; taken"),
        (("Transformer", "Dense", "Pooling"), "its modules are Transformer, Dense, Pooling"),
        ((*BASIC, "Pooling"), "its modules are"),
        (("StaticEmbedding", "Normalize"), "StaticEmbedding ()"),
    ],
)
def test_modules_of_others_or_in_another_order(tmp_path: Path, kinds: tuple[str, ...], said: str) -> None:
    assert any(said in fault and fault.startswith("modules.json") for fault in faults_of(folder_of(tmp_path, *kinds)))


DENSE = {"in_features": 8, "out_features": 4, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"activation_function": "modeling.Swish"}, "2_Dense/config.json, activation_function: 'modeling.Swish'"),
        ({"activation_function": "torch.nn.modules.activation.PReLU"}, "activation_function"),
        ({"activation_function": "torch.nn.functional.gelu"}, "activation_function"),
        ({"activation_function": None}, "activation_function: None"),
        ({"module_input_name": "token_embeddings"}, "2_Dense/config.json, module_input_name"),
        ({"in_features": 9}, "2_Dense/config.json: it reads 9 numbers, and is given 8"),
        ({"out_features": "4"}, "in_features and out_features are no whole numbers"),
        ({"out_features": 5}, "2_Dense/model.safetensors: it holds"),
        ({"bias": False}, "2_Dense/model.safetensors: it holds"),
        ({"use_residual": True}, "residual.weight [4, 8]"),
    ],
)
def test_dense_modules_that_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    folder = folder_of(tmp_path, *BASIC, "Dense", configs={"Dense": DENSE | change})
    save_file({"linear.weight": torch.zeros(4, 8), "linear.bias": torch.zeros(4)}, folder / "2_Dense/model.safetensors")
    assert any(said in fault for fault in faults_of(folder))


def test_weights_of_modules_are_safetensors(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *BASIC, "Dense", configs={"Dense": DENSE})
    (fault,) = faults_of(folder)
    assert fault.startswith("2_Dense: no model.safetensors;")
    (folder / "2_Dense/pytorch_model.bin").write_bytes(b"pickle")
    (fault,) = faults_of(folder)
    assert "pytorch_model.bin is a pickle" in fault
    (folder / "2_Dense/config.json").unlink()
    (fault,) = faults_of(folder)
    assert fault == "2_Dense/config.json: no such file, and modules.json names it"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"modules": "{"}, "modules.json: not sound JSON"),
        ({"modules": {}}, "modules.json: not a list of modules"),
        ({"modules": [{"type": f"{OLD}Transformer", "path": "../x"}, {"type": f"{OLD}Pooling", "path": "p"}]}, "'../x' leaves the folder"),
        ({"sentence_bert_config": {"transformer_task": "fill-mask"}}, "sentence_bert_config.json, transformer_task"),
        ({"sentence_bert_config": {"modality_config": {"message": {}}}}, "sentence_bert_config.json, modality_config"),
        ({"sentence_bert_config": {"module_output_name": "sentence_embedding"}}, "sentence_bert_config.json, module_output_name"),
        ({"sentence_bert_config": {"config_args": {"is_decoder": True}}}, "sentence_bert_config.json, config_args: 'is_decoder'"),
        ({"sentence_bert_config": {"query_length": 32}}, "sentence_bert_config.json, query_length"),
        ({"sentence_bert_config": {"processing_kwargs": {"text": {}}}}, "sentence_bert_config.json, processing_kwargs"),
        ({"sentence_bert_config": {"max_seq_length": "512"}}, "sentence_bert_config.json, max_seq_length"),
        ({"config_sentence_transformers": {"model_type": "SparseEncoder"}}, "config_sentence_transformers.json, model_type"),
        ({"config_sentence_transformers": {"default_prompt_name": "q"}}, "config_sentence_transformers.json, default_prompt_name: 'q'"),
        ({"config_sentence_transformers": {"prompts": {"q": 3}}}, "config_sentence_transformers.json, prompts"),
        ({"config_sentence_transformers": {"truncate_dim": 0}}, "config_sentence_transformers.json, truncate_dim"),
        ({"config_sentence_transformers": {"similarity_fn_name": "maxsim"}}, "config_sentence_transformers.json, similarity_fn_name: 'maxsim'"),
        ({"config_sentence_transformers": "[]"}, "config_sentence_transformers.json: not a JSON object"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(tmp_path: Path, files: dict[str, Any], said: str) -> None:
    assert any(said in fault for fault in faults_of(folder_of(tmp_path, **files)))


@pytest.mark.parametrize("document", [{"pooling_mode": "attention"}, {"pooling_mode": []}, {"pooling_mode_other_tokens": True}])
def test_poolings_that_are_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    assert all(fault.startswith("1_Pooling/config.json") for fault in faults_of(folder_of(tmp_path, pooling=document)))


def test_a_pooling_without_the_prompt(tmp_path: Path) -> None:
    """Matters where there is a prompt alone."""
    pooling = {**MEAN, "include_prompt": False}
    assert faults_of(folder_of(tmp_path, pooling=pooling)) == []
    prompts = {"prompts": {"query": "q: "}, "default_prompt_name": None}
    (fault,) = faults_of(folder_of(tmp_path, pooling=pooling, config_sentence_transformers=prompts))
    assert fault.startswith("1_Pooling/config.json, include_prompt")


def test_without_modules_json_nothing_else_counts(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, pooling=MEAN, config_sentence_transformers={"model_type": "SparseEncoder"})
    (folder / "modules.json").unlink()
    assert read_sentence(folder) == (None, ()) and transformer_folder(folder) == folder
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    _, (fault,) = read_sentence(folder)
    assert "1_Pooling/config.json: it asks for cls, and without modules.json" in fault


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        (None, [{"type": "Lowercase"}]),
        ({"type": "NFC"}, [{"type": "Lowercase"}, {"type": "NFC"}]),
        ({"type": "BertNormalizer", "lowercase": True}, [{"type": "Lowercase"}, {"type": "BertNormalizer", "lowercase": True}]),
        ({"type": "Sequence", "normalizers": [{"type": "NFC"}]}, [{"type": "Lowercase"}, {"type": "NFC"}]),
        (
            {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
            [{"type": "NFC"}, {"type": "Lowercase"}],
        ),
    ],
)
def test_lower_case(rules: Any, wanted: list[Any]) -> None:
    made = with_lower_case({"normalizer": rules, "model": 1})
    assert made == {"normalizer": {"type": "Sequence", "normalizers": wanted}, "model": 1} and with_lower_case(made) == made


@pytest.mark.parametrize(
    ("settings", "tokenizer", "allowed"), [({}, 24, 24), ({"max_seq_length": 16}, 24, 16), ({"max_seq_length": 30}, 24, 30)]
)
def test_the_longest_text(tmp_path: Path, settings: dict[str, Any], tokenizer: int, allowed: int) -> None:
    """sentence-transformers' own limit replaces the tokenizer's."""
    folder = folder_of(tmp_path, sentence_bert_config=settings, tokenizer_config={"model_max_length": tokenizer})
    facts = facts_of_checkpoint(str(folder))
    for length in (allowed, allowed + 1):
        data = {split: f"{split}.jsonl" for split in ("train", "validation", "test")}
        asked = {"schema": 1, "task": "feature-extraction", "model": {"id": str(folder), "max_length": length}, "data": data}
        faults = [
            fault for fault in ENCODER.faults(recipe_model().model_validate(asked), [], facts, None) if "max_length" in fault
        ]
        assert bool(faults) == (length > allowed)
        assert not faults or ("max_seq_length" in faults[0]) == bool(settings)


def test_loading_says_the_same(tmp_path: Path) -> None:
    from edgekit.models.checkpoint import load

    folder = folder_of(tmp_path, *BASIC, "LSTM", tokenizer={})
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(BadInput) as caught:
        load(folder, "AutoModel")
    assert "LSTM" in caught.value.text()
