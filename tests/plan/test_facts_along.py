"""What the plan says that each step leaves is what the step leaves; and what it refuses, the step refuses in the same words."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.compress.method import StepContext, Work
from edgekit.compress.registry import find_method
from edgekit.config.recipe import Recipe
from edgekit.errors import BadInput
from edgekit.models.facts import ModelFacts, facts_of_checkpoint
from edgekit.plan.facts import before_pruning, facts_along, original_facts
from edgekit.plan.recipes import recipe_model
from tests.compress.decoder_rows import work_on

Step = dict[str, Any]
SIZES = ("layers", "hidden_size", "heads", "kv_heads", "intermediate_size")
MOST = ("heads", "kv_heads", "intermediate_size")
"""Sizes that are the largest of any layer where layers differ."""
DISTILL: Step = {"method": "distill", "epochs": 1, "batch": 32}
STRUCTURED: Step = {"method": "prune-structured", "rows": 32, "multiple_of": 8}
BLOCKS: Step = {"method": "drop-blocks", "rows": 8}
NARROW: Step = {"method": "prune-width", "rows": 8}
VOCABULARY: Step = {"method": "prune-vocabulary", "min_count": 30}
ROWS: Step = {"method": "prune-vocabulary", "size": 500, "rows": 100}
PLAIN = {"hidden": "none"}

ENCODER_CHAINS: list[list[Step]] = [
    [{**DISTILL, "layers": 2}, {**DISTILL, "take": [1]}],
    [{**DISTILL, "heads": 2, "neurons": 40}, {"method": "prune-unstructured", "pattern": "2:4", "how": "magnitude"}],
    [{**DISTILL, "width": 24, "layers": 1}, VOCABULARY, {**DISTILL, **PLAIN}],
    [{**STRUCTURED, "layers": 2}, VOCABULARY, VOCABULARY],
    [{**STRUCTURED, "layers": 2}, ROWS, DISTILL],
    [{**STRUCTURED, "keep": 0.4, "layers": 2}, {**DISTILL, "layers": 1}],
    [{**STRUCTURED, "keep": 0.7}, {**DISTILL, "heads": 1, "neurons": 8, "hidden": "none"}],
    [{"method": "prune-oneshot", "keep": 0.5, "rows": 32, "trials": 0, "multiple_of": 8}],
    [{"method": "prune-gradual", "sparsity": 0.3, "epochs": 2, "steps": 2}],
]
DECODER_CHAINS: list[list[Step]] = [
    [{**BLOCKS, "layers": 3}, {"method": "distill-decoder", "layers": 2}],
    [{**NARROW, "neurons": 64, "kv_heads": 1}, {**BLOCKS, "layers": 1}],
    [{"method": "prune-unstructured", "sparsity": 0.5, "how": "magnitude"}, {**NARROW, "neurons": 32}],
]


def recipe(task: str, steps: list[Step], **model: Any) -> Recipe:
    data = {"train": "a.jsonl", "validation": "b.jsonl", "test": "c.jsonl"}
    asked = {"schema": 1, "task": task, "model": {"id": "m", "max_length": 24, **model}, "data": data, "compress": steps}
    return recipe_model().model_validate(asked)


def left_by(work: Work, asked: Recipe) -> list[Path]:
    """The checkpoint of each of the recipe's steps, really run, after that of the original."""
    made, scratch = [work.source], work.scratch
    for number, settings in enumerate(asked.compress):
        here = replace(work, source=made[-1], out=scratch / f"out-{number}", scratch=scratch / f"scratch-{number}")
        here.out.mkdir()
        here.scratch.mkdir()
        find_method(settings.method).run(here, settings)
        made.append(here.out)
    return made


def check_chain(work: Work, asked: Recipe) -> None:
    """Fold the recipe's steps over the original's facts, and compare with the checkpoints that the steps leave."""
    stated = facts_along(asked, facts_of_checkpoint(str(work.source)), {})
    found = [facts_of_checkpoint(str(folder)) for folder in left_by(work, asked)]
    for number, (said, is_so) in enumerate(zip(stated, found, strict=True)):
        for size in SIZES:
            have, says = getattr(is_so, size), getattr(said, size)
            if says is not None:
                assert have <= says if size in MOST and not said.uniform else have == says, (number, size)
        assert said.tokenizer == is_so.tokenizer and said.labels in (None, is_so.labels)
        assert said.vocabulary in (None, is_so.vocabulary)
        assert (said.vocabulary is None) == bool(said.token_changes) == (is_so.vocabulary != found[0].vocabulary)


