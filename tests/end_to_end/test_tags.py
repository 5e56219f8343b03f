"""Taggers of your own through the whole line: a byte-level tokenizer with BIOES tags, and parts of speech with words that are dropped.

What the exported graph answers is what transformers answers of the same checkpoint, and a text and its words are answered alike.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    TokenClassificationPipeline,
)

import edgekit as ek
from edgekit.errors import CheckFailed
from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.main import main
from edgekit.runtime.model import load
from edgekit.runtime.providers.session import open_session
from tests.runtime.serve.serving import TRANSPORTS, served
from tests.tiny_word_tokenizers import roberta

PLACES = {"london": ["S-LOC"], "new york": ["B-LOC", "E-LOC"], "new york city": ["B-LOC", "I-LOC", "E-LOC"], "york": ["S-LOC"]}
KINDS = {
    "we": "X",
    "ada": "NOUN",
    "went": "VERB",
    "lives": "VERB",
    "to": "X",
    "in": "X",
    "30": "NUM",
    "times": "NOUN",
    ".": "X",
}
TARGET = "x86-avx2"


def sentences() -> list[tuple[list[str], list[str]]]:
    """Distinct sentences with the BIOES tags of their words."""
    made = []
    for who in ("we", "ada"):
        for did in ("went to", "lives in", "in", "went in 30 times to"):
            for place, tags in PLACES.items():
                for end in ("", ".", "30 times", "30 times .", "in 30"):
                    words, after = [who, *did.split()], end.split()
                    made.append(([*words, *place.split(), *after], ["O"] * len(words) + tags + ["O"] * len(after)))
    return made


def rows(kind: str) -> dict[str, list[dict[str, Any]]]:
    every = sentences()
    order = np.random.default_rng(0).permutation(len(every))
    made = [{"tokens": every[number][0], "tags": every[number][1]} for number in order]
    if kind == "speech":
        for row in made:
            row["tags"] = [KINDS.get(word, "NOUN") for word in row["tokens"]]
    splits = {"train": made[:110], "validation": made[110:130], "test": made[130:]}
    if kind == "speech":  # every test row has a word in front that the tokenizer drops
        splits["test"] = [{"tokens": ["\u200d", *row["tokens"]], "tags": ["X", *row["tags"]]} for row in splits["test"]]
    return splits


def encoder(folder: Path) -> None:
    tokenizer = roberta()
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=70, pad_token_id=3, bos_token_id=1, eos_token_id=2, type_vocab_size=1,
    )  # fmt: skip
    torch.manual_seed(0)
    RobertaModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)


MODELS = {
    "places": 'id = "encoder"\nfinetune = {epochs = 12, batch = 16, learning_rate = 3e-3}\n',
    "speech": "[model.new]\nlayers = 1\nwidth = 32\nheads = 4\nneurons = 64\nvocabulary = 200\nepochs = 12\nlearning_rate = 3e-3\nbatch = 16\n",
}
STEPS = {
    "places": '[[compress]]\nmethod = "distill"\nlayers = 1\nepochs = 4\nbatch = 16\nlearning_rate = 3e-3\n',
    "speech": '[[compress]]\nmethod = "prune-structured"\nkeep = 0.7\nmultiple_of = 8\n[[compress]]\nmethod = "prune-vocabulary"\n',
}


def recipe(folder: Path, kind: str) -> Path:
    for split, made in rows(kind).items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    path = folder / f"{kind}.toml"
    path.write_text(
        f'schema = 1\ntask = "token-classification"\n[model]\nmax_length = 48\n{MODELS[kind]}'
        '[data]\ntrain = "train.jsonl"\nvalidation = "validation.jsonl"\ntest = "test.jsonl"\n'
        f"{STEPS[kind]}[accept]\nmax_quality_drop = 0.6\n"
    )
    return path


@pytest.fixture(scope="module", params=sorted(MODELS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    kind, folder = str(request.param), tmp_path_factory.mktemp("tags")
    if kind == "places":
        encoder(folder / "encoder")
    return kind, ek.export(str(recipe(folder, kind)), target=TARGET, build=folder / "build", measure=False).path


def tags_by_transformers(folder: Path, text: str) -> list[tuple[str, int, float]]:
    """(tag, end, score) of each word of `text`, by the pipeline's own words, before it groups them."""
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    pipeline = TokenClassificationPipeline(
        model=model, tokenizer=AutoTokenizer.from_pretrained(folder), aggregation_strategy="first", ignore_labels=[]
    )
    pipeline.group_entities = lambda entities: entities
    return [(word["entity"], word["end"], float(word["score"])) for word in pipeline(text)]


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_the_graph_answers_what_transformers_answers(made: tuple[str, Path]) -> None:
    kind, path = made
    variants = json.loads((path / "lineage.json").read_text())["variants"]
    checkpoint, graph = path / variants["eager-fp32"]["folder"], path / variants["ort-fp32"]["folder"]
    bundle = load(path / "bundle")
    labels = json.loads((checkpoint / "config.json").read_text())["id2label"]
    ours = replace(
        bundle,
        session=open_session(graph / "model.onnx"),
        bundle=replace(
            bundle.bundle, manifest=replace(bundle.bundle.manifest, vocabulary=10_000, labels=tuple(labels.values()))
        ),
        reader=replace(bundle.reader, tokenizer=type(bundle.reader.tokenizer).from_file(str(graph / "tokenizer.json"))),
    )
    for words, _ in sentences()[::9]:
        text = " ".join(words)
        wanted = tags_by_transformers(checkpoint, text)
        found = ours({"words": words})
        assert found["tags"] == [tag for tag, _, _ in wanted]
        if kind == "speech":
            assert [(word["label"], word["end"]) for word in ours(text)["words"]] == [(tag, end) for tag, end, _ in wanted]
            assert [word["score"] for word in ours(text)["words"]] == pytest.approx([score for *_, score in wanted], abs=1e-3)
        else:
            spans = [(one["label"], one["text"].split()) for one in ours(text)["entities"]]
            assert spans == [(one["label"], words[one["start"] : one["end"]]) for one in found["entities"]]


