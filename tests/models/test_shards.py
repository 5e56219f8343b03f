"""Checkpoints in several files, and tied tensors that are stored once: read alike, and refused where files and index disagree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgekit.errors import BadInput
from edgekit.exporter.decoder import export_decoder
from edgekit.exporter.decoder_graph import write_graph
from edgekit.models.checkpoint import load, save
from edgekit.models.decoders import describe
from edgekit.models.files import check_files, digest
from edgekit.models.shards import INDEX, tensor_shapes, weight_files
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from tests.tiny_decoders import checkpoint

CAUSAL = "AutoModelForCausalLM"


def shard(source: Path, folder: Path, parts: int = 3) -> Path:
    """A copy of checkpoint `source` with its tensors dealt out to `parts` files."""
    shutil.copytree(source, folder)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    file_of = {name: f"model-{number % parts + 1:05}-of-{parts:05}.safetensors" for number, name in enumerate(sorted(state))}
    for file in set(file_of.values()):
        save_file({name: state[name] for name in file_of if file_of[name] == file}, folder / file, metadata={"format": "pt"})
    size = sum(value.nbytes for value in state.values())
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": file_of}))
    return folder


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    return shard(checkpoint("llama, tied", tmp_path / "whole"), tmp_path / "shards")


def weight_map(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
    return found


def write_map(folder: Path, file_of: dict[str, Any]) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": file_of}))


def test_a_decoder_in_shards_makes_the_same_graph(decoder: Path, tmp_path: Path) -> None:
    for name in ("from-whole", "from-shards"):
        (tmp_path / name).mkdir()
        write_graph(describe(tmp_path / name.removeprefix("from-")), tmp_path / name)
    for name in (MODEL, MODEL_DATA):
        assert (tmp_path / "from-whole" / name).read_bytes() == (tmp_path / "from-shards" / name).read_bytes()
    (tmp_path / "out").mkdir()
    made = export_decoder(decoder, tmp_path / "out", max_length=64, progress=lambda *_: None)
    assert made["difference"] < 1e-5


def test_transformers_own_shards(tmp_path: Path) -> None:
    whole = load(checkpoint("qwen2", tmp_path / "whole"), CAUSAL)
    shutil.copytree(tmp_path / "whole", tmp_path / "shards", ignore=shutil.ignore_patterns("*.safetensors"))
    whole.save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    assert len(weight_files(tmp_path / "shards")) > 3
    again = load(tmp_path / "shards", CAUSAL)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_an_encoder_in_shards(tiny_model: Path, tmp_path: Path) -> None:
    whole, parts = load(tiny_model), load(shard(tiny_model, tmp_path / "shards"))
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
    save(parts, tmp_path / "saved", tokenizer_files_from=tmp_path / "shards")
    assert [path.name for path in weight_files(tmp_path / "saved")] == ["model.safetensors"]
    fresh = load(tmp_path / "shards", new_head=["a", "b"])
    assert fresh.classifier.weight.shape[0] == 2


def test_the_digest_sees_the_index_and_every_shard(decoder: Path) -> None:
    seen = {digest(decoder)}
    for path in weight_files(decoder):
        content = path.read_bytes()
        path.write_bytes(content + b"\n" if path.name == INDEX else content[:-1] + b"\x01")
        seen.add(digest(decoder))
        path.write_bytes(content)
    assert len(seen) == 1 + len(weight_files(decoder)) == 5


def test_tensors_missing_extra_and_duplicate_all_at_once(decoder: Path) -> None:
    file_of = weight_map(decoder)
    first, second, third = sorted(set(file_of.values()))
    gone = next(name for name, file in file_of.items() if file == first)
    twice = next(name for name, file in file_of.items() if file == second)
    state = load_file(decoder / first)
    del state[gone]
    save_file({**state, twice: load_file(decoder / second)[twice], "mystery": torch.zeros(2)}, decoder / first)
    with pytest.raises(BadInput) as fault:
        describe(decoder)
    text = fault.value.text()
    assert f"missing tensor {gone}: not in {first}" in text
    assert f"duplicate tensor {twice}: in {first}, {second}" in text
    assert f"extra tensor mystery: in {first}, but not in the index" in text
    moved = next(name for name, file in file_of.items() if file == third)
    write_map(decoder, {**file_of, moved: second})
    with pytest.raises(BadInput) as fault:
        load(decoder, CAUSAL)
    assert f"missing tensor {moved}: not in {second}, but in {third}" in fault.value.text()


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("../whole/model.safetensors", "is not the name of a safetensors file in the folder"),
        ("/etc/passwd", "is not the name of a safetensors file"),
        ("pytorch_model.bin", "is not the name of a safetensors file"),
        (3, "is not the name of a safetensors file"),
        ("model-9.safetensors", "no such file: model-9.safetensors"),
    ],
)
def test_an_index_that_points_elsewhere(decoder: Path, file: Any, says: str) -> None:
    file_of = weight_map(decoder)
    write_map(decoder, {**file_of, sorted(file_of)[0]: file})
    for reads in (check_files, digest, describe, tensor_shapes):
        with pytest.raises(BadInput) as fault:
            reads(decoder)  # type: ignore[operator]
        assert says in fault.value.text() and INDEX in fault.value.text()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not sound JSON"),
        ("[1]", "names no tensors"),
        ('{"weight_map": {}}', "names no tensors"),
        ('{"weight_map": {"a": "a.safetensors", "a": "b.safetensors"}}', "key 'a' is given twice"),
        ('{"weight_map": {"a": "a.safetensors"}, "code": "b"}', "unknown key 'code'"),
        ("[" * 100_000, "nested deeper than 64"),
    ],
)
def test_an_index_that_is_none(decoder: Path, content: str, says: str) -> None:
    (decoder / INDEX).write_text(content)
    with pytest.raises(BadInput) as fault:
        check_files(decoder)
    assert says in fault.value.text()


def test_a_shard_cut_short_or_with_a_false_header(decoder: Path) -> None:
    path = weight_files(decoder)[1]
    content = path.read_bytes()
    for spoilt in (content[: len(content) // 2], b"\xff" * 8 + content[8:], b""):
        path.write_bytes(spoilt)
        with pytest.raises(BadInput, match="not a readable safetensors file"):
            describe(decoder)


def test_a_head_that_is_the_embedding_may_be_left_out(tmp_path: Path) -> None:
    source = checkpoint("llama, tied", tmp_path / "model")
    state = load_file(source / "model.safetensors")
    assert "lm_head.weight" not in state
    model = load(source, CAUSAL)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert torch.equal(model.lm_head.weight, state["model.embed_tokens.weight"])
    save(model, tmp_path / "saved", tokenizer_files_from=source)
    assert "lm_head.weight" not in load_file(tmp_path / "saved" / "model.safetensors")
    both = {**state, "lm_head.weight": state["model.embed_tokens.weight"].clone()}
    save_file(both, source / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(load(source, CAUSAL).lm_head.weight, model.lm_head.weight)
    save_file({**both, "lm_head.weight": both["lm_head.weight"] + 1}, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput) as fault:
        load(source, CAUSAL)
    assert "lm_head.weight: the configuration ties it to model.embed_tokens.weight" in fault.value.text()


def test_a_head_of_its_own_may_not(tmp_path: Path) -> None:
    source = checkpoint("llama", tmp_path / "model")
    state = load_file(source / "model.safetensors")
    del state["lm_head.weight"]
    save_file(state, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput) as fault:
        load(source, CAUSAL)
    assert "missing tensor lm_head.weight" in fault.value.text()
