"""What a plan says of rows in small local files: how they are read, and what is wrong with them, before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.pipeline.execute import run_stages
from edgekit.pipeline.explain import explain
from edgekit.plan.make import make_plan
from edgekit.progress import Show

SAID = "labels of the rows are read, by the number of the output: '0' as 'LABEL_0', '1' as 'LABEL_1'"


def model_at(folder: Path, **config: Any) -> Path:
    """As much of a checkpoint as a plan looks at."""
    folder.mkdir()
    document = {"model_type": "bert", "architectures": ["BertForSequenceClassification"], "num_hidden_layers": 1, **config}
    (folder / "config.json").write_text(json.dumps(document))
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    shapes = {
        "word_embeddings.weight": (1, 1), "position_embeddings.weight": (512, 1), "LayerNorm.weight": (1,), "LayerNorm.bias": (1,),
    }  # fmt: skip
    tensors = {f"bert.embeddings.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    for name, outputs in (("bert.pooler.dense", 1), ("classifier", 2)):
        tensors |= {f"{name}.weight": np.zeros((outputs, 1), np.float32), f"{name}.bias": np.zeros(outputs, np.float32)}
    save_file(tensors, folder / "model.safetensors")
    return folder


def recipe_at(folder: Path, more: str = "", model: str = "model", labels: tuple[object, object] = (0, 1)) -> str:
    for split in ("train", "validation", "test"):
        rows = ({"text": f"{split} {number}", "label": labels[number % 2]} for number in range(4))
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = "".join(f'{split} = "{split}.jsonl"\n' for split in ("train", "validation", "test"))
    (folder / "r.toml").write_text(f'schema = 1\ntask = "text-classification"\n[model]\nid = "{model}"\n[data]\n{data}{more}')
    return str(folder / "r.toml")


def test_what_was_inferred_is_said_by_plan_and_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model of two outputs without names, as transformers saves it, and rows of 0 and 1."""
    model_at(tmp_path / "model")
    recipe = recipe_at(tmp_path)
    assert explain(recipe, ["x86-vnni"], tmp_path / "build")["notes"] == [SAID]
    rows = make_plan(recipe, ["x86-vnni"], detect()).rows
    for _ in range(2):  # run, and taken from the store
        done = run_stages([rows], tmp_path / "build", Show())
        assert SAID in " ".join(capsys.readouterr().err.split())
    record = json.loads((done.artifacts[rows.key].path / "data.json").read_text())
    assert record["labels_read_as"] == {"0": "LABEL_0", "1": "LABEL_1"}


def test_labels_that_could_be_any_are_refused_until_the_recipe_says(tmp_path: Path) -> None:
    model_at(tmp_path / "model", id2label={"0": "CONTRADICTION", "1": "ENTAILMENT"})
    with pytest.raises(BadInput, match="unknown to the model, which has 'CONTRADICTION', 'ENTAILMENT'") as caught:
        make_plan(recipe_at(tmp_path), ["x86-vnni"], detect())
    assert [fault[:3] for fault in caught.value.faults] == ["'0'", "'1'"]
    said = '[data.labels]\n0 = "ENTAILMENT"\n1 = "CONTRADICTION"\n'
    plan = make_plan(recipe_at(tmp_path, said), ["x86-vnni"], detect())
    assert list(plan.notes) == ["labels of the rows are read, as the recipe says: '0' as 'ENTAILMENT', '1' as 'CONTRADICTION'"]
    before = plan.rows.key
    assert make_plan(recipe_at(tmp_path, said.replace("1 =", '"1" =')), ["x86-vnni"], detect()).rows.key == before


@pytest.mark.parametrize("names", [{"0": "a", "2": "b"}, {"0": "a", "1": "a"}, {"first": "a", "second": "b"}])
def test_names_of_outputs_that_name_none_or_two_are_refused(tmp_path: Path, names: object) -> None:
    model_at(tmp_path / "model", id2label=names)
    with pytest.raises(BadInput) as caught:
        make_plan(recipe_at(tmp_path, labels=("a", "b")), ["x86-vnni"], detect())
    assert [fault[:28] for fault in caught.value.faults] == ["model: config.json, id2label"]
    recipe = Path(recipe_at(tmp_path, labels=("a", "b")))
    recipe.write_text(recipe.read_text().replace("[data]", "finetune = {}\n[data]"))
    assert make_plan(str(recipe), ["x86-vnni"], detect()).notes == ()  # a new head has other names


