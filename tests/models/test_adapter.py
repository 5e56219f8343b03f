"""Adapters of peft: what merging them writes computes what peft computes without merging; what cannot be merged is refused by its files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from edgekit.errors import BadInput
from edgekit.models.adapter import (
    READ,
    UNSET,
    adapter_faults,
    digest_of_adapter,
    facts_of_adapter,
    read_adapter,
)
from edgekit.models.checkpoint import load, resolve
from edgekit.models.merge import merge_adapter
from tests.matrix.adapters import adapter
from tests.matrix.made import decoder, encoder, write_json

CLASSES, CAUSAL = "AutoModelForSequenceClassification", "AutoModelForCausalLM"
LABELS = ("a", "b", "c")
IDS = torch.tensor([[5, 6, 1, 2, 9, 10]])


def edited(path: Path, **changes: Any) -> None:
    write_json(path, (json.loads(path.read_text()) if path.is_file() else {}) | changes)


def made(folder: Path, auto: str = CLASSES, family: str = "bert", **settings: Any) -> Any:
    """An adapter in `folder`/tuned of the base in `folder`/base; returns peft's own model of both."""
    if auto == CAUSAL:
        decoder(family, folder / "base")
    else:
        encoder(family, folder / "base", auto=auto, labels=LABELS if auto == CLASSES else ())
    return adapter(folder / "base", folder / "tuned", auto, named="base", **settings)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        output = model(input_ids=IDS)
    found: torch.Tensor = output.logits if hasattr(output, "logits") else output[0]
    return found


def merged(folder: Path, auto: str = CLASSES) -> Any:
    """The model that the adapter in `folder`/tuned and its base make here."""
    found = read_adapter(folder / "tuned", folder)
    assert found is not None and adapter_faults(found, auto, "the task", new_head=False) == []
    (folder / "merged").mkdir()
    merge_adapter(found, folder / "merged", auto=auto)
    return load(folder / "merged", auto)


