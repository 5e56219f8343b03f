"""Checkpoints as others save them: read as transformers reads them, or refused with what they are, before anything runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from edgekit.errors import BadInput
from edgekit.models.checkpoint import load
from edgekit.models.ends import ends_of
from edgekit.models.facts import facts_of_checkpoint
from edgekit.models.files import check_files, digest
from edgekit.models.tokens import token_ids
from tests.tiny_decoders import copied

IDS = torch.randint(5, 60, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return copied(tiny_model, tmp_path / "model")


def edited(path: Path, **changes: Any) -> None:
    document = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(document | changes))


def test_norms_named_gamma_and_beta_as_in_the_first_bert(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    old = {re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", name): tensor for name, tensor in state.items()}
    old = {re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name): tensor for name, tensor in old.items()}
    assert len(set(old) - set(state)) == 2 * (1 + 2 * 3)
    save_file(old, copy / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        theirs = AutoModelForSequenceClassification.from_pretrained(copy).eval()(input_ids=IDS).logits
        assert torch.equal(load(copy)(input_ids=IDS).logits, theirs)


@pytest.mark.parametrize(
    "kind", ["without the prefix of the encoder", "with the heads of pretraining", "with numbers of positions"]
)
def test_names_that_transformers_reads_or_leaves_out(copy: Path, kind: str) -> None:
    state = load_file(copy / "model.safetensors")
    if kind == "without the prefix of the encoder":
        state = {name.removeprefix("bert."): tensor for name, tensor in state.items()}
    elif kind == "with the heads of pretraining":
        state |= {"cls.predictions.bias": torch.zeros(60), "cls.seq_relationship.weight": torch.zeros(2, 32)}
    else:
        state |= {"bert.embeddings.position_ids": torch.arange(32)[None]}
    save_file({name: tensor.clone() for name, tensor in state.items()}, copy / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        theirs = AutoModelForSequenceClassification.from_pretrained(copy).eval()(input_ids=IDS).logits
        assert torch.equal(load(copy)(input_ids=IDS).logits, theirs)


@pytest.mark.parametrize("part", ["pooler", "classifier", "layer.1.output"])
def test_tensors_that_transformers_would_draw_at_random_are_missing(copy: Path, part: str) -> None:
    state = {name: tensor for name, tensor in load_file(copy / "model.safetensors").items() if part not in name}
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="weights that cannot be used") as fault:
        load(copy)
    assert any(text.startswith("missing tensor") and part in text for text in fault.value.faults)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_weights_of_half_the_bits_are_read_as_float32(copy: Path, kind: torch.dtype) -> None:
    state = {name: tensor.to(kind) for name, tensor in load_file(copy / "model.safetensors").items()}
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        theirs = AutoModelForSequenceClassification.from_pretrained(copy, dtype=torch.float32).eval()(input_ids=IDS).logits
        assert torch.equal(load(copy)(input_ids=IDS).logits, theirs)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("layer.weight", torch.float8_e4m3fn), ("layer.weight", torch.uint8), ("layer.weight", torch.int8), ("layer.qweight", torch.int32),
     ("layer.weight_scale_inv", torch.float32), ("layer.weight.absmax", torch.float32), ("layer.SCB", torch.float32)],
)  # fmt: skip
def test_weights_that_are_quantized_already(copy: Path, name: str, kind: torch.dtype) -> None:
    state = load_file(copy / "model.safetensors")
    save_file(state | {name: torch.zeros(4, 4).to(kind)}, copy / "model.safetensors")
    with pytest.raises(BadInput, match=f"quantized already: {name} is") as fault:
        digest(copy)
    assert "float32, float16 or bfloat16" in fault.value.text()


def test_a_configuration_that_quantizes_on_loading(copy: Path) -> None:
    edited(copy / "config.json", quantization_config=None)
    check_files(copy)
    edited(copy / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(BadInput, match=r"config\.json: this model is quantized already \(quantization_config, gptq\)"):
        check_files(copy)


@pytest.mark.parametrize("whole", [True, False])
def test_an_adapter_is_called_one_and_names_its_base(copy: Path, whole: bool) -> None:
    edited(copy / "adapter_config.json", base_model_name_or_path="owner/base", peft_type="LORA", task_type="SEQ_CLS")
    if not whole:
        for name in ("config.json", "model.safetensors"):
            (copy / name).unlink()
    with pytest.raises(BadInput, match=r"an adapter of owner/base \(adapter_config.json, LORA\)") as fault:
        digest(copy)
    assert "merge_and_unload" in fault.value.text()


def test_a_part_of_a_vocabulary_is_none(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.json").write_text("{}")
    with pytest.raises(BadInput, match=r"no tokenizer\.json, and no vocabulary that transformers makes one of") as fault:
        check_files(copy)
    assert "save_pretrained" in str(fault.value.fix)


def test_tokens_beyond_the_embedding_are_counted_and_the_first_is_named(copy: Path) -> None:
    rows = json.loads((copy / "config.json").read_text())["vocab_size"]
    known = facts_of_checkpoint(str(copy)).token_ids
    assert known is not None and known.fault is None and known.rows == rows
    document = json.loads((copy / "tokenizer.json").read_text())
    document["added_tokens"] += [{"id": rows + 1, "content": "second"}, {"id": rows, "content": "first"}]
    (copy / "tokenizer.json").write_text(json.dumps(document))
    found = facts_of_checkpoint(str(copy)).token_ids
    assert found is not None and (found.count, found.rows, found.first) == (rows + 2, rows, "first")
    assert f"{rows + 2} token ids, its embedding {rows} rows" in str(found.fault)
    unigram = {"model": {"vocab": [["a", -1.0], ["b", -2.0]]}}
    assert token_ids(unigram, {"vocab_size": 1}).first == "b"  # type: ignore[union-attr]
    assert token_ids(unigram, {}) is None and token_ids({}, {"vocab_size": 9}) is None


@pytest.mark.parametrize(
    ("config", "settings", "eos", "bos"),
    [
        ({"eos_token_id": 2, "bos_token_id": 1}, None, (2,), 1),
        ({"eos_token_id": 2}, {"eos_token_id": [7, 7, 2, 7]}, (7, 2), None),
        ({"eos_token_id": 2}, {}, (), None),  # transformers: the file decides alone
        ({"eos_token_id": 2}, {"eos_token_id": None}, (), None),
        ({"eos_token_id": -1, "bos_token_id": -1}, None, (), None),
        ({"eos_token_id": 50256, "bos_token_id": 50256}, None, (50256,), 50256),
    ],
)
def test_ends_are_those_that_transformers_takes(
    config: dict[str, Any], settings: dict[str, Any] | None, eos: tuple[int, ...], bos: int | None
) -> None:
    ends = ends_of(config, settings)
    assert (ends.eos, ends.bos, ends.faults) == (eos, bos, ())
    assert all(number < 512 for number in ends.within(512).eos) and ends.within(512).bos in (None, 1)


def test_ends_that_are_no_ids_are_told_with_file_and_key(copy: Path) -> None:
    edited(copy / "config.json", bos_token_id=[1])
    edited(copy / "generation_config.json", eos_token_id=["</s>"])
    first, second = facts_of_checkpoint(str(copy)).odd_ends
    assert "generation_config.json, eos_token_id: ['</s>'] is not a token id" in first
    assert "config.json, bos_token_id: [1] is not a token id" in second
