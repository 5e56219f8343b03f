"""Texts made by filling masks: drawn from the model's own predictions, whole words alone, and only by a model with a head for it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from edgekit.compress.distillation.fill import WORD, _draw, _whole_words, filled, filled_rows, masked_language_model
from edgekit.compress.method import Work
from edgekit.compress.methods import distill
from edgekit.compress.methods.distill import Settings
from edgekit.config.toml import parse
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.plan.make import make_plan
from edgekit.train.from_scratch import learn_wordpiece

TEXTS = ["turn on the red light in the hall", "is it on?", "paint the hall blue", "!?", "don't turn the light off"]


def quiet(done: float, total: float, text: str) -> None:
    pass


@pytest.fixture(scope="module")
def filler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random masked BERT that prefers "green", then "blue", wherever it is asked."""
    folder = tmp_path_factory.mktemp("filler")
    learn_wordpiece([*TEXTS, "green " * 99, "blue " * 99], 400, folder)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=40,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(config)
    model.cls.predictions.bias.data[[vocabulary["green"], vocabulary["blue"], vocabulary["##a"], 2]] = torch.tensor(
        [9.0, 8, 20, 20]
    )
    save_file(
        {name: value.clone() for name, value in model.state_dict().items() if "decoder" not in name},
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    return folder


def test_masks_are_filled_with_likely_whole_words(filler: Path) -> None:
    made = filled(TEXTS, 40, filler, 1, 32, quiet)
    assert len(made) == 200 and made == filled(TEXTS, 40, filler, 1, 32, quiet) != filled(TEXTS, 40, filler, 2, 32, quiet)
    counts = dict.fromkeys(("green", "blue"), 0)
    for number, text in enumerate(made):
        old, new = (WORD.findall(one) for one in (TEXTS[number % 5], text))
        assert len(old) == len(new) and WORD.split(text) == WORD.split(TEXTS[number % 5]), "only words change"
        changed = [word for word, was in zip(new, old, strict=True) if word != was]
        assert (len(changed) > 0) == (len(old) > 0)
        assert all(word.isalnum() and "[" not in word for word in changed)
        for word in counts:
            counts[word] += changed.count(word)
    assert counts["green"] > 2 * counts["blue"] > 0, "e to one, but for the text that has blue already"


def test_a_draw_follows_the_chances_without_the_word_itself() -> None:
    chances = np.array([0.5, 0.3, 0.2])
    found = [_draw("Red", ["red", "green", "blue"], chances, draw) for draw in np.linspace(0, 0.999, 1000)]
    assert found.count("green") == pytest.approx(600, abs=2) and set(found) == {"green", "blue"}
    assert _draw("red", ["red"], np.ones(1), 0.5) == "red"


def test_long_texts_are_filled_as_far_as_the_model_reads(filler: Path) -> None:
    (made,) = filled([" ".join(["light"] * 60)], 1, filler, 1, 12, quiet)
    words = made.split()
    assert len(words) == 60 and set(words[12:]) == {"light"} != set(words[:12])


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"text": "turn it on", "label": "on"}, ["text"]),
        ({"tokens": ["turn", "it", "on"], "tags": ["O", "O", "O"]}, ["tokens"]),
        ({"question": "which light?", "context": "the red light", "answers": {}}, ["question", "context"]),
        ({"sentence1": "turn it on", "sentence2": "is it on", "score": 1.0}, ["text"]),
    ],
)
def test_rows_of_every_task(filler: Path, tmp_path: Path, row: dict[str, Any], columns: list[str]) -> None:
    made = filled_rows([row], 2, filler, 7, 32, tmp_path, quiet)
    assert len(made) == (4 if "sentence1" in row else 2)
    assert all([name for name, value in one.items() if value is not None] == columns for one in made)
    assert "tokens" not in row or all(len(one["tokens"]) == 3 for one in made)
    (tmp_path / "filled.json").write_text(json.dumps(["kept"] * len(made)))
    assert "kept" in json.dumps(filled_rows([row], 2, filler, 7, 32, tmp_path, quiet)), "a killed run fills once"