@pytest.mark.parametrize("steps", ENCODER_CHAINS, ids=lambda steps: " ".join(step["method"] for step in steps))
def test_an_encoders_steps_leave_what_the_plan_says(
    steps: list[Step], tiny_model: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    work = Work(
        tiny_model, tiny_model, tiny_model, tiny_artifact, tmp_path / "out", tmp_path, "text-classification", 32, 7, lambda *_: None
    )  # fmt: skip
    check_chain(work, recipe("text-classification", steps))


@pytest.mark.parametrize("steps", DECODER_CHAINS, ids=lambda steps: " ".join(step["method"] for step in steps))
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_decoders_steps_leave_what_the_plan_says(family: str, steps: list[Step], tmp_path: Path) -> None:
    if family == "gpt2":  # its heads share the hidden size, and cannot be fewer
        steps = [{name: value for name, value in step.items() if name != "kv_heads"} for step in steps]
    work = work_on(family, tmp_path, **{"n_layer" if family == "gpt2" else "num_hidden_layers": 4})
    check_chain(work, recipe("text-generation", steps))


@pytest.mark.parametrize(
    ("task", "step"),
    [
        ("text-classification", {**DISTILL, "layers": 4}),
        ("text-classification", {**DISTILL, "take": [0, 3]}),
        ("text-classification", {**DISTILL, "take": [0, 1], "layers": 3}),
        ("text-classification", {**DISTILL, "relations": "minilmv2", "relation_layer": 3}),
        ("text-classification", {**DISTILL, "layers": 1, "hidden": "last"}),
        ("text-classification", {**STRUCTURED, "layers": 3}),
        ("text-generation", {"method": "distill-decoder", "layers": 3}),
        ("text-generation", {"method": "distill-decoder", "source": "sequence", "prompt": 8, "tokens": 17}),
        ("text-generation", {**BLOCKS, "layers": 2}),
        ("text-generation", {**NARROW, "neurons": 96}),
        ("text-generation", {**NARROW, "kv_heads": 2}),
    ],
)
def test_a_step_refuses_in_the_words_of_the_plan(
    task: str, step: Step, tiny_model: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    work = work_on("llama", tmp_path)
    if task == "text-classification":
        work = replace(work, source=tiny_model, original=tiny_model, dense=tiny_model, rows=tiny_artifact, task=task)
    asked = recipe(task, [step])
    (settings,), facts = asked.compress, facts_of_checkpoint(str(work.source))
    method = find_method(settings.method)
    fault, *_ = method.check(settings, StepContext(asked, model=facts, original=facts, dense=facts))
    with pytest.raises(BadInput) as refused:
        method.run(work, settings)
    assert refused.value.what == fault


def test_another_tokenizer_is_refused_in_the_words_of_the_plan(tiny_model: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    document = json.loads((tiny_model / "tokenizer.json").read_text())
    document["model"]["type"] = "BPE"
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    work = Work(tmp_path, tmp_path, tmp_path, tiny_artifact, tmp_path, tmp_path, "text-classification", 32, 7, lambda *_: None)
    asked = recipe("text-classification", [{"method": "prune-vocabulary"}])
    method, context = find_method("prune-vocabulary"), StepContext(asked, model=facts_of_checkpoint(str(tmp_path)))
    (fault,) = method.check(asked.compress[0], context)
    with pytest.raises(BadInput) as refused:
        method.run(work, asked.compress[0])
    assert refused.value.what == fault == "the model's vocabulary is BPE, and only WordPiece can be pruned"


def test_the_dense_model_is_the_one_before_the_first_pruning() -> None:
    steps = [{**DISTILL, "layers": 3}, VOCABULARY, {**STRUCTURED, "keep": 0.5}, DISTILL]
    asked = recipe("text-classification", steps)
    along = facts_along(asked, ModelFacts(layers=6), {})
    assert [facts.pruned for facts in along] == [False, False, False, True, True]
    assert [before_pruning(along[:number]) for number in range(1, 6)] == [0, 1, 2, 2, 2]
    assert [facts.layers for facts in along] == [6, 3, 3, 3, 3]


def test_a_student_of_its_own_is_what_the_next_steps_compress() -> None:
    asked = recipe("text-classification", [{**DISTILL, "student": "../small"}, {**DISTILL, "layers": 2}])
    small = ModelFacts("/models/small", layers=4, hidden_size=48, heads=3, tokenizer="Unigram")
    along = facts_along(asked, ModelFacts("/models/large", layers=12, hidden_size=768), {"../small": small})
    assert along[1] == small and along[2] == replace(small, layers=2)
    assert facts_along(asked, ModelFacts(layers=12), {})[2] == ModelFacts("../small", layers=2)


def test_a_new_head_has_no_labels_yet(tiny_model: Path) -> None:
    tuned = recipe("text-classification", [], id=str(tiny_model), finetune={"epochs": 1})
    plain, facts = original_facts(recipe("text-classification", []), str(tiny_model)), original_facts(tuned, str(tiny_model))
    assert plain.labels and plain.head and facts.labels is None and facts.head is None
    assert set(facts.modules or ()) > set(plain.modules or ()) >= {"classifier"}
    assert all(
        getattr(plain, field.name) == getattr(facts, field.name)
        for field in fields(plain)
        if field.name not in ("labels", "head", "modules")
    )