def test_a_new_head_is_named_by_the_rows(tmp_path: Path) -> None:
    model_at(tmp_path / "model", id2label={"0": "a", "1": "b"})
    recipe = Path(recipe_at(tmp_path))
    recipe.write_text(recipe.read_text().replace("[data]", "finetune = {}\n[data]"))
    assert make_plan(str(recipe), ["x86-vnni"], detect()).notes == ()


def test_labels_of_a_model_on_the_hub_are_read_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_at(tmp_path / "fetched", id2label={"0": "off", "1": "on"})
    monkeypatch.setattr("edgekit.models.checkpoint.resolve", lambda source, revision=None: folder)
    plan = make_plan(recipe_at(tmp_path, model="owner/name", labels=("Off", " on")), ["x86-vnni"], detect())
    done = run_stages([plan.rows], tmp_path / "build", Show(silent=True))
    record = json.loads((done.artifacts[plan.rows.key].path / "data.json").read_text())
    assert record["labels_read_as"] == {"Off": "off", " on": "on"}
    (folder / "config.json").write_text('{"model_type": "bert", "id2label": {"0": "yes", "1": "no"}}')
    other = make_plan(recipe_at(tmp_path, model="owner/other", labels=("Off", " on")), ["x86-vnni"], detect())
    assert other.rows.key != plan.rows.key
    with pytest.raises(BadInput, match="the model, which has 'yes', 'no'"):
        run_stages([other.rows], tmp_path / "build", Show(silent=True))


def question(words: int) -> dict[str, Any]:
    return {"question": "who " * words, "context": "ada went", "answers": {"text": ["ada"], "answer_start": [0]}}


def sentence(words: int) -> dict[str, Any]:
    return {"text": "ada went", "label": "away " * words, "template": "It is {}."}


def planned(folder: Path, task: str, rows: list[dict[str, Any]]) -> object:
    """The plan for a model of 24 tokens and these test rows; the others are sound."""
    sound = {"question-answering": question(2), "zero-shot-classification": sentence(2)}[task]
    inputs = "context" if task == "question-answering" else "text"
    for split in ("train", "validation", "test"):
        of_split = rows if split == "test" else [{**sound, inputs: f"ada {split} {number}"} for number in range(4)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of_split))
    data = "".join(f'{split} = "{split}.jsonl"\n' for split in ("train", "validation", "test"))
    (folder / "r.toml").write_text(f'schema = 1\ntask = "{task}"\n[model]\nid = "model"\nmax_length = 24\n[data]\n{data}')
    return make_plan(str(folder / "r.toml"), ["x86-vnni"], detect())


ENTAILS = {"id2label": {"0": "entailment", "1": "other"}, "label2id": {"entailment": 0, "other": 1}}


@pytest.mark.parametrize(
    ("task", "row", "says"),
    [
        ("question-answering", question, "'question': the question leaves 0 of 24 tokens for the context"),
        ("zero-shot-classification", sentence, "'label': 'It is away away away"),
    ],
)
def test_what_is_never_cut_and_does_not_fit_is_told_with_its_lines(tmp_path: Path, task: str, row: Any, says: str) -> None:
    model_at(tmp_path / "model", **ENTAILS)
    planned(tmp_path, task, [row(3), row(4)])
    with pytest.raises(BadInput) as caught:
        planned(tmp_path, task, [row(3), row(30), row(4), row(30)])
    assert f"lines 2, 4: {says}" in caught.value.faults[0] and "ask for a longer input" in caught.value.faults[0]
    assert caught.value.exit_code == 2


def test_a_template_that_fits_its_own_label_and_not_those_of_other_rows(tmp_path: Path) -> None:
    model_at(tmp_path / "model", **ENTAILS)
    wordy = {**sentence(1), "template": "It is " + "very " * 12 + "{}."}
    with pytest.raises(BadInput, match=r"'label': .* leaves no room for the text within 24 tokens") as caught:
        planned(tmp_path, "zero-shot-classification", [wordy, sentence(10)])
    assert caught.value.where == "data, test, row 1"


def test_what_is_no_tokenizer_is_told(tmp_path: Path) -> None:
    model_at(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match=r"model/tokenizer\.json: not a tokenizer"):
        make_plan(recipe_at(tmp_path), ["x86-vnni"], detect())