def broken(filler: Path, folder: Path, drop: str, **config: Any) -> Path:
    shutil.copytree(filler, folder)
    tensors = {name: value for name, value in load_file(filler / "model.safetensors").items() if not name.startswith(drop)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(json.loads((filler / "config.json").read_text()) | config))
    return folder


def test_a_random_head_fills_nothing(filler: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no head that fills masks"):
        masked_language_model(broken(filler, tmp_path / "headless", "cls."))
    with pytest.raises(BadInput, match="missing tensors"):
        masked_language_model(broken(filler, tmp_path / "torn", "bert.encoder"))
    with pytest.raises(BadInput, match="belong together"):
        masked_language_model(broken(filler, tmp_path / "wide", "none", hidden_size=32))
    with pytest.raises(BadInput, match="no head that fills masks"):
        masked_language_model(tiny_model)
    with pytest.raises(BadInput, match="'gpt2' fills no masks"):
        masked_language_model(broken(filler, tmp_path / "gpt", "none", model_type="gpt2"))
    plain = broken(filler, tmp_path / "plain", "none")
    (plain / "tokenizer_config.json").write_text("{}")
    with pytest.raises(BadInput, match="no mask_token"):
        filled(TEXTS, 1, plain, 1, 32, quiet)


def test_old_names_of_tensors_are_read(filler: Path, tmp_path: Path) -> None:
    folder = broken(filler, tmp_path / "old", "none")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma"): value
        for name, value in load_file(folder / "model.safetensors").items()
    }
    save_file(renamed, folder / "model.safetensors")
    one, other = (masked_language_model(place).state_dict() for place in (filler, folder))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_teacher_labels_what_was_filled(tiny_model: Path, tiny_artifact: Path, filler: Path, tmp_path: Path) -> None:
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    work = Work(
        tiny_model,
        tiny_model,
        tiny_model,
        tiny_artifact,
        tmp_path / "out",
        tmp_path / "scratch",
        "text-classification",
        32,
        7,
        quiet,
    )
    asked = {"method": "distill", "epochs": 1, "batch": 16, "fill": 2, "fill_model": "mlm", "augment": 1}
    made = distill.run(replace(work, checkpoints={"mlm": str(filler)}), parse(asked, Settings, where="here"))
    assert 80 * (1 + 1) < made["history"]["rows"] <= 80 * (1 + 1 + 2)  # but for texts that are filled to another of the rows


def test_whole_words_of_byte_pairs_begin_with_a_space() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from tokenizers.decoders import ByteLevel

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<mask>", "Ġspecial"], show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 9, trainer)
    found = _whole_words(tokenizer)
    assert {"light", "turn", "the"} <= set(found.values()) and not {"<mask>", "special", "?"} & set(found.values())
    assert all(tokenizer.id_to_token(number) == f"Ġ{word}" for number, word in found.items())


@pytest.mark.parametrize("asked", [{"fill": 2}, {"fill_model": "mlm"}])
def test_copies_and_model_go_together(asked: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="fill_model"):
        parse({"method": "distill", **asked}, Settings, where="here")


def test_a_plan_looks_at_the_model_that_fills(tiny_model: Path, tiny_data: Path, filler: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny").symlink_to(tiny_model)
    shutil.copytree(filler, tmp_path / "mlm")
    data = "".join(f'{split} = "{tiny_data}/{split}.jsonl"\n' for split in ("train", "validation", "test"))
    recipe = f'schema = 1\ntask = "text-classification"\n[model]\nid = "tiny"\nmax_length = 32\n[data]\n{data}[[compress]]\nmethod = "distill"\n'

    def key(more: str) -> str:
        (tmp_path / "line.toml").write_text(recipe + more)
        return make_plan(str(tmp_path / "line.toml"), ["x86-avx2"], detect()).compressed[0].key

    first = key('fill = 2\nfill_model = "mlm"')
    assert first != key("") and first == key('fill = 2\nfill_model = "./mlm"')
    config = tmp_path / "mlm" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert key('fill = 2\nfill_model = "mlm"') != first
    with pytest.raises(BadInput, match="tiny has no head that fills masks in its weights"):
        key('fill = 2\nfill_model = "tiny"')
    with pytest.raises(BadInput, match="no such model folder"):
        key('fill = 2\nfill_model = "./absent"')