@pytest.mark.parametrize(
    ("auto", "family", "settings"),
    [
        (CLASSES, "bert", {}),
        (CLASSES, "roberta", {"labels": 5}),
        (CLASSES, "bert", {"use_dora": True, "use_rslora": True}),
        (CLASSES, "bert", {"bias": "all", "lora_bias": True}),
        (CLASSES, "bert", {"rank_pattern": {"query": 2}, "alpha_pattern": {"value": 9}}),
        (CLASSES, "bert", {"layers_to_transform": [1], "target_modules": ["query", "value"]}),
        ("AutoModelForTokenClassification", "modernbert", {"labels": 4}),
        ("AutoModel", "bert", {}),
        (CAUSAL, "gpt2", {}),
        (CAUSAL, "llama", {"modules_to_save": ["lm_head", "embed_tokens"]}),
        (CAUSAL, "qwen2", {"target_modules": ["embed_tokens", "q_proj"]}),
        (CAUSAL, "gemma", {"target_modules": ["embed_tokens", "q_proj"]}),
        (CAUSAL, "gpt2", {"target_modules": ["wte", "c_attn"]}),
        (CAUSAL, "llama", {"trainable_token_indices": {"embed_tokens": [1, 2]}}),
    ],
    ids=str,
)  # fmt: skip
def test_a_merged_adapter_computes_what_peft_computes(auto: str, family: str, settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = logits(made(tmp_path, auto, family, **settings))
    found = logits(merged(tmp_path, auto))
    assert found.shape == theirs.shape and (found - theirs).abs().max() < 3e-5
    if "labels" not in settings:
        assert (logits(load(tmp_path / "base", auto)) - theirs).abs().max() > 0.01


def test_an_adapter_with_rows_for_new_tokens(tmp_path: Path) -> None:
    decoder("llama", tmp_path / "wider", vocab_size=700)
    adapter(tmp_path / "wider", tmp_path / "tuned", CAUSAL, named="base", modules_to_save=["lm_head", "embed_tokens"])
    decoder("llama", tmp_path / "base")
    found = read_adapter(tmp_path / "tuned", tmp_path)
    assert found is not None and adapter_faults(found, CAUSAL, "text-generation", new_head=False) == []
    facts = facts_of_adapter(found)
    assert facts.token_ids is not None and facts.token_ids.rows == 700
    assert merged(tmp_path, CAUSAL).get_input_embeddings().weight.shape[0] == 700


def test_every_setting_of_lora_is_followed_or_refused() -> None:
    """A release of peft with a new setting fails here, until it is known whether merging follows it."""
    settings = {field.name for field in dataclasses.fields(LoraConfig)}
    assert settings <= {*READ, *UNSET} and not set(READ) & set(UNSET)


def test_facts_are_those_of_base_and_adapter(tmp_path: Path) -> None:
    made(tmp_path, labels=5)
    found = read_adapter(tmp_path / "tuned", tmp_path)
    assert found is not None
    facts = facts_of_adapter(found)
    assert facts.labels == tuple(f"LABEL_{number}" for number in range(5))
    assert (facts.checkpoint, facts.architecture, facts.layers) == (str(tmp_path / "tuned"), "bert", 2)
    edited(
        tmp_path / "tuned" / "config.json", model_type="bert", id2label={str(number): f"kind {number}" for number in range(5)}
    )
    assert facts_of_adapter(found).labels == tuple(f"kind {number}" for number in range(5))
    edited(tmp_path / "tuned" / "config.json", model_type="roberta")
    assert any('model_type = "roberta"' in fault for fault in adapter_faults(found, CLASSES, "a task", new_head=False))


def test_both_folders_count_in_the_digest(tmp_path: Path) -> None:
    made(tmp_path)
    found = read_adapter(tmp_path / "tuned", tmp_path)
    assert found is not None
    digests = [digest_of_adapter(found)]
    for path in (tmp_path / "tuned" / "adapter_model.safetensors", tmp_path / "base" / "model.safetensors"):
        state = load_file(path)
        name = next(iter(state))
        save_file(state | {name: state[name] + 1}, path, metadata={"format": "pt"})
        digests.append(digest_of_adapter(found))
    edited(tmp_path / "tuned" / "adapter_config.json", lora_alpha=7)
    digests.append(digest_of_adapter(found))
    assert len(set(digests)) == 4


def test_a_base_is_found_beside_the_adapter_beside_the_recipe_and_in_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path)
    tuned = tmp_path / "tuned" / "adapter_config.json"
    for named in ("base", "../base", str(tmp_path / "base")):
        edited(tuned, base_model_name_or_path=named)
        found = read_adapter(tmp_path / "tuned", tmp_path)
        assert found is not None and found.base == tmp_path / "base" and found.base_name == "base"
    edited(tuned, base_model_name_or_path="owner/name")
    with pytest.raises(BadInput, match="cannot be merged into its base") as fault:
        read_adapter(tmp_path / "tuned", tmp_path)
    assert "its base owner/name is no folder here and not in the hub's cache" in fault.value.text()
    cache = tmp_path / "cache" / "models--owner--name"
    (cache / "snapshots").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0" * 40)
    (tmp_path / "base").rename(cache / "snapshots" / ("0" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    found = read_adapter(tmp_path / "tuned", tmp_path)
    assert found is not None and found.base == cache / "snapshots" / ("0" * 40) and found.base_name == "owner/name"


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda folder: edited(folder / "adapter_config.json", peft_type="IA3"), 'peft_type = "IA3": it is merged by peft, not here'),
        (lambda folder: edited(folder / "adapter_config.json", peft_type="P_TUNING"), 'peft_type = "P_TUNING": it is no change of the base'),
        (lambda folder: edited(folder / "adapter_config.json", alora_invocation_tokens=[1]), "alora_invocation_tokens: it is to act"),
        (lambda folder: edited(folder / "adapter_config.json", layer_replication=[[0, 2]]), "layer_replication: its base has layers twice"),
        (lambda folder: edited(folder / "adapter_config.json", init_lora_weights="pissa"), 'init_lora_weights = "pissa"'),
        (lambda folder: edited(folder / "adapter_config.json", of_tomorrow=3), "of_tomorrow: not known here"),
        (lambda folder: edited(folder / "adapter_config.json", base_model_name_or_path=None), "names no base"),
        (pickled, "adapter_model.bin is a pickle"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_merged_weights_cannot_hold_is_refused(edit: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    made(tmp_path, target_modules=["query"])
    edit(tmp_path / "tuned")
    with pytest.raises(BadInput, match="cannot be merged into its base") as fault:
        read_adapter(tmp_path / "tuned", tmp_path)
    assert any(said in text for text in fault.value.faults)
    assert "merge_and_unload" in fault.value.text()


def test_all_such_faults_are_told_at_once(tmp_path: Path) -> None:
    made(tmp_path, target_modules=["query"])
    edited(tmp_path / "tuned" / "adapter_config.json", use_qalora=True, base_model_name_or_path="owner/name")
    pickled(tmp_path / "tuned")
    with pytest.raises(BadInput) as fault:
        read_adapter(tmp_path / "tuned", tmp_path)
    assert len(fault.value.faults) == 3


def test_tensors_of_no_module_or_shape_of_the_base(tmp_path: Path) -> None:
    made(tmp_path)
    found = read_adapter(tmp_path / "tuned", tmp_path)
    assert found is not None
    encoder("bert", tmp_path / "base", labels=LABELS, hidden_size=64)
    assert any("does not fit base" in fault for fault in adapter_faults(found, CLASSES, "a task", new_head=False))
    encoder("distilbert", tmp_path / "base", labels=LABELS)
    assert any(
        "of modules that base does not have" in fault for fault in adapter_faults(found, CLASSES, "a task", new_head=False)
    )
    edited(tmp_path / "tuned" / "adapter_config.json", task_type="CAUSAL_LM")
    other = read_adapter(tmp_path / "tuned", tmp_path)
    assert other is not None
    assert any('task_type = "CAUSAL_LM"' in fault for fault in adapter_faults(other, CLASSES, "a task", new_head=False))


def test_no_head_is_drawn_at_random(tmp_path: Path) -> None:
    """Neither base nor adapter has one: it is left out of the merged checkpoint, as `load` then says."""
    made(tmp_path)
    path = tmp_path / "tuned" / "adapter_model.safetensors"
    save_file(
        {name: value for name, value in load_file(path).items() if "classifier" not in name}, path, metadata={"format": "pt"}
    )
    base = tmp_path / "base" / "model.safetensors"
    save_file(
        {name: value for name, value in load_file(base).items() if "classifier" not in name}, base, metadata={"format": "pt"}
    )
    found = read_adapter(tmp_path / "tuned", tmp_path)
    assert found is not None
    assert "classifier" not in str(facts_of_adapter(found).modules)


def test_elsewhere_an_adapter_is_called_one(tmp_path: Path) -> None:
    made(tmp_path, target_modules=["query"])
    with pytest.raises(BadInput, match=r"an adapter of base \(adapter_config.json, LORA\)"):
        load(resolve(tmp_path / "tuned"))
    assert read_adapter(tmp_path / "base", tmp_path) is None
