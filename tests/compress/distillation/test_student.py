"""Students by width, heads and neurons, chosen by importance, and students from another checkpoint."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.compress.method import Work
from edgekit.compress.methods import distill
from edgekit.compress.methods.distill import Settings
from edgekit.compress.pruning.importance import importance_of, largest
from edgekit.config.toml import parse
from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.models.checkpoint import load, save
from edgekit.models.narrow import hidden_size_of, narrow
from edgekit.models.shapes import layer_count, shapes_of
from edgekit.plan.make import make_plan
from edgekit.plan.recipes import recipe_model
from edgekit.tasks import find_task
from edgekit.tasks.encode import encode, read_split
from tests.plan.faults import faults_in
from tests.quantize.files import rewritten


def quiet(done: float, total: float, text: str) -> None:
    pass


@pytest.fixture
def work(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> Work:
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    return Work(
        tiny_model, tiny_model, tiny_model, tiny_artifact, tmp_path / "out", tmp_path / "scratch", "text-classification", 32, 7, quiet
    )  # fmt: skip


def settings(**asked: Any) -> Settings:
    return parse({"method": "distill", "epochs": 4, "batch": 8, "learning_rate": 1e-2, **asked}, Settings, where="here")


def test_importance_is_the_mean_square_over_real_tokens(tiny_model: Path, tiny_artifact: Path) -> None:
    """Against one text at a time, without padding, in float64."""
    model, task = load(tiny_model).double(), find_task("text-classification")
    rows = read_split(tiny_artifact, "train")[:12]
    data = encode(tiny_model, rows, task, 32)
    found = importance_of(model, [data.feed(np.arange(12))])
    heads, neurons, width = np.zeros((3, 4)), np.zeros((3, 64)), np.zeros((6, 32))
    seen: dict[str, torch.Tensor] = {}
    for number, layer in enumerate(model.bert.encoder.layer):
        for name, module in (
            ("self", layer.attention.self),
            ("up", layer.intermediate),
            ("one", layer.attention.output),
            ("two", layer.output),
        ):
            module.register_forward_hook(
                lambda _, __, out, key=f"{name}{number}": seen.__setitem__(key, out[0] if isinstance(out, tuple) else out)
            )
    for number in range(12):
        with torch.no_grad():
            model(**data.feed(np.array([number])))
        for layer in range(3):
            heads[layer] += seen[f"self{layer}"][0].reshape(-1, 4, 8).square().sum(dim=(0, 2)).numpy()
            neurons[layer] += seen[f"up{layer}"][0].square().sum(dim=0).numpy()
            for place, name in enumerate(("one", "two")):
                width[2 * layer + place] += seen[f"{name}{layer}"][0].square().sum(dim=0).numpy()
    assert np.allclose(found.heads, heads) and np.allclose(found.neurons, neurons)
    assert np.allclose(found.hidden, (width / width.sum(axis=1, keepdims=True)).sum(axis=0))


def test_the_largest_stay_in_order() -> None:
    assert largest(np.array([1.0, 5.0, 3.0, 5.0]), 2, "heads") == [1, 3]
    assert largest(np.array([2.0, 2.0, 2.0]), 2, "heads") == [0, 1]
    with pytest.raises(BadInput, match="heads = 3, but there are 2"):
        largest(np.zeros(2), 3, "heads")


def test_a_student_of_fewer_heads_neurons_and_width_learns(work: Work) -> None:
    made = distill.run(work, settings(layers=2, width=23, heads=3, neurons=40, relations="minilmv2", relation_heads=8))
    student = load(work.out)
    assert (hidden_size_of(student), layer_count(student)) == (23, 2)
    assert [(shape.heads, shape.head_size, shape.neurons) for shape in shapes_of(student)] == [(3, 8, 40)] * 2
    assert made["validation"] >= 0.8, "one that starts from chance has 0.25"
    small = (200 + 32 + 1) * 23
    assert made["parameters"] < small + 2 * (4 * 24 * 24 + 2 * 24 * 41 + 200) + 24 * 28


def test_neurons_and_heads_that_do_most_are_the_ones_that_stay(work: Work, tmp_path: Path) -> None:
    model = load(work.source)
    for layer in model.bert.encoder.layer:
        layer.output.dense.weight.data[:, 3] *= 1  # the neuron's own activation counts, not what is made of it
        layer.intermediate.dense.bias.data[[5, 9]] = 50.0
    save(model, tmp_path / "loud", tokenizer_files_from=work.source)
    loud = replace(work, source=tmp_path / "loud", original=tmp_path / "loud")
    distill.run(loud, settings(neurons=2, epochs=1, learning_rate=1e-9, hidden="none"))
    for layer in load(work.out).bert.encoder.layer:
        assert (layer.intermediate.dense.bias > 49).all()


def test_a_narrow_student_exports_and_quantizes(work: Work, tmp_path: Path) -> None:
    """The export itself compares its graphs with PyTorch."""
    from edgekit.bench.score import read_rows, score
    from edgekit.config.quantize import Int8
    from edgekit.exporter.encoder import export
    from edgekit.quantize.dynamic import quantize_dynamic

    distill.run(work, settings(layers=2, width=23, heads=3, neurons=40))
    export(work.out, tmp_path, task="text-classification", max_length=32)
    rewritten(tmp_path / "fused.onnx", tmp_path / "int8.onnx", quantize_dynamic, Int8())
    found = score(
        tmp_path / "int8.onnx", work.out, read_rows(work.rows / "test.jsonl"), task="text-classification", max_length=32
    )
    assert found.mean() > 0.8


@pytest.mark.slow
def test_the_whole_line_with_a_narrow_student(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    """Narrowed, pruned, with a smaller vocabulary: all products are of integers."""
    import edgekit as ek

    (tmp_path / "tiny").symlink_to(tiny_model)
    more = '[[compress]]\nmethod = "prune-structured"\nkeep = 0.7\nmultiple_of = 8\n[[compress]]\nmethod = "prune-vocabulary"\n'
    step = "layers = 2\nwidth = 24\nheads = 3\nneurons = 48\nepochs = 6\nbatch = 8\nlearning_rate = 1e-2"
    (tmp_path / "line.toml").write_text(recipe(tiny_data, step, more))
    made = ek.export(str(tmp_path / "line.toml"), target="x86-avx2", build=tmp_path / "build", measure=False).path
    variants = json.loads((made / "lineage.json").read_text())["variants"]
    assert variants["bundle"]["quality"]["value"] > 0.8
    audit = json.loads((made / "bundle" / "audit.json").read_text())
    assert audit["matmuls_integer"] == audit["matmuls_constant"] > 0
    assert ek.load(made)("turn on the red light in the hall")["label"] == "on"


def test_a_student_from_elsewhere(work: Work, tiny_artifact: Path, tmp_path: Path) -> None:
    from edgekit.config.recipe import NewModel
    from edgekit.train.supervised import train_from_scratch

    for name in ("small", "aside"):
        (tmp_path / name).mkdir()
    new = NewModel(layers=1, width=16, heads=2, neurons=32, vocabulary=300, epochs=1, batch=16)
    train_from_scratch(
        tiny_artifact, tmp_path / "small", tmp_path / "aside", task="text-classification", new=new, max_length=32, seed=1, progress=quiet
    )  # fmt: skip
    work = replace(work, checkpoints={"../small": str(tmp_path / "small")})
    with pytest.raises(BadInput, match="different tokens"):
        distill.run(work, settings(student="../small"))
    shutil.rmtree(work.scratch)
    distill.run(work, settings(student="../small", hidden="none", epochs=1))
    student = load(work.out)
    assert (hidden_size_of(student), layer_count(student)) == (16, 1)
    assert (work.out / "tokenizer.json").read_bytes() == (tmp_path / "small" / "tokenizer.json").read_bytes()
    other = load(tmp_path / "small")
    other.config.id2label = dict(enumerate("abcd"))
    save(other, tmp_path / "labels", tokenizer_files_from=tmp_path / "small")
    work = replace(work, checkpoints={"o": str(tmp_path / "labels")})
    with pytest.raises(BadInput, match=r"unknown to the model|different labels"):
        distill.run(work, settings(student="o", hidden="none"))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"width": 33}, "width = 33, but there are 32"),
        ({"heads": 5}, "heads = 5, but there are 4"),
        ({"neurons": 65}, "neurons = 65, but there are 64"),
        ({"heads": 3, "relations": "attention"}, "attention maps of 3 heads"),
    ],
)
def test_sizes_that_are_not_there(work: Work, asked: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        distill.run(work, settings(**asked))


@pytest.mark.parametrize("asked", [{"layers": 2}, {"width": 8}, {"heads": 1, "neurons": 8}, {"take": [0]}])
def test_a_student_comes_in_its_own_shape(asked: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"its own shape; leave out {', '.join(asked)}"):
        settings(student="a", **asked)


def test_albert_is_not_reshaped(work: Work, tmp_path: Path) -> None:
    import transformers

    config = transformers.AlbertConfig(
        vocab_size=200, hidden_size=16, embedding_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        id2label=load(work.source).config.id2label,
    )  # fmt: skip
    save(transformers.AlbertForSequenceClassification(config), tmp_path / "albert", tokenizer_files_from=work.source)
    with pytest.raises(BadInput, match="'albert' cannot be reshaped"):
        distill.run(replace(work, source=tmp_path / "albert"), settings(width=8))


def recipe(data: Path, step: str, *more: str, task: str = "text-classification") -> str:
    rows = "".join(f'{split} = "{data}/{split}.jsonl"\n' for split in ("train", "validation", "test"))
    first = f'[[compress]]\nmethod = "distill"\n{step}\n'
    return f'schema = 1\ntask = "{task}"\n[model]\nid = "tiny"\nmax_length = 32\n[data]\n{rows}{first}{"".join(more)}'


def planned(place: Path, text: str) -> str:
    (place / "line.toml").write_text(text)
    return make_plan(str(place / "line.toml"), ["x86-avx2"], detect()).compressed[-1].key


def test_faults_of_sizes_are_told_when_the_plan_is_made(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny").symlink_to(tiny_model)
    second = '[[compress]]\nmethod = "distill"\nwidth = 30\nheads = 3\nrelations = "attention"\n'
    third = '[[compress]]\nmethod = "distill"\nstudent = "tiny"\n'
    with pytest.raises(BadInput) as fault:
        planned(tmp_path, recipe(tiny_data, "width = 24\nheads = 9\nneurons = 65", second, third))
    for text in (
        "compress 1, distill: heads = 9 is more than the 4 of", "compress 1, distill: neurons = 65 is more than the 64 of",
        "compress 2, distill: width = 30 is more than the 24 of", "attention maps of 3 heads cannot be compared with 4",
        "compress 3, distill: `student` replaces what the steps before it made",
    ):  # fmt: skip
        assert text in str(fault.value)
    with pytest.raises(BadInput, match=r"student: no such model folder: \./absent"):
        planned(tmp_path, recipe(tiny_data, 'student = "./absent"'))


def test_a_changed_student_is_another_stage(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny").symlink_to(tiny_model)
    shutil.copytree(tiny_model, tmp_path / "small")
    before = planned(tmp_path, recipe(tiny_data, 'student = "small"'))
    model = load(tmp_path / "small")
    narrow(model, range(16))
    save(model, tmp_path / "small", tokenizer_files_from=tiny_model)
    assert planned(tmp_path, recipe(tiny_data, 'student = "small"')) != before
    tokens = json.loads((tiny_model / "tokenizer.json").read_text())
    del tokens["model"]["vocab"]["light"]
    (tmp_path / "small" / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(BadInput, match="tokenizes text otherwise than the student"):
        planned(tmp_path, recipe(tiny_data, 'student = "small"'))
    planned(tmp_path, recipe(tiny_data, 'student = "small"\nhidden = "none"'))
    with pytest.raises(BadInput, match="cannot start from a model of 3"):
        planned(
            tmp_path, recipe(tiny_data, 'student = "small"\nhidden = "none"', '[[compress]]\nmethod = "distill"\nlayers = 9\n')
        )


def test_texts_alone_keep_the_originals_width(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny").symlink_to(tiny_model)
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(f'{{"text": "{split} {number}"}}\n' for number in range(2)))
    with pytest.raises(BadInput, match="embeddings of 24 numbers cannot be compared with the original's of 32"):
        planned(tmp_path, recipe(tmp_path, "width = 24", task="feature-extraction"))
    planned(tmp_path, recipe(tmp_path, "heads = 2", task="feature-extraction"))


def test_sizes_of_a_new_model_and_of_distilbert_are_known() -> None:
    asked = {
        "schema": 1, "task": "text-classification", "model": {"new": {"width": 64}},
        "data": {"train": "a", "validation": "b", "test": "c"}, "compress": [{"method": "distill", "width": 65}],
    }  # fmt: skip
    (fault,) = faults_in(recipe_model().model_validate(asked))
    assert "width = 65 is more than the 64 of the model" in fault
