"""Tiny checkpoints with a sequence classification head of any kind, rows for them, and the whole line over them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

import edgekit as ek
from edgekit.models import checkpoint
from edgekit.runtime.model import Model, load
from edgekit.runtime.processors import Asked, processor
from edgekit.runtime.providers.session import plain_session
from edgekit.runtime.tokenise import load_tokeniser
from edgekit.tasks import encoder_task
from edgekit.train.from_scratch import learn_wordpiece

VOCABULARY = (
    "ada bob went to paris london the a movie was good bad great awful dog"
    " cat runs sleeps food service very not we like this example is about and"
)
WORDS = VOCABULARY.split()
MAX_LENGTH = 24
TEXTS = [
    "ada went to paris", "the movie was very bad", "we like the dog", "Great FOOD, awful service!", "  bob  ", "été à Paris", "電影 好",
    "not " * 60, "🙂 good", "a",
]  # fmt: skip
"""What references are asked too: cased, accents, another script, an emoji, one word, and longer than the limit."""


def sentence(draw: np.random.Generator, words: int = 6) -> str:
    """Random words."""
    return " ".join(draw.choice(WORDS, words))


def made_model(folder: Path, labels: Sequence[str], **config: Any) -> Path:
    """A BERT of two layers with random weights and a head large enough that its scores differ."""
    folder.mkdir(parents=True)
    learn_wordpiece([" ".join(WORDS)], 400, folder)
    vocabulary = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            id2label=dict(enumerate(labels)), label2id={name: n for n, name in enumerate(labels)},
            **{"max_position_embeddings": 64, **config},
        )
    )  # fmt: skip
    for layer in (model.bert.encoder, model.bert.embeddings):
        for parameter in layer.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.classifier.weight.data *= 60
    model.save_pretrained(folder)
    return folder


def write_rows(folder: Path, rows: Sequence[Mapping[str, Any]], count: int = 8) -> None:
    """The rows as three files: all but the last ones to train on."""
    parts = {"train": rows[: -2 * count], "validation": rows[-2 * count : -count], "test": rows[-count:]}
    for split, part in parts.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))


DATA = '[data]\ntrain = "train.jsonl"\nvalidation = "validation.jsonl"\ntest = "test.jsonl"\n'


def recipe(folder: Path, task: str, more: str = "") -> Path:
    """A recipe for the checkpoint `model` and the rows beside it."""
    path = folder / "tiny.toml"
    path.write_text(f'schema = 1\ntask = "{task}"\n[model]\nid = "model"\nmax_length = {MAX_LENGTH}\n{DATA}{more}')
    return path


SHRUNK = """[[compress]]
method = "distill"
layers = 1
epochs = 1
batch = 8
[[compress]]
method = "prune-structured"
keep = 0.5
rows = 32
multiple_of = 8
"""
"""A student of one layer, then half of its heads and neurons: a few steps each."""


@dataclass(frozen=True)
class Made:
    """What an export left."""

    folder: Path
    bundle: Model
    original: Model
    """The runtime with the float32 graph of the original instead of the bundle's."""

    @property
    def lineage(self) -> dict[str, Any]:
        """The record of the run."""
        document: dict[str, Any] = json.loads((self.folder / "lineage.json").read_text())
        return document


def export(path: Path) -> Made:
    """The whole line without a measurement."""
    folder = ek.export(str(path), target="x86-vnni", build=path.parent / "build", measure=False).path
    bundle = load(folder)
    return Made(folder, bundle, replace(bundle, session=plain_session(folder / "variants" / "ort-fp32" / "model.onnx")))


def eager_answers(folder: Path, name: str, items: Sequence[Any], **asked: Any) -> list[Any]:
    """Answers of the task called `name` by the checkpoint in `folder`, with PyTorch in place of a graph."""
    task = encoder_task(name)
    model = checkpoint.load(folder, task.auto, head=task.head)
    answers = []
    for item in items:
        pairs = isinstance(item, dict)
        tokenise = load_tokeniser(folder / "tokenizer.json", MAX_LENGTH, segments=pairs, pairs=pairs)
        windows = processor(name).prepare(tokenise, item)
        feeds = [{key: torch.from_numpy(array) for key, array in window.feed().items()} for window in windows]
        with torch.inference_mode():
            outputs = [task.tensor(model, model(**feed), feed["attention_mask"]).numpy() for feed in feeds]
        answers.append(processor(name).answer(outputs, windows, Asked(item=item, **asked)))
    return answers
