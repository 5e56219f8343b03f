"""What cannot work is said from the recipe's text alone, all of it at once."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgekit.compress.methods import auto_round
from edgekit.config.quantize import Int8, WeightOnly
from edgekit.config.recipe import Finetune
from edgekit.config.target import load_target
from edgekit.data.sources import SPLITS, Place, Sources
from edgekit.data.splits import prepare
from edgekit.errors import BadInput
from edgekit.models.facts import ModelFacts, facts_of_checkpoint
from edgekit.plan.check import faults_of
from edgekit.plan.facts import checkpoint_facts, checkpoint_locations, original_facts, own_length
from edgekit.plan.recipes import recipe_model
from tests.plan.faults import faults_in

DATA = {"train": "a.jsonl", "validation": "b.jsonl", "test": "c.jsonl"}


def recipe(task: str, *compress: dict[str, Any], data: dict[str, Any] | None = None) -> Any:
    asked = {
        "schema": 1,
        "task": task,
        "model": {"new": {"layers": 4}},
        "data": {**DATA, **(data or {})},
        "compress": list(compress),
    }
    return recipe_model().model_validate(asked)


DISTILL, VOCABULARY = {"method": "distill"}, {"method": "prune-vocabulary"}


@pytest.mark.parametrize(
    ("task", "steps", "text"),
    [
        ("text-classification", [VOCABULARY, DISTILL], "put prune-vocabulary last, or set hidden"),
        (
            "text-classification",
            [VOCABULARY, {**DISTILL, "hidden": "none", "relations": "minilmv2"}],
            "put prune-vocabulary last",
        ),
        ("token-classification", [VOCABULARY, {**DISTILL, "hidden": "none"}], "put prune-vocabulary last"),
        ("text-classification", [{**DISTILL, "unlabelled": 9}], "names no `unlabelled` rows"),
        ("text-classification", [{**DISTILL, "layers": 5}], "cannot start from a model of 4"),
        ("text-classification", [{**DISTILL, "take": [0, 4]}], r"layers \[4\] of a model of 4"),
        ("text-classification", [{**DISTILL, "layers": 1, "hidden": "skip"}], "leaves out the last layer"),
        ("text-classification", [{**DISTILL, "layers": 2}, {**DISTILL, "layers": 3}], "cannot start from a model of 2"),
        ("text-classification", [{**DISTILL, "relations": "minilmv2", "relation_layer": 4}], "no layer of a teacher of 4"),
        ("text-classification", [{"method": "prune-structured", "layers": 4}], "removes nothing"),
        ("feature-extraction", [], "do not say what to learn"),
    ],
)
def test_it_is_refused(task: str, steps: list[dict[str, Any]], text: str) -> None:
    (fault,) = faults_in(recipe(task, *steps))
    assert re.search(text, fault)


def test_unlabelled_text_is_no_question() -> None:
    asked = recipe("question-answering", {**DISTILL, "unlabelled": 9}, data={"unlabelled": "d.jsonl"})
    assert any("no input of question-answering" in fault for fault in faults_in(asked))


def test_a_text_alone_is_no_pair() -> None:
    asked = recipe("text-classification", {**DISTILL, "unlabelled": 9}, data={"unlabelled": "d.jsonl"})
    (fault,) = faults_in(asked, pairs=True)
    assert "no input of rows of pairs" in fault and faults_in(asked) == []


def test_columns_that_no_row_is_read_by() -> None:
    columns = {"text": "premise", "text_pair": "hypothesis", "text_par": "hypothesis"}
    (fault,) = faults_in(recipe("text-classification", data={"columns": columns}))
    assert fault == "data, columns: 'text_par' is no column of text-classification, whose rows have label, text, text_pair"


def test_all_of_it_at_once() -> None:
    asked = recipe("text-classification", VOCABULARY, {**DISTILL, "layers": 9, "unlabelled": 3})
    assert len(faults_in(asked)) == 3


def test_what_works_is_not_refused() -> None:
    plain = {**DISTILL, "hidden": "none"}
    assert faults_in(recipe("text-classification", {**DISTILL, "layers": 2, "hidden": "skip"}, VOCABULARY, plain)) == []
    assert faults_in(recipe("text-classification", DISTILL), "owner/on-the-hub") == []


@pytest.mark.parametrize(
    ("task", "step", "text"),
    [
        ("text-classification", {**DISTILL, "lora": 2, "lora_targets": ["querry"]}, "no module 'querry'.*nearest: query"),
        (
            "text-classification",
            {"method": "prune-gradual", "sparsity": 0.5, "lora": 2, "lora_targets": ["layer.4.output.dense"]},
            r"no module 'layer.4.output.dense'.*nearest: layer\.\d\.output\.dense",
        ),
        (
            "text-classification",
            {"method": "prune-unstructured", "pattern": "2:5"},
            "2:5 does not divide hidden size of 192 and intermediate size of 768",
        ),
        ("feature-extraction", {**DISTILL, "alpha": 0.5}, "rows of feature-extraction have none"),
    ],
)
def test_what_the_model_or_the_task_does_not_have(task: str, step: dict[str, Any], text: str) -> None:
    assert any(re.search(text, fault) for fault in faults_in(recipe(task, step)))


@pytest.mark.parametrize(
    "step",
    [
        {"method": "prune-unstructured", "sparsity": 0.5},
        {"method": "prune-gradual", "sparsity": 0.5},
        {"method": "quantize-aware"},
        {**DISTILL, "lora": 2},
    ],
    ids=lambda step: str(step["method"]),
)
def test_layers_that_would_keep_their_shape_and_are_not_found(step: dict[str, Any], tmp_path: Path) -> None:
    """ALBERT's, as CLIP's: the run ended with what cannot be cut, once the model was loaded."""
    (tmp_path / "config.json").write_text('{"model_type": "albert"}')
    asked = recipe("text-classification", step)
    asked = asked.model_copy(update={"model": asked.model.model_copy(update={"new": None, "id": "m"})})
    assert any("those of albert are not listed yet" in fault for fault in faults_in(asked, str(tmp_path)))


def test_modules_and_vocabulary_of_a_model_on_disk(tmp_path: Path) -> None:
    name = "deberta.encoder.layer.0.attention.self.query_proj.weight"
    save_file(
        {part: np.zeros((4, 4), dtype=np.float32) for part in (name, "classifier.weight")}, tmp_path / "model.safetensors"
    )
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Unigram", "vocab": []}}')
    (tmp_path / "config.json").write_text('{"hidden_size": 32, "intermediate_size": 50, "num_labels": 4}')
    asked = recipe("text-classification", {**DISTILL, "lora": 2, "lora_targets": ["query"]}, VOCABULARY)
    asked = asked.model_copy(update={"model": asked.model.model_copy(update={"new": None, "id": "m"})})
    faults = faults_in(asked, str(tmp_path))
    assert any("no module 'query'" in fault and "nearest: query_proj" in fault for fault in faults)
    assert any("vocabulary is Unigram, and only WordPiece" in fault for fault in faults)
    sparse = asked.model_copy(
        update={"compress": recipe("text-classification", {"method": "prune-unstructured", "pattern": "2:4"}).compress}
    )
    assert faults_in(sparse, str(tmp_path)) == [
        "compress 1, prune-unstructured: pattern 2:4 does not divide intermediate size of 50"
    ]


def test_a_model_without_a_head_or_of_an_unknown_family(tmp_path: Path) -> None:
    save_file({"bert.encoder.layer.0.output.dense.weight": np.zeros((4, 4), dtype=np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "longformer"}')
    asked = recipe("text-classification")
    named = asked.model.model_copy(update={"new": None, "id": "m"})
    faults = faults_in(asked.model_copy(update={"model": named}), str(tmp_path))
    assert any('model_type = "longformer": no encoder of this architecture' in fault and "roberta" in fault for fault in faults)
    assert any("no head for text-classification (classifier)" in fault and "[model.finetune]" in fault for fault in faults)
    trained = named.model_copy(update={"finetune": Finetune()})
    assert not any("no head" in fault for fault in faults_in(asked.model_copy(update={"model": trained}), str(tmp_path)))


def test_what_a_checkpoints_tokenizer_says_is_held_against_its_model(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(
        '{"model": {"type": "WordPiece", "vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<x>"}]}'
    )
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 64}')
    (tmp_path / "config.json").write_text('{"model_type": "bert", "vocab_size": 2, "max_position_embeddings": 512}')
    asked = recipe("text-classification", {**DISTILL, "teachers": ["t"]})
    asked = asked.model_copy(update={"model": asked.model.model_copy(update={"new": None, "id": "m"})})
    beyond, cut = (
        "3 token ids, its embedding 2 rows (config.json, vocab_size): token '<x>'",
        "transformers cuts this model's texts to 64",
    )
    faults = faults_in(asked, str(tmp_path), checkpoints={"t": facts_of_checkpoint(str(tmp_path))})
    assert any(beyond in fault and fault.startswith("model: ") for fault in faults)
    assert any(beyond in fault and "teachers: t: " in fault for fault in faults)
    assert any(cut in fault and "tokenizer_config.json, model_max_length" in fault for fault in faults)
    speaks = recipe_model().model_validate({"schema": 1, "task": "text-generation", "model": {"id": "m"}, "data": DATA})
    assert not any(beyond in fault or cut in fault for fault in faults_in(speaks, str(tmp_path)))


def test_only_a_language_model_has_a_cache() -> None:
    asked = recipe("text-classification")
    narrow = WeightOnly(format="int8-weights", cache="int8")
    assert any(
        "only a language model has a cache" in fault for fault in faults_in(asked.model_copy(update={"quantize": narrow}))
    )
    wide = WeightOnly(format="int8-weights")
    assert not any("cache" in fault for fault in faults_in(asked.model_copy(update={"quantize": wide})))
    raised = WeightOnly(format="int4-weights", eight_bits=0.2)
    assert any(
        "quantize, eight_bits: chosen by the next tokens" in fault
        for fault in faults_in(asked.model_copy(update={"quantize": raised}))
    )


LLAMA = ModelFacts(architecture="llama", layers=8, hidden_size=64, intermediate_size=96, vocabulary={"a": 0, "b": 1})
SMALL = replace(LLAMA, layers=1)


@pytest.mark.parametrize(
    ("task", "target", "draft", "text"),
    [
        ("text-generation", "x86-vnni", SMALL, None),
        ("text-generation", "x86-vnni", ModelFacts(), None),  # on the hub, before it is downloaded
        ("text-generation", "x86-vnni", replace(SMALL, vocabulary={"a": 1, "b": 0}), "draft, id: its tokenizer is another one"),
        ("text-generation", "x86-vnni", LLAMA, "draft, id: it is as large as the model"),
        ("text-generation", "x86-vnni", replace(SMALL, architecture="bert"), "draft, id: no decoder of architecture 'bert'"),
        ("text-generation", "cuda", SMALL, "draft: cuda is no CPU"),
        ("text-classification", "x86-vnni", SMALL, "draft: guesses the next tokens of language models"),
    ],
)
def test_a_draft_that_cannot_guess(task: str, target: str, draft: ModelFacts, text: str | None) -> None:
    asked = {"schema": 1, "task": task, "model": {"id": "m"}, "data": DATA, "draft": {"id": "d"}}
    found = faults_of(recipe_model().model_validate(asked), [load_target(target)], LLAMA, checkpoints={"d": draft})
    found = [fault for fault in found if fault.startswith("draft")]
    assert len(found) == (text is not None) and (text is None or found[0].startswith(text))


STRUCTURED = {"method": "prune-structured", "keep": 0.5}
RELATIONS = {"relations": "minilmv2", "relation_layer": 3}


@pytest.mark.parametrize(
    "steps",
    [
        [VOCABULARY, {**DISTILL, "hidden": "none", "relations": "minilmv2", "relations_weight": 0.0}],
        [VOCABULARY, {**DISTILL, "hidden_weight": 0.0}],
        [VOCABULARY, STRUCTURED, {**DISTILL, "teacher": "dense"}],  # whose tokens are the student's
        [{**DISTILL, "layers": 1, "hidden": "skip", "hidden_weight": 0.0}],
        [{**DISTILL, "heads": 2, "relations": "attention", "relations_weight": 0.0}],
        [{**DISTILL, "layers": 2}, STRUCTURED, {**DISTILL, **RELATIONS}],
    ],
    ids=lambda steps: " ".join(step["method"] for step in steps),
)
def test_what_is_sound_is_let_through(steps: list[dict[str, Any]]) -> None:
    assert faults_in(recipe("text-classification", *steps)) == []


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([VOCABULARY, STRUCTURED, VOCABULARY, {**DISTILL, "teacher": "dense"}], "compare tokens once prune-vocabulary"),
        ([VOCABULARY, STRUCTURED, {**DISTILL, "teacher": "original"}], "compare tokens once prune-vocabulary"),
        ([{**DISTILL, "layers": 2}, STRUCTURED, {**DISTILL, **RELATIONS, "teacher": "dense"}], "no layer of a teacher of 2"),
        ([{**DISTILL, "take": [0, 1], "layers": 3}], "take = .0, 1. names 2 layers, and `layers` says 3"),
        ([STRUCTURED, {**DISTILL, "neurons": 769}], "neurons = 769 is more than the 768 of the model"),
        ([STRUCTURED, {"method": "prune-unstructured", "pattern": "3:7"}], "3:7 does not divide hidden size of 192$"),
        ([{**DISTILL, "width": 96, "neurons": 90}, {"method": "prune-unstructured", "pattern": "2:4"}], "intermediate size of 90$"),
        ([{**DISTILL, "heads": 2, "relations": "attention"}], "attention maps of 2 heads cannot be compared with 4"),
        ([STRUCTURED, {**DISTILL, "heads": 2, "relations": "attention"}], "attention maps of 2 heads cannot be compared with 4"),
    ],
)  # fmt: skip
def test_a_step_is_checked_on_what_the_steps_before_it_leave(steps: list[dict[str, Any]], text: str) -> None:
    (fault,) = faults_in(recipe("text-classification", *steps))
    assert fault.startswith(f"compress {len(steps)}, ") and re.search(text, fault)


def test_the_first_teacher_is_the_one_looked_into() -> None:
    asked = recipe("text-classification", {**DISTILL, **RELATIONS, "teacher": "none", "teachers": ["first", "second"]})
    first, second = ModelFacts("first", layers=3), ModelFacts("second", layers=12)
    (fault,) = faults_in(asked, checkpoints={"first": first, "second": second})
    assert fault == "compress 1, distill: relation_layer = 3 is no layer of a teacher of 3"
    deep, shallow = ModelFacts("first", layers=12), ModelFacts("second", layers=3)
    assert faults_in(asked, checkpoints={"first": deep, "second": shallow}) == []


def test_relations_of_a_model_whose_queries_and_keys_are_one_matrix() -> None:
    asked = recipe("text-classification", {**DISTILL, "relations": "minilmv2", "teacher": "none", "teachers": ["first"]})
    (fault,) = faults_in(asked, checkpoints={"first": ModelFacts("first", "modernbert", layers=4)})
    assert fault.startswith("compress 1, distill: relations: queries, keys and values of modernbert are one Linear")
    assert faults_in(asked, checkpoints={"first": ModelFacts("first", "bert", layers=4)}) == []


def test_a_students_own_layers_and_heads_are_compared_with_its_teachers() -> None:
    given = {**DISTILL, "student": "small", "hidden": "last", "relations": "attention"}
    small = ModelFacts("small", layers=6, heads=6)
    deep, many = faults_in(recipe("text-classification", given), checkpoints={"small": small})
    assert deep == "compress 1, distill: a student of 6 layers has more than its teacher's 4"
    assert many.startswith("compress 1, distill: attention maps of 6 heads cannot be compared with 4; use")
    uneven = replace(small, layers=3, uniform=False)
    assert faults_in(recipe("text-classification", given), checkpoints={"small": uneven}) == []


def test_learned_ranges_are_for_a_static_target_and_for_the_last_step() -> None:
    last = {"method": "quantize-aware"}
    target = load_target("x86-vnni")
    static = target.model_copy(update={"quantize": Int8(mode="static")})
    dynamic = target.model_copy(update={"quantize": Int8(mode="dynamic")})
    assert faults_in(recipe("text-classification", DISTILL, last), targets=(static,)) == []
    (fault,) = faults_in(recipe("text-classification", last), targets=(static, dynamic))
    assert fault.startswith("compress 1, quantize-aware: x86-vnni quantizes dynamic int8, which uses no learned ranges")
    smoothed = target.model_copy(update={"quantize": Int8(mode="static", smooth=0.5)})
    (fault,) = faults_in(recipe("text-classification", last), targets=(smoothed,))
    assert (
        fault
        == "compress 1, quantize-aware: x86-vnni smooths activations, and learned ranges hold for them as they were trained; leave smooth out"
    )
    (fault,) = faults_in(recipe("text-classification", last, VOCABULARY), targets=(static,))
    assert fault == "compress 1, quantize-aware: later steps would change what its ranges fit; put it last, once"
    (fault,) = faults_in(recipe("text-classification", last, last), targets=(static,))
    assert fault.startswith("compress 1, ")


@pytest.mark.parametrize("method", ["quantize-aware-decoder", "auto-round"])
def test_weights_that_a_step_has_rounded_are_rounded_by_no_other(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_round, "find_spec", lambda name: name)
    last = {"method": method, "block": 64}
    target = load_target("x86-vnni")
    like, other = (
        target.model_copy(update={"quantize": WeightOnly(format="int4-weights", block=64, rounding=rounding)})
        for rounding in ("clip", "gptq")
    )
    assert faults_in(recipe("text-generation", last), targets=(like,)) == []
    for wrong in (other, target):
        (fault,) = faults_in(recipe("text-generation", last), targets=(wrong,))
        assert fault.endswith('write a [quantize] table with format = "int4-weights" and block = 64')
    (fault,) = faults_in(recipe("text-generation", last, {"method": "drop-blocks", "layers": 1}), targets=(like,))
    assert fault == f"compress 1, {method}: later steps would change the weights that it has rounded; put it last, once"


def test_a_step_of_the_other_kind_of_model_is_that_fault_alone() -> None:
    (fault,) = faults_in(recipe("text-classification", {"method": "drop-blocks", "layers": 9}))
    assert fault == "compress 1, drop-blocks: serves language models, not encoders; use distill with `layers`"


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        (["O", "B-LOC", "I-LOC"], None),
        (["O", "B-LOC", "I-LOC", "E-LOC", "S-LOC"], None),
        (["NOUN", "VERB"], None),
        (["O", "B-LOC", "NOUN"], "'B-LOC' are letters with a kind, and 'NOUN' are not"),
        (["O", "B-LOC", "I-LOC", "L-LOC", "E-LOC"], "mix the letters of several schemes"),
    ],
)
def test_tags_of_no_one_scheme_are_told_from_the_models_file(tmp_path: Path, labels: list[str], fault: str | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "id2label": dict(enumerate(labels))}))
    asked = recipe("token-classification")
    asked = asked.model_copy(update={"model": asked.model.model_copy(update={"new": None, "id": "m"})})
    found = [one for one in faults_in(asked, str(tmp_path)) if "id2label" in one]
    assert found == [] if fault is None else fault in found[0] and found[0].startswith("model: config.json, id2label: ")


def test_tags_of_no_one_scheme_are_told_from_the_rows(tmp_path: Path) -> None:
    for split in SPLITS:
        rows = [{"tokens": ["we", f"{split}{number}"], "tags": ["O", tag]} for number, tag in enumerate(("B-LOC", "b-per"))]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = Sources(*(Place(str(tmp_path / f"{split}.jsonl")) for split in SPLITS))
    with pytest.raises(BadInput, match="data, tags: tags that cannot be read: 'B-LOC', 'b-per' have letters in both cases"):
        prepare(sources, ("tokens", "tags"), tmp_path)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"model_type": "phi3", "original_max_position_embeddings": 64, "rope_scaling": {"type": "longrope"}}, 64),
        ({"model_type": "phi3", "rope_scaling": {"type": "su"}}, 4096),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 32}}, 32),
    ],
)
def test_longrope_beyond_its_original_length_is_refused_by_name(tmp_path: Path, config: dict[str, Any], length: int) -> None:
    key = "rope_scaling" if "rope_scaling" in config else "rope_parameters"
    scaling = {**config[key], "short_factor": [1.0], "long_factor": [2.0]}
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 131072, key: scaling}))

    def said(most: int) -> list[str]:
        asked = {"schema": 1, "task": "text-generation", "model": {"id": "m", "max_length": most}, "data": DATA}
        return [fault for fault in faults_in(recipe_model().model_validate(asked), str(tmp_path)) if "max_length" in fault]

    assert said(length) == []
    (fault,) = said(length + 1)
    assert f"more than {length} are read with other angles (config.json, original_max_position_embeddings: longrope" in fault
    assert fault.endswith(f"ask for {length} or fewer")


def test_more_tokens_than_a_language_model_has_positions_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 64}))
    asked = {"schema": 1, "task": "text-generation", "model": {"id": "m", "max_length": 65}, "data": DATA}
    assert "model, max_length: 65 tokens, but the model has positions for 64; ask for so many or fewer" in faults_in(
        recipe_model().model_validate(asked), str(tmp_path)
    )


@pytest.mark.parametrize(
    ("asked", "cut", "positions", "length"),
    [({}, 24, 64, 24), ({}, None, 64, 64), ({}, None, 2048, 512), ({"max_length": 16}, 24, 64, 16), ({}, None, None, 128)],
)
def test_inputs_are_as_long_as_the_model_says(
    asked: dict[str, int], cut: int | None, positions: int | None, length: int, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "bert"} | ({"max_position_embeddings": positions} if positions else {}))
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": cut} if cut else {}))
    document = {"schema": 1, "task": "text-classification", "model": {"id": "m", **asked}, "data": {"builtin": "intents"}}
    written = recipe_model().model_validate(document)
    found, note = own_length(written, original_facts(written, str(tmp_path)))
    assert found.model.max_length == length
    assert (note is None) == (found is written) and (note is None or f"max_length = {length}" in note)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"problem_type": "multi_label_classification"}, 'problem_type = "multi_label_classification": of models of'),
        ({"problem_type": "regression"}, 'problem_type = "regression": of models of'),
        ({"id2label": {"0": "cat"}}, "id2label (one label): of models of"),
        (
            {"problem_type": "single_label_classification", "id2label": {"0": "cat"}},
            "exclude one another (a softmax); use one of two labels or more",
        ),
        ({"problem_type": "single_label_classification"}, ""),
    ],
)
@pytest.mark.parametrize(
    ("task", "family"), [("image-classification", "vit"), ("audio-classification", "audio-spectrogram-transformer")]
)
def test_heads_of_images_and_sounds_that_are_no_softmax_are_refused(
    task: str, family: str, more: dict[str, Any], says: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, "id2label": {"0": "cat", "1": "dog"}, **more}))
    named = recipe(task).model.model_copy(update={"id": str(tmp_path), "new": None})
    found = [
        fault for fault in faults_in(recipe(task).model_copy(update={"model": named}), str(tmp_path)) if "(a softmax)" in fault
    ]
    assert len(found) == bool(says) and all(says in fault for fault in found)
    finetuned = recipe(task).model_copy(update={"model": named.model_copy(update={"finetune": Finetune()})})
    assert not [fault for fault in faults_in(finetuned, str(tmp_path)) if "(a softmax)" in fault]


def test_a_head_of_a_model_named_by_its_hub_id_is_refused_as_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.fetch.mirror import write_index
    from edgekit.plan.source import source_of

    folder = tmp_path / f"mirror/models/owner/vit@{'0' * 40}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "vit", "problem_type": "regression", "id2label": {"0": "a", "1": "b"}}')
    write_index(tmp_path / "mirror")
    monkeypatch.setenv("EDGEKIT_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr("edgekit.models.files.digest", lambda folder: "of no weights")
    asked = recipe("image-classification")
    asked = asked.model_copy(update={"model": asked.model.model_copy(update={"id": "owner/vit", "new": None})})
    facts = original_facts(asked, source_of(asked, tmp_path / "r.toml").model)
    assert any(
        'problem_type = "regression": of models of' in fault
        for fault in faults_of(asked, [load_target("x86-vnni")], facts, checkpoints={})
    )


def test_a_draft_that_is_not_there_is_told_before_anything_runs(tmp_path: Path) -> None:
    """A result's checkpoint leads into the store, which may be deleted."""
    asked = {"schema": 1, "task": "text-generation", "model": {"id": "m"}, "data": DATA, "draft": {"id": "a/b/checkpoint"}}
    recipe = recipe_model().model_validate(asked)

    def found() -> list[str]:
        checkpoints = checkpoint_facts(checkpoint_locations(recipe, tmp_path / "r.toml"))
        faults = faults_of(recipe, [load_target("x86-vnni")], LLAMA, checkpoints=checkpoints)
        return [fault for fault in faults if "no such model folder" in fault]

    (fault,) = found()
    assert fault.startswith("draft, id: no such model folder: a/b/checkpoint; a folder is meant relative to the recipe")
    (tmp_path / "a" / "b" / "checkpoint").mkdir(parents=True)
    assert not found()
