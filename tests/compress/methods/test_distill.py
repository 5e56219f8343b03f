"""Distillation: the loss against float64 definitions, layer maps, resuming after a kill, the vocabulary."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress.distillation.augment import augmented
from edgekit.compress.distillation.hidden import nearest_in_order
from edgekit.compress.distillation.layer_map import uniform_map
from edgekit.compress.distillation.relations import relation_loss
from edgekit.compress.distillation.settings import starting_layers
from edgekit.compress.distillation.student import starting_student
from edgekit.compress.method import Work
from edgekit.compress.methods import distill, prune_vocabulary
from edgekit.compress.methods.distill import Settings
from edgekit.errors import BadInput
from edgekit.models.checkpoint import load, save
from edgekit.models.shapes import cut, layer_count, shapes_of
from edgekit.tasks import find_task
from edgekit.tasks.encode import read_split
from edgekit.tasks.losses import hard_class, soft_class


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 9999), temperature=st.floats(0.5, 20), alpha=st.floats(0, 1))
def test_the_loss_is_hintons(seed: int, temperature: float, alpha: float) -> None:
    generator = np.random.default_rng(seed)
    student, teacher = generator.normal(size=(2, 6, 5)) * 3
    labels = np.array([0, 1, 2, 3, 4, -1])

    def softmax(values: np.ndarray) -> np.ndarray:
        exponent = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(exponent / exponent.sum(axis=1, keepdims=True))

    p, q = softmax(teacher / temperature), softmax(student / temperature)
    soft = (p * (np.log(p) - np.log(q))).sum(axis=1).mean()
    hard = -np.log(softmax(student)[np.arange(5), labels[:5]]).sum() / 6
    wanted = alpha * temperature**2 * soft + (1 - alpha) * hard
    one, other, numbers = (torch.from_numpy(array) for array in (student, teacher, labels))
    mask = torch.ones(6, 3)
    found = alpha * soft_class(one, other, numbers, mask, temperature) + (1 - alpha) * hard_class(one, numbers, mask).mean()
    assert float(found) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_layer_maps() -> None:
    assert uniform_map(3, 6) == [2, 4, 6]
    assert uniform_map(6, 6) == [1, 2, 3, 4, 5, 6]
    assert uniform_map(4, 6)[-1] == 6
    assert starting_layers(Settings(method="distill", layers=3), 6) == [1, 3, 5]
    assert starting_layers(Settings(method="distill"), 4) == [0, 1, 2, 3]
    assert starting_layers(Settings(method="distill", take=[5, 0]), 6) == [0, 5]


@pytest.mark.parametrize("asked", [{"layers": 7}, {"take": [6]}, {"take": [-1]}, {"take": [0, 1], "layers": 3}])
def test_layers_that_do_not_exist(asked: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        starting_layers(Settings(method="distill", **asked), 6)


def test_augmentation_is_seeded_and_uses_the_corpus_words() -> None:
    texts = ["turn on the light", "play some jazz", "one"]
    made = augmented(texts, 3, seed=1)
    assert len(made) == 9 and all(text.strip() for text in made)
    assert made == augmented(texts, 3, seed=1) != augmented(texts, 3, seed=2)
    assert {word for text in made for word in text.split()} <= {word for text in texts for word in text.split()}


@pytest.fixture
def work(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> Work:
    return fresh(tiny_model, tiny_artifact, tmp_path / "first")


def fresh(model: Path, rows: Path, folder: Path) -> Work:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    return Work(
        source=model, original=model, dense=model, rows=rows, out=folder / "out", scratch=folder / "scratch",
        task="text-classification", max_length=32, seed=7, progress=lambda done, total, text: None,
    )  # fmt: skip


SHORT = Settings(method="distill", layers=2, epochs=4, batch=8, learning_rate=1e-2, augment=2)


def test_a_student_learns_from_its_teacher(work: Work) -> None:
    made = distill.run(work, SHORT)
    student = load(work.out)
    assert layer_count(student) == 2
    assert made["validation"] >= 0.8
    assert made["history"]["quality"][made["history"]["best_epoch"] - 1] == max(made["history"]["quality"])


def test_killed_and_resumed_it_ends_in_the_same_bytes(
    work: Work, tiny_model: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    distill.run(work, SHORT)
    again = fresh(tiny_model, tiny_artifact, tmp_path / "second")

    class Killed(BaseException):
        """As a signal would end it."""

    def stop(done: float, total: float, text: str) -> None:
        if "epoch 3/4" in text:
            raise Killed

    with pytest.raises(Killed):
        distill.run(replace(again, progress=stop), SHORT)
    distill.run(again, SHORT)
    assert (again.out / "model.safetensors").read_bytes() == (work.out / "model.safetensors").read_bytes()


def test_a_projection_bridges_widths(work: Work, tiny_artifact: Path, tmp_path: Path) -> None:
    from edgekit.config.recipe import NewModel
    from edgekit.train.supervised import train_from_scratch

    narrow = tmp_path / "narrow"
    (tmp_path / "narrow-scratch").mkdir()
    new = NewModel(layers=2, width=16, heads=2, neurons=32, vocabulary=200, epochs=1, batch=16)
    narrow.mkdir()
    train_from_scratch(
        tiny_artifact,
        narrow,
        tmp_path / "narrow-scratch",
        task="text-classification",
        new=new,
        max_length=32,
        seed=7,
        progress=work.progress,
    )
    made = distill.run(replace(work, source=narrow), Settings(method="distill", epochs=1, batch=16))
    assert made["parameters"] < 20_000


def test_different_labels_or_tokens_are_refused(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    other = load(tiny_model)
    other.config.id2label = {0: "a", 1: "b", 2: "c", 3: "d"}
    save(other, tmp_path / "other", tokenizer_files_from=tiny_model)
    with pytest.raises(BadInput, match="different labels"):
        distill.run(replace(work, original=tmp_path / "other"), SHORT)
    (tmp_path / "cut").mkdir()
    prune_vocabulary.run(replace(work, out=tmp_path / "cut"), prune_vocabulary.Settings(method="prune-vocabulary"))
    with pytest.raises(BadInput, match="different tokens"):
        distill.run(replace(work, source=tmp_path / "cut"), SHORT)
    plain = Settings(method="distill", hidden="none", epochs=1, batch=16)
    assert distill.run(replace(work, source=tmp_path / "cut"), plain)["validation"] > 0


def test_the_pruned_vocabulary_cuts_the_corpus_alike_and_knows_every_letter(work: Work, tiny_model: Path) -> None:
    from tokenizers import Tokenizer

    made = prune_vocabulary.run(work, prune_vocabulary.Settings(method="prune-vocabulary"))
    assert made["vocabulary"]["after"] < made["vocabulary"]["before"]
    assert made["rows_cut_differently"] == 0
    before, after = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (tiny_model, work.out))
    assert "[UNK]" not in after.encode("xylophone 42 quiz").tokens
    assert after.encode("").tokens == before.encode("").tokens
    vocabulary = json.loads((work.out / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    whole, small = load(tiny_model), load(work.out)
    for row in read_split(work.rows, "test")[:10]:
        logits = []
        for model, tokenizer in ((whole, before), (small, after)):
            ids = torch.tensor([tokenizer.encode(row["text"]).ids])
            with torch.no_grad():
                logits.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits)
        if before.encode(row["text"]).tokens == after.encode(row["text"]).tokens:
            assert torch.allclose(logits[0], logits[1], atol=1e-6)


def test_tokens_that_somebody_added_stay(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer

    folder = tmp_path / "more"
    model = load(tiny_model)
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("<url>", normalized=False), AddedToken("new york")])
    model.resize_token_embeddings(
        tokenizer.get_vocab_size() + 6, mean_resizing=False
    )  # rows to a multiple of 8, as people have them
    save(model, folder, tokenizer_files_from=tiny_model)
    tokenizer.save(str(folder / "tokenizer.json"))
    made = prune_vocabulary.run(replace(work, source=folder), prune_vocabulary.Settings(method="prune-vocabulary"))
    assert made["vocabulary"]["after"] < made["vocabulary"]["before"] == tokenizer.get_vocab_size()
    after = Tokenizer.from_file(str(work.out / "tokenizer.json"))
    text = "a trip to new york by <url>"
    assert after.encode(text).tokens == tokenizer.encode(text).tokens and "<url>" in after.encode(text).tokens
    tables = [load(of).get_input_embeddings().weight.data for of in (folder, work.out)]
    for old, new in zip(tokenizer.encode(text).ids, after.encode(text).ids, strict=True):
        assert torch.equal(tables[0][old], tables[1][new])


def test_rows_alone_are_shared_and_what_that_cost_is_taught_back(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    """With room for all tokens their ids stay, so that a teacher's tokens can be compared; the rows stay shared in training."""
    (tmp_path / "shared").mkdir()
    asked = prune_vocabulary.Settings(method="prune-vocabulary", size=500, rows=100)
    made = prune_vocabulary.run(replace(work, out=tmp_path / "shared"), asked)
    assert made["vocabulary"]["after"] == made["vocabulary"]["before"] and made["pieces_sharing_a_row"] > 0
    documents = [json.loads((folder / "tokenizer.json").read_text()) for folder in (tiny_model, tmp_path / "shared")]
    assert documents[0]["model"] == documents[1]["model"] and documents[0]["added_tokens"] == documents[1]["added_tokens"]
    distill.run(replace(work, source=tmp_path / "shared"), SHORT)
    own = [
        len(np.unique(load(folder).get_input_embeddings().weight.data.numpy(), axis=0))
        for folder in (tmp_path / "shared", work.out)
    ]
    assert own[0] == own[1] == made["vocabulary"]["after"] - made["pieces_sharing_a_row"]