def test_the_quality_is_that_of_its_tags(made: tuple[str, Path]) -> None:
    kind, path = made
    variants = json.loads((path / "lineage.json").read_text())["variants"]
    assert {variant["quality"]["metric"] for variant in variants.values()} == {
        "tag accuracy" if kind == "speech" else "span F1"
    }
    quality = json.loads((path / "bundle" / "manifest.json").read_text())["edgekit"]["quality"]
    assert quality["metric"] == variants["bundle"]["quality"]["metric"]
    most = 1.0 if kind == "places" else 1 - 30 / sum(len(row["tags"]) for row in rows(kind)["test"])
    assert most - (0.6 if kind == "places" else 0.1) < variants["ort-fp32"]["quality"]["value"] <= most + 1e-9, (
        "dropped words have no part of speech"
    )
    assert quality["metric"] in (path / "report.html").read_text()


def test_words_and_texts_over_every_door(made: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    kind, path = made
    words = ["ada", "lives", "in", "new", "york", "."]
    model = ek.load(path / "bundle")
    answer = model({"words": words})
    assert answer == model([words])[0] and len(answer["tags"]) == len(words)
    assert verify(path / "bundle")["ok"]
    assert main(["run", str(path / "bundle"), json.dumps({"words": words}), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [answer]
    assert main(["run", str(path / "bundle"), json.dumps({"words": words}), " ".join(words)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2 and ("NOUN" in shown[1] if kind == "speech" else "LOC" in shown[1])
    for transport in sorted(TRANSPORTS):
        with served(path / "bundle", transport) as server:
            route = f"/v2/models/{server.name}/infer"
            tensor = {"name": "words", "datatype": "BYTES", "shape": [1], "data": [json.dumps(words)]}
            status, _, found = server.ask("POST", route, {"inputs": [tensor]})
            assert status == 200, found
            outputs = {output["name"]: output["data"][0] for output in found["outputs"]}
            assert json.loads(outputs["tags"]) == answer["tags"]
            assert (
                json.loads(outputs["words" if kind == "speech" else "entities"])
                == answer["words" if kind == "speech" else "entities"]
            )
            text = {**tensor, "name": "text", "data": [" ".join(words)]}
            status, _, found = server.ask("POST", route, {"inputs": [text]})
            outputs = {output["name"]: output["data"][0] for output in found["outputs"]}
            assert status == 200 and json.loads(outputs["tags"]) == []
            for data in ("we went", '"we"', '{"words": []}', "[", "[]", '["we", 3]', '["we", ""]'):
                status, _, found = server.ask("POST", route, {"inputs": [{**tensor, "data": [data]}]})
                assert status == 400 and "words[0]" in found["where"], found
            assert server.ask("POST", route, {"inputs": [tensor, text]})[0] == 400
            _, _, document = server.ask("GET", "/openapi.json")
            names = document["paths"][route]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"][
                "inputs"
            ]
            assert names["items"]["properties"]["name"]["enum"] == ["text", "words"]


def test_an_original_without_quality_ends_the_run_before_it_is_compressed(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    other = {"on": "off", "off": "ask", "ask": "paint", "paint": "on"}
    for split in ("train", "validation", "test"):
        read = [json.loads(line) for line in (tiny_data / f"{split}.jsonl").read_text().splitlines()]
        (tmp_path / f"{split}.jsonl").write_text(
            "".join(json.dumps({**row, "label": other[row["label"]]}) + "\n" for row in read)
        )
    (tmp_path / "tiny").symlink_to(tiny_model)
    text = (
        'schema = 1\ntask = "text-classification"\n[model]\nid = "tiny"\nmax_length = 32\n'
        '[data]\ntrain = "train.jsonl"\nvalidation = "validation.jsonl"\ntest = "test.jsonl"\n'
        '[[compress]]\nmethod = "distill"\nlayers = 2\nepochs = 50\n[accept]\nmax_quality_drop = 1.0\n'
    )
    (tmp_path / "wrong.toml").write_text(text)
    for _ in range(2):  # the second time the score is there already
        with pytest.raises(CheckFailed, match=r"scores 0\.00% on the 20 test rows: there is no quality to lose") as fault:
            ek.export(str(tmp_path / "wrong.toml"), target=TARGET, build=tmp_path / "build", measure=False)
        assert fault.value.exit_code == 1
    assert (tmp_path / "build" / "store" / "score").is_dir() and not (tmp_path / "build" / "store" / "distill").exists()
