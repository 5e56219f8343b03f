"""The layout of onnxruntime-genai: its Python package makes of it the tokens that the bundle makes; what it cannot hold is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from tokenizers import Tokenizer, models

from edgekit.pack.artifacts import make_artifacts
from edgekit.pack.layouts import find_layouts, genai
from edgekit.runtime.bundle.open import Bundle, open_bundle
from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.model import load
from edgekit.runtime.providers.names import CUDA
from tests.pack.speaking import speaker
from tests.runtime.generate.tiny_tokenizers import TEXTS

og: Any = pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai, which opens the folder, is not installed")


def answered(folder: Path, ids: list[int], tokens: int) -> list[int]:
    """What onnxruntime-genai goes on with."""
    model = og.Model(str(folder))
    options = og.GeneratorParams(model)
    options.set_search_options(max_length=len(ids) + tokens)
    generator = og.Generator(model, options)
    generator.append_tokens(np.array(ids, dtype=np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)[len(ids) :]]


def changed(bundle: Bundle, change: Callable[[dict[str, Any]], None], folder: Path) -> Bundle:
    """`bundle` with another tokenizer, in `folder`."""
    for name in bundle.manifest.files:
        (folder / name).write_bytes((bundle.folder / name).read_bytes())
    document = json.loads((folder / "tokenizer.json").read_text())
    change(document)
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return replace(bundle, folder=folder)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "phi3, longrope", "gpt_neox"])
def test_every_family_is_read_alike(name: str, tmp_path: Path) -> None:
    """Learned positions, windows and capped logits, scaled rotations, half rotated: the graph holds them, and no type of genai's does."""
    made = make_artifacts(speaker(name, tmp_path), layouts=["genai"])
    language = load(tmp_path / "bundle", threads=1).language
    assert language is not None
    for text in TEXTS[:3]:
        ids = language.encode(text)[:40]
        said = [*language.generate(ids, Sampling(max_new_tokens=24)).tokens]
        assert answered(made.folder / "genai", ids.tolist(), 24) == (said[:-1] if said[-1] == 1 else said)


def test_its_tokenizer_says_what_begins_ends_and_how_a_conversation_is_written(spoken: Path, tmp_path: Path) -> None:
    bundle = open_bundle(spoken / "bundle")
    genai.write(bundle, tmp_path)
    tokenizer = og.Tokenizer(og.Model(str(tmp_path)))
    assert (tokenizer.bos_token_id, [*tokenizer.eos_token_ids]) == (0, [1])
    said = [{"role": "user", "content": "hello"}]
    assert tokenizer.apply_chat_template(json.dumps(said), add_generation_prompt=True) == "<|user|>hello</s><|assistant|>"
    assert tokenizer.decode(np.array(tokenizer.encode(TEXTS[0]), dtype=np.int32)) == TEXTS[0]
    data = [folder / "model.onnx.data" for folder in (tmp_path, spoken / "bundle")]
    assert data[0].stat().st_size == data[1].stat().st_size  # the weights are the bundle's, in the formats that they have there


def test_an_answer_ends_where_the_bundles_does(spoken: Path, tmp_path: Path) -> None:
    language = load(spoken / "bundle", threads=1).language
    assert language is not None
    ids = language.encode(TEXTS[0])[:10]
    third = language.generate(ids, Sampling(max_new_tokens=8)).tokens[2]
    bundle = open_bundle(spoken / "bundle")
    assert bundle.manifest.generation is not None
    ending = replace(bundle.manifest.generation, eos=(int(third), 1))
    genai.write(replace(bundle, manifest=replace(bundle.manifest, generation=ending)), tmp_path)
    whole = [*language.generate(ids, Sampling(max_new_tokens=8)).tokens]
    assert answered(tmp_path, ids.tolist(), 8) == whole[: whole.index(third)]  # what ends it is left out


def test_what_it_cannot_hold_is_refused_by_name(
    bundle: Path, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = open_bundle(spoken / "bundle")
    assert genai.fault(sound) is None and sound.manifest.generation is not None
    with pytest.raises(BadInput, match="--layout") as refused:
        find_layouts(["genai"], open_bundle(bundle))
    assert "text-classification" in refused.value.faults[0]
    on_gpu = replace(sound.manifest, target=replace(sound.manifest.target, provider=CUDA))
    endless = replace(sound.manifest, generation=replace(sound.manifest.generation, eos=()))
    assert CUDA in str(genai.fault(replace(sound, manifest=on_gpu)))
    assert "no token ends an answer" in str(genai.fault(replace(sound, manifest=endless)))
    words = json.loads(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).to_str())
    assert "WordLevel" in str(genai.fault(changed(sound, lambda document: document.update(model=words["model"]), tmp_path)))
    monkeypatch.setattr(genai, "PACKAGE", "no_such_package")
    assert "edgekit[genai]" in str(genai.fault(sound))


def test_other_tokens_and_other_answers_are_noticed(spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = open_bundle(spoken / "bundle")
    for name in ("reads", "goes on", "tokenizer"):
        (tmp_path / name).mkdir()

    def shouted(document: dict[str, Any]) -> None:
        document["normalizer"] = {"type": "Replace", "pattern": {"String": "o"}, "content": "0"}

    with pytest.raises(CheckFailed, match="onnxruntime-genai reads"):
        genai.write(replace(sound, folder=changed(sound, shouted, tmp_path / "tokenizer").folder), tmp_path / "reads")
    read_a_mask = genai._read_a_mask

    def spoilt(graph: ir.Graph) -> None:
        read_a_mask(graph)
        norm = graph.initializers["layer.0.attention.norm.weight"]
        norm.const_value = ir.tensor(-norm.const_value.numpy(), name=norm.name)

    monkeypatch.setattr(genai, "_read_a_mask", spoilt)
    with pytest.raises(CheckFailed, match="onnxruntime-genai goes on"):
        genai.write(sound, tmp_path / "goes on")