def test_only_wordpiece_is_pruned(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bpe"
    save(load(tiny_model), folder, tokenizer_files_from=tiny_model)
    document = json.loads((folder / "tokenizer.json").read_text())
    document["model"]["type"] = "BPE"
    (folder / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(BadInput, match="only WordPiece"):
        prune_vocabulary.run(replace(work, source=folder), prune_vocabulary.Settings(method="prune-vocabulary"))


def test_rare_pieces_share_their_nearest_row(work: Work, tiny_model: Path, tmp_path: Path) -> None:
    from edgekit.exporter.encoder import export
    from edgekit.quantize.embedding import quantize_embeddings

    asked = prune_vocabulary.Settings(method="prune-vocabulary", continuation_length=1, size=200, rows=100)
    made = prune_vocabulary.run(work, asked)
    table = load(work.out).get_input_embeddings().weight.data.numpy()
    old = load(tiny_model).get_input_embeddings().weight.data.numpy()
    assert made["pieces_sharing_a_row"] == made["vocabulary"]["after"] - len(np.unique(table, axis=0)) > 0
    pieces = json.loads((work.out / "tokenizer.json").read_text())["model"]["vocab"]
    before = json.loads((tiny_model / "tokenizer.json").read_text())["model"]["vocab"]
    own = np.unique(table, axis=0)
    for piece, number in pieces.items():
        nearest = own[((own - old[before[piece]]) ** 2).sum(axis=1).argmin()]
        assert np.allclose(table[number], nearest)
    import edgekit.quantize.embedding as room

    (tmp_path / "onnx").mkdir()
    export(work.out, tmp_path / "onnx", task="text-classification", max_length=32)
    import onnx_ir as ir
    import onnxruntime

    model = ir.load(tmp_path / "onnx" / "fused.onnx")
    room.SMALLEST, kept = 1, room.SMALLEST
    try:
        assert quantize_embeddings(model.graph, "int8") == 1
    finally:
        room.SMALLEST = kept
    ir.save(model, tmp_path / "small.onnx")
    ids = np.arange(5, 37, dtype=np.int64)[None]
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    whole, small = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for path in (tmp_path / "onnx" / "fused.onnx", tmp_path / "small.onnx")
    )
    assert np.abs(whole - small).max() < 0.1


@pytest.mark.parametrize(
    "asked",
    [
        {"hidden": "skip"},
        {"hidden": "last"},
        {"hidden": "dynamic"},
        {"hidden": "none", "relations": "minilmv2"},
        {"hidden": "none", "relations": "attention"},
        {"relations": "minilmv2", "relation_heads": 2, "relation_layer": 1},
    ],
)
def test_every_way_of_looking_inside_the_teacher(work: Work, asked: dict[str, Any]) -> None:
    made = distill.run(work, Settings(method="distill", layers=2, epochs=2, batch=16, learning_rate=5e-3, augment=2, **asked))
    assert made["validation"] > 0.3
    assert all(np.isfinite(made["history"]["quality"]))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"layers": 1, "hidden": "skip"}, "leaves out the last layer"),
        ({"layers": 1, "hidden": "last"}, "leaves out the last layer"),
        ({"relations": "minilmv2", "relation_heads": 7}, "cannot both be split into 7"),
        ({"relations": "minilmv2", "relation_layer": 3}, "no layer of a teacher of 3"),
        ({"unlabelled": 5}, "names none"),
    ],
)
def test_looks_that_are_not_there(work: Work, asked: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        distill.run(work, Settings(method="distill", epochs=1, **asked))


def test_attention_maps_need_the_same_heads(work: Work, tmp_path: Path) -> None:
    from edgekit.models.shapes import cut

    pruned = load(work.source)
    cut(pruned, [[0, 1, 2]] * 3, [range(64)] * 3)
    save(pruned, tmp_path / "pruned", tokenizer_files_from=work.source)
    with pytest.raises(BadInput, match="attention maps of 3 heads"):
        distill.run(replace(work, source=tmp_path / "pruned"), Settings(method="distill", relations="attention"))
    with pytest.raises(BadInput, match="cannot both be split"):
        distill.run(
            replace(work, source=tmp_path / "pruned"), Settings(method="distill", relations="minilmv2", relation_heads=16)
        )


def test_the_nearest_layers_in_order() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        n = int(generator.integers(1, 5))
        m = int(generator.integers(n, 7))
        away = generator.random((n, m)).tolist()
        found = nearest_in_order(away)
        assert found == sorted(set(found)) and len(found) == n
        best = min(
            sum(row[column] for row, column in zip(away, pick, strict=True)) for pick in itertools.combinations(range(m), n)
        )
        assert sum(row[column] for row, column in zip(away, found, strict=True)) == pytest.approx(best)


def test_relations_are_minilms() -> None:
    """Against the definition in float64, token by token, with padding that must not count."""
    generator = np.random.default_rng(0)
    student, teacher = (generator.normal(size=(3, 2, 5, width)) for width in (8, 16))
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    heads, total, count = 2, 0.0, 0

    def chances(parts: np.ndarray, row: int, head: int, length: int) -> np.ndarray:
        size = parts.shape[-1] // heads
        one = parts[row, :length, head * size : (head + 1) * size]
        scores = one @ one.T / np.sqrt(size)
        exponent = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(exponent / exponent.sum(axis=1, keepdims=True))

    for part in range(3):
        for row, length in ((0, 5), (1, 3)):
            each = []
            for head in range(heads):
                p, q = (chances(side[part], row, head, length) for side in (teacher, student))
                each.append((p * (np.log(p) - np.log(q))).sum(axis=1))
            total += float(np.mean(each, axis=0).sum())
            count += length
    found = relation_loss(
        list(torch.from_numpy(student)), list(torch.from_numpy(teacher)), torch.from_numpy(mask), "minilmv2", heads
    )
    assert float(found) == pytest.approx(total / count, rel=1e-6)


def test_adapters_recover_and_leave_nothing_behind(work: Work) -> None:
    made = distill.run(work, Settings(method="distill", lora=4, epochs=2, batch=16, learning_rate=5e-3))
    assert made["validation"] > 0.8
    names = load(work.out).state_dict().keys()
    assert not any("lora" in name for name in names) and names == load(work.source).state_dict().keys()
    with pytest.raises(BadInput, match="nearest: query"):
        distill.run(work, Settings(method="distill", lora=4, lora_targets=["querry"]))


@pytest.mark.parametrize("lora", [None, 4])
def test_zeros_stay_zero_while_a_pruned_model_recovers(work: Work, tmp_path: Path, lora: int | None) -> None:
    pruned = load(work.source)
    weight = pruned.bert.encoder.layer[1].intermediate.dense.weight
    weight.data[:, ::2] = 0.0
    save(pruned, tmp_path / "pruned", tokenizer_files_from=work.source)
    distill.run(replace(work, source=tmp_path / "pruned"), Settings(method="distill", epochs=1, batch=16, lora=lora))
    found = load(work.out).bert.encoder.layer[1].intermediate.dense.weight
    assert (found[:, ::2] == 0).all() and not torch.equal(found, weight)


def test_a_layer_that_pruning_left_with_fewer_than_asked_keeps_those(work: Work, tmp_path: Path) -> None:
    pruned = load(work.source)
    have = shapes_of(pruned)
    few = [range(0) if number == 0 else range(2) if number == 1 else range(shape.neurons) for number, shape in enumerate(have)]
    cut(pruned, [range(shape.heads) for shape in have], few)
    save(pruned, tmp_path / "pruned", tokenizer_files_from=work.source)
    asked = Settings(method="distill", heads=1, neurons=4)
    student = starting_student(replace(work, source=tmp_path / "pruned"), asked, find_task("text-classification"))
    assert [shape.neurons for shape in shapes_of(student.model)] == [0, 2] + [4] * (len(have) - 2)
    assert [shape.heads for shape in shapes_of(student.model)] == [1] * len(have)
