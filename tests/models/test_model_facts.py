"""What is known of a model from its files, before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgekit.config.recipe import NewModel
from edgekit.models.ends import repetition_penalty_of
from edgekit.models.facts import ModelFacts, cut_to, facts_of_checkpoint, facts_of_new


def checkpoint(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ({"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}, (6, 384, 12, 12, 1536)),
        ({"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072}, (6, 768, 12, 12, 3072)),
        ({"n_embd": 48, "n_layer": 3, "n_head": 4, "n_inner": None}, (3, 48, 4, 4, None)),
        ({"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2, "ffn_dim": 99}, (None, 64, 8, 2, 99)),
        ({"hidden_size": "64", "num_attention_heads": None, "num_hidden_layers": True}, (None, None, None, None, None)),
    ],
)  # fmt: skip
def test_sizes_by_all_their_names(tmp_path: Path, config: dict[str, Any], sizes: tuple[int | None, ...]) -> None:
    facts = facts_of_checkpoint(str(checkpoint(tmp_path, config)))
    assert (facts.layers, facts.hidden_size, facts.heads, facts.kv_heads, facts.intermediate_size) == sizes


def test_positions_begin_beyond_the_padding_id_in_some_architectures(tmp_path: Path) -> None:
    for architecture, positions in (("bert", 514), ("roberta", 512), ("xlm-roberta", 512), ("mpnet", 512)):
        folder = checkpoint(tmp_path, {"model_type": architecture, "max_position_embeddings": 514})
        assert facts_of_checkpoint(str(folder)).positions == positions


def test_layers_that_were_cut_are_known_by_their_largest(tmp_path: Path) -> None:
    checkpoint(tmp_path, {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64})
    layers = [{"heads": 3, "head_size": 8, "neurons": 32}, {"heads": 2, "head_size": 8, "neurons": 48}]
    (tmp_path / "edgekit.json").write_text(json.dumps({"schema_version": 1, "layers": layers}))
    facts = facts_of_checkpoint(str(tmp_path))
    assert (facts.heads, facts.intermediate_size, facts.uniform) == (3, 48, False)


def test_weights_tokenizer_and_labels(tmp_path: Path) -> None:
    checkpoint(tmp_path, {"id2label": {str(number): f"l{number}" for number in range(11)}})
    save_file(
        {"lm_head.weight": np.zeros((2, 2), np.float32), "norm.weight": np.zeros(2, np.float32)}, tmp_path / "model.safetensors"
    )
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Unigram", "vocab": [["a", -1.0]]}}')
    facts = facts_of_checkpoint(str(tmp_path))
    assert facts.labels == tuple(f"l{number}" for number in range(11))
    assert (facts.tokenizer, facts.vocabulary) == ("Unigram", {"0": ["a", -1.0]})
    assert (facts.modules, facts.fills_masks) == (("lm_head",), True)


@pytest.mark.parametrize("spoilt", ["", "[]", '{"model": 3, "layers": 4, "id2label": 7}', "\xff"])
def test_what_cannot_be_read_is_not_known(tmp_path: Path, spoilt: str) -> None:
    for name in ("config.json", "tokenizer.json", "edgekit.json", "model.safetensors"):
        (tmp_path / name).write_bytes(spoilt.encode("latin-1"))
    facts = facts_of_checkpoint(str(tmp_path))
    assert facts.unreadable or facts.labels_fault, "and what is wrong is told"
    assert replace(facts, unreadable=(), labels_fault=None) == ModelFacts(checkpoint=str(tmp_path))
    assert facts_of_checkpoint("owner/on-the-hub") == ModelFacts(checkpoint="owner/on-the-hub")


def test_a_model_trained_from_nothing_is_known_by_its_table(tiny_model: Path) -> None:
    new = NewModel(layers=3, width=32, heads=4, neurons=64)
    stated, made = facts_of_new(new, decoder=False), facts_of_checkpoint(str(tiny_model))
    for field in ("architecture", "layers", "hidden_size", "heads", "kv_heads", "intermediate_size", "uniform", "tokenizer"):
        assert getattr(stated, field) == getattr(made, field), field
    linears = {name.removesuffix(".weight") for name in made.modules or () if "encoder.layer" in name}
    assert linears == {name for name in stated.modules or () if "encoder.layer" in name}
    decoder = facts_of_new(new, decoder=True)
    assert (decoder.architecture, decoder.tokenizer, decoder.kv_heads) == ("llama", "BPE", 4)


def test_sizes_after_a_cut() -> None:
    assert [cut_to(6, 4), cut_to(6, 9), cut_to(6, None), cut_to(None, 4), cut_to(None, None)] == [4, 6, 6, 4, None]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"num_beams": 4}, "num_beams"), ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size"), ({"suppress_tokens": [5]}, "suppress_tokens"),
        ({"stop_strings": ["x"]}, "stop_strings"), ({"forced_bos_token_id": 0}, "forced_bos_token_id"), ({"min_new_tokens": 2}, "min_new_tokens"),
        ({"temperature": 0.7, "top_p": 0.8, "do_sample": True, "repetition_penalty": 1.1, "num_beams": 1, "suppress_tokens": None}, None),
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_generate_that_a_bundle_does_not_have(settings: dict[str, Any], key: str | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    found = facts_of_checkpoint(str(tmp_path)).odd_ends
    assert [fault.split(" = ")[0] for fault in found] == ([] if key is None else [f"model: generation_config.json, {key}"])
    assert repetition_penalty_of({}, settings) == settings.get("repetition_penalty")


@pytest.mark.parametrize(
    ("file", "document", "words"),
    [
        ("config.json", {"is_decoder": True}, "is_decoder"),
        ("config.json", {"chunk_size_feed_forward": 4}, "write 0"),
        ("config.json", {"pad_token_id": 9, "vocab_size": 9}, "pad_token_id: 9"),
        ("config.json", {"model_type": "deberta-v2", "conv_kernel_size": 3}, "conv_kernel_size"),
        ("config.json", {"model_type": "deberta-v2", "conv_kernel_size": 0}, None),
        ("tokenizer_config.json", {"split_special_tokens": True}, "split_special_tokens"),
        ("config.json", {"is_decoder": False, "pad_token_id": -1, "vocab_size": 9}, None),
    ],
)
def test_what_files_ask_for_and_nothing_computes(
    file: str, document: dict[str, Any], words: str | None, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(json.dumps(document))
    found = facts_of_checkpoint(str(tmp_path)).unread
    assert (words is None and not found) or (words is not None and words in found[0])
