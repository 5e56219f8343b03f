"""Answers of a given form: always what was asked for, drawn from what is left of the model's distribution, and refused where that cannot be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgekit.runtime.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.runtime.generate import guide, trial
from edgekit.runtime.generate.answer import Answer
from edgekit.runtime.generate.constraint import LONGEST, Constraint, parse_constraint
from edgekit.runtime.generate.endless import endless
from edgekit.runtime.generate.exact import exact
from edgekit.runtime.generate.model import LanguageModel, language_model
from edgekit.runtime.generate.sample import Sampler, Sampling, parse_sampling
from tests.runtime.generate.tiny_decoder import TINY

Fresh = Callable[..., LanguageModel]
NODE: dict[str, Any] = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"v": {"enum": [1, 2]}, "c": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1}},
            "required": ["v", "c"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
"""Recursive."""
SCHEMAS: dict[str, Any] = {
    "anything": True,
    "object": {"type": "object", "maxProperties": 2},
    "integers": {"type": "integer", "minimum": -5, "maximum": 1200},
    "numbers": {"type": "number", "minimum": 0, "exclusiveMaximum": 2},
    "words": {"type": "string", "minLength": 2, "maxLength": 6},
    "pattern": {"type": "string", "pattern": "^[a-c]{2}-[0-9]+$", "maxLength": 8},
    "date": {"type": "string", "format": "date"},
    "enum": {"enum": ["on", "off", 3, None, {"a": [1]}, 'quo"te', "🙂"]},
    "const": {"const": {"the": ["hat", 1.5, None]}},
    "array": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"enum": ["x"]}], "items": False, "minItems": 2},
    "record": {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 4}, "age": {"type": "integer"}, "in": {"type": "boolean"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "nested": {
        "type": "object",
        "properties": {
            "a": {
                "type": "object",
                "properties": {"b": {"enum": ["the", "in"]}},
                "required": ["b"],
                "additionalProperties": False,
            }
        },
        "required": ["a"],
        "additionalProperties": False,
    },
    "either": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}]},
    "both": {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 9}]},
    "apart": {"oneOf": [{"type": "integer"}, {"type": "string", "maxLength": 3}]},
    "recursive": NODE,
    "keys": {"type": "object", "patternProperties": {"^k[0-9]$": {"type": "integer"}}, "additionalProperties": False},
    "multiple": {"type": "integer", "multipleOf": 7},
}
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
REGEXES = (r"[a-c]{2,5}x?", r"\d{1,3}(\.\d{2})?", r"(yes|no|maybe)!", r"[^a-z]{3}", r" the (inn|hat)\.", r"(he|she) said\n")
GRAMMARS = {
    'start: "a" (B | "c")*\nB: /b{2}/': r"a(bb|c)*",
    'start: pair ("," pair)*\npair: /[a-z]{1,2}/ "=" /[0-9]/': r"([a-z]{1,2}=\d,?)+",
}
CHOICES = (["hat", "inn", 'a "quoted"\nline 🙂 \\d'], ["the", "then", "the inn"])
PROMPTS = ("the inn", "He", "a 🙂", "1")
SAMPLINGS = ({}, {"temperature": 1.0, "seed": 1}, {"temperature": 1.5, "seed": 2, "top_k": 40, "top_p": 0.95, "min_p": 0.001})


@pytest.fixture(scope="module")
def model(session: Any, tiny_folder: Path) -> LanguageModel:
    """One for all tests here: each starts a process that compiles."""
    return language_model(session, TINY, tiny_folder / "tokenizer.json")


def answers(model: LanguageModel, tokens: int = 110, **constraint: Any) -> list[Answer]:
    """An answer for every prompt and way of sampling."""
    given = [parse_sampling({**sampling, **constraint, "max_new_tokens": tokens}) for sampling in SAMPLINGS]
    return [model.generate(prompt, sampling) for sampling in given for prompt in PROMPTS]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_finished_answer_is_a_document_of_the_schema(model: LanguageModel, name: str) -> None:
    schema = SCHEMAS[name]
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    found = answers(model, json_schema=schema)
    for answer in found:
        assert answer.ended in ("stop", "length")
        if answer.ended == "stop":
            validator.validate(json.loads(answer.text))
    if name not in ("anything", "object", "keys"):  # a random model may say their texts without end
        assert sum(answer.ended == "stop" for answer in found) >= len(found) // 2


@pytest.mark.parametrize("regex", REGEXES)
def test_every_finished_answer_fits_the_expression(model: LanguageModel, regex: str) -> None:
    found = answers(model, regex=regex)
    assert all(re.fullmatch(regex, answer.text) for answer in found if answer.ended == "stop")
    assert any(answer.ended == "stop" for answer in found)


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_every_finished_answer_is_of_the_grammar(model: LanguageModel, grammar: str) -> None:
    found = answers(model, grammar=grammar, tokens=40)
    assert all(re.fullmatch(GRAMMARS[grammar], answer.text) for answer in found if answer.ended == "stop")
    assert len(found) == len(PROMPTS) * len(SAMPLINGS)


@pytest.mark.parametrize("choice", CHOICES)
def test_an_answer_is_one_of_the_choices(model: LanguageModel, choice: list[str]) -> None:
    found = answers(model, choice=choice)
    assert {answer.text for answer in found} <= {*choice} and {answer.ended for answer in found} == {"stop"}


def test_as_many_choices_as_may_be_given(model: LanguageModel) -> None:
    choice = [f"{number * 7919 % 100_003} inn" for number in range(10_000)]
    assert {answer.text for answer in answers(model, choice=choice)[:4]} < {*choice}


def test_an_object_of_many_properties(model: LanguageModel) -> None:
    schema = {
        "type": "object",
        "properties": {f"k{number}": {"enum": [1]} for number in range(600)},
        "additionalProperties": False,
    }
    answer = model.generate("the", parse_sampling({"json_schema": schema, "max_new_tokens": 60}))
    assert re.match(r'\{("k\d+": 1|\})', answer.text), answer.text
    schema["properties"] |= {f"l{number}": {"enum": [1]} for number in range(1000)}
    with pytest.raises(BadInput, match="more open at one place than can be kept up with"):
        model.generate("the", parse_sampling({"json_schema": schema, "max_new_tokens": 60}))


def test_a_text_in_a_conversation_keeps_the_space_that_an_expression_wants(fresh: Fresh) -> None:
    model = fresh(chat=True)
    sampling = parse_sampling({"regex": " the (inn|hat)", "max_new_tokens": 30})
    assert model.answer("hat?", sampling).text in (" the inn", " the hat")


def test_a_cut_answer_says_so(model: LanguageModel) -> None:
    answer = model.generate("the", parse_sampling({"json_schema": SCHEMAS["record"], "max_new_tokens": 5}))
    assert answer.ended == "length" and len(answer.tokens) == 5 and answer.text.startswith('{"n')
    assert answer.complete is False and answer.document()["complete"] is False
    full = model.generate("the", parse_sampling({"grammar": 'start: "a"+ "b"', "max_new_tokens": 1000}))
    assert full.ended in ("context", "stop")


def test_whether_an_answer_is_complete_is_told_of_its_text(model: LanguageModel) -> None:
    """Not of how it ended: at the limit it may fit, and a stop text may cut it where it fits or where it does not."""
    never_ends = {2: -100.0}
    for asked, ended, complete in (
        ({"regex": "[a-c]{2}", "max_new_tokens": 40}, "stop", True),
        ({"regex": "[a-c]{2}", "max_new_tokens": 1}, "length", False),
        ({"regex": "[a-c]{1,90}", "max_new_tokens": 3, "logit_bias": never_ends}, "length", True),
        ({"regex": "[a-c]{2}-[0-9]", "stop": ["-"], "max_new_tokens": 40}, "stop", False),
        ({"regex": "[a-c]{2}(-[0-9])?", "stop": ["-"], "max_new_tokens": 40, "logit_bias": never_ends}, "stop", True),
        ({"max_new_tokens": 1}, "length", None),
    ):
        answer = model.generate("the", parse_sampling(asked))
        assert (answer.ended, answer.complete) == (ended, complete), (asked, answer)
    *_, last = model.stream("the", parse_sampling({"regex": "[a-c]{2}", "max_new_tokens": 1}))
    assert last.complete is False


def test_the_end_comes_only_where_the_form_is_complete(model: LanguageModel) -> None:
    ends = {2: 100.0}
    for schema, text in (
        (SCHEMAS["both"], None),
        ({"type": "string", "minLength": 3, "maxLength": 3}, None),
        ({"const": 12}, "12"),
    ):
        answer = model.generate("the", parse_sampling({"json_schema": schema, "max_new_tokens": 40, "logit_bias": ends}))
        assert answer.ended == "stop" and text in (None, answer.text)
        jsonschema.validate(json.loads(answer.text), schema)
    shortest = model.generate("the", parse_sampling({"regex": "a{2,30}", "max_new_tokens": 40, "logit_bias": ends}))
    assert shortest.text == "aa" and shortest.tokens[-1] == 2


def test_stop_tokens_end_it_only_where_the_form_is_complete(model: LanguageModel) -> None:
    comma = model.tokenizer.token_to_id(",")
    asked = {"regex": "(a,){3}b{1,9}", "stop_token_ids": [comma], "logit_bias": {comma: 100}, "max_new_tokens": 40}
    answer = model.generate("the", parse_sampling(asked))
    assert answer.text == "a,a,a,b" and answer.tokens[-1] == comma and answer.ended == "stop"


def test_a_stop_text_cuts_it_as_it_cuts_all_answers(model: LanguageModel) -> None:
    answer = model.generate("the", parse_sampling({"regex": "[a-c]{4}-[0-9]+", "stop": ["-"], "max_new_tokens": 40}))
    assert re.fullmatch("[a-c]{4}", answer.text) and answer.ended == "stop"


def test_it_is_the_models_distribution_on_what_is_allowed() -> None:
    scores = np.array([1.0, 5.0, 2.0, 0.5, 3.0], dtype=np.float32)
    allowed = np.array([0, 2, 3])
    sampler = Sampler(Sampling(temperature=1.0), np.arange(0), 5)
    counts = np.bincount([sampler.choose(scores, allowed) for _ in range(20_000)], minlength=5)
    wanted = np.zeros(5)
    wanted[allowed] = np.exp(scores[allowed]) / np.exp(scores[allowed]).sum()
    assert np.abs(counts / 20_000 - wanted).max() < 0.02 and counts[[1, 4]].sum() == 0
    assert Sampler(Sampling(), np.arange(0), 5).choose(scores, allowed) == 2
    assert Sampler(Sampling(logit_bias=((3, 9.0),)), np.arange(0), 5).choose(scores, allowed) == 3


def test_what_must_come_next_is_read_in_one_run(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    real = type(model.graph).run

    def run(graph: Any, ids: np.ndarray, *rest: Any, **more: Any) -> np.ndarray:
        runs.append(ids.shape[1])
        return real(graph, ids, *rest, **more)

    monkeypatch.setattr(type(model.graph), "run", run)
    answer = model.generate("the", parse_sampling({"json_schema": SCHEMAS["nested"], "max_new_tokens": 60}))
    assert answer.text in ('{"a": {"b": "the"}}', '{"a": {"b": "in"}}')
    assert len(runs) < len(answer.tokens) / 2 and max(runs[1:]) > 4


@pytest.mark.parametrize("name", ["record", "nested", "enum", "recursive", "const"])
def test_one_row_tokens_one_by_one_and_a_batch_say_the_same(fresh: Fresh, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Tokens that are certain are read together, and leave the cache as tokens read one by one do."""
    asked = {"json_schema": SCHEMAS[name], "max_new_tokens": 70}
    for sampling in SAMPLINGS[:2]:
        settings = parse_sampling({**asked, **sampling})
        together = fresh().generate("the inn", settings)
        told = fresh().generate("the inn", parse_sampling({**asked, **sampling, "logprobs": 1}))
        (batched, _) = fresh().generate(["the inn", "a 🙂"], settings)
        with monkeypatch.context() as patch:
            patch.setattr("edgekit.runtime.generate.answer.MOST_CERTAIN", 0)
            alone = fresh().generate("the inn", settings)
        assert together.tokens == alone.tokens == told.tokens == batched.tokens
        assert together.text == alone.text == told.text == batched.text


def test_a_stream_gives_the_same_text_in_parts(model: LanguageModel) -> None:
    sampling = parse_sampling({"json_schema": SCHEMAS["enum"], "temperature": 1.0, "seed": 4, "max_new_tokens": 60})
    pieces = [*model.stream("the", sampling)]
    assert "".join(piece.text for piece in pieces) == model.generate("the", sampling).text
    assert [piece.ended for piece in pieces[:-1]] == [None] * (len(pieces) - 1) and pieces[-1].ended == "stop"


def test_a_model_without_an_end_of_text_ends_where_nothing_can_follow(model: LanguageModel) -> None:
    guides = guide.Guides(model.tokenizer, model.tokens, ())
    held = guides.guide(Constraint("regex", "a{1,2}"))
    letter = model.tokenizer.token_to_id("a")
    held.take(letter)
    assert {model.tokenizer.decode([number]) for number in held.allowed()} == {"a"} and held.may_end and not held.complete
    held.take(letter)
    assert held.complete


def test_log_probabilities_are_the_models_own(model: LanguageModel) -> None:
    answer = model.generate("the inn", parse_sampling({"regex": "[a-c]{3}", "logprobs": 3, "temperature": 0.7}))
    assert answer.likely is not None and len(answer.likely) == len(answer.tokens)
    ids = np.concatenate([model.encode("the inn"), answer.tokens])
    wanted = model.score(ids)[-len(answer.tokens) :]
    assert [one.token for one in answer.likely] == pytest.approx(
        wanted.tolist(), abs=0.05
    )  # of all ids, not only the known ones
    assert all(len(one.most) == 3 and one.most[0][1] >= one.most[1][1] >= one.most[2][1] for one in answer.likely)
    document = answer.document()["logprobs"]
    assert isinstance(document, list) and len(document) == len(answer.tokens)
    assert "logprobs" not in model.generate("a", Sampling(max_new_tokens=2)).document()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"json_schema": {"type": "integer", "minimum": 5, "maximum": 3}}, "minimum (5) is greater than maximum (3)"),
        ({"json_schema": {"allOf": [{"type": "integer"}, {"type": "string"}]}}, "incompatible types"),
        ({"json_schema": False}, "json_schema: nothing fits false"),
        ({"json_schema": {"$ref": "https://example.com/x.json"}}, "it names another document, 'https://example.com/x.json'"),
        ({"json_schema": {"properties": {"a": {"$ref": "http://a.b/c#/d"}}}}, "it names another document, 'http://a.b/c'"),
        ({"grammar": 'start: %json {"$ref": "http://a/b"}'}, "it names another document, 'http://a/b'"),
        ({"json_schema": {"$ref": "#/$defs/none"}}, "'/$defs/none' does not exist"),
        ({"json_schema": {"$defs": {"n": {"$ref": "#/$defs/n"}}, "$ref": "#/$defs/n"}}, "as every #/$defs/n holds another one"),
        ({"json_schema": {"not": {"type": "string"}}}, 'Unimplemented keys: ["not"]'),
        ({"json_schema": {"oneOf": [{"type": "integer"}, {"type": "number"}]}}, "more than one part of its oneOf might fit"),
        ({"choice": ["</s>"]}, "the name of a control token"),
        ({"json_schema": {"$schema": "http://a.b/c", "type": "integer"}}, "it names another document, 'http://a.b/c'"),
        ({"json_schema": "{"}, "json_schema: not sound JSON"),
        ({"json_schema": 3}, "json_schema: int is no JSON Schema"),
        ({"json_schema": {"description": "x" * LONGEST}}, "characters are more than 262,144"),
        ({"regex": "(a"}, "unclosed group"),
        ({"regex": r"(a)\1"}, "backreferences are not supported"),
        ({"regex": r"(?=a)b"}, "look-around"),
        ({"regex": ""}, "regex: not a text, or an empty one"),
        ({"regex": r"[^\x00-\U0010FFFF]"}, "no text fits it"),
        ({"regex": "\ud800"}, "half of a surrogate pair"),
        ({"grammar": "start: other"}, 'unknown name: "other"'),
        ({"grammar": 'x: "a"'}, "no start rule"),
        ({"grammar": "start: T0\n" + "".join(f"T{n}: T{n + 1} T{n + 1}\n" for n in range(60)) + 'T60: "a"'}, "too big"),
        ({"json_schema": {"type": "object", "minProperties": 3, "required": ["a"]}}, "as a name may come twice"),
        ({"json_schema": {"type": "array", "items": {"const": 1}, "minItems": 1_000_000}}, "what must come next has no end, or is too much"),
        ({"choice": []}, "choice: not a list of 1 to 10,000 different texts"),
        ({"choice": ["a", "a"]}, "different texts"),
        ({"choice": ["a", ""]}, "choice: holds something else than texts, or an empty one"),
        ({"choice": ["a"], "regex": "a"}, "regex and choice: an answer has one form"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_with_why(model: LanguageModel, given: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput) as told:
        model.generate("the", parse_sampling(given))
    assert says in told.value.text()
    assert model.generate("the", Sampling(max_new_tokens=2)).ended


def test_a_grammar_whose_compilation_does_not_end_is_refused(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = parse_sampling({"json_schema": {"type": "integer", "multipleOf": 12345679}, "max_new_tokens": 3})
    monkeypatch.setattr(guide, "SECONDS", 0.3)
    with pytest.raises(BadInput, match=r"compiling it did not end within 0\.3 s"):
        model.generate("the", endless)
    monkeypatch.setattr(guide, "SECONDS", 60.0)
    assert model.generate("the", parse_sampling({"choice": ["hat"]})).text == "hat", "a new process compiles the next one"


def test_a_grammar_that_takes_too_much_memory_is_refused() -> None:
    """In the child's own words: it tells MemoryError as it tells llguidance's faults."""
    reply = trial._reply(json.dumps({"kind": "nonsense"}).encode(), None)
    assert "KeyError" in reply["fault"]


def test_a_form_that_explodes_within_an_answer_ends_it(model: LanguageModel) -> None:
    sampling = parse_sampling({"regex": "((a{1,100}){1,100}){1,100}", "max_new_tokens": 110, "logit_bias": {2: -100}})
    try:
        assert set(model.generate("the", sampling).text) == {"a"}
    except BadInput as told:
        assert "regular expression cannot be used" in told.what
    assert model.generate("the", Sampling(max_new_tokens=2)).ended


def test_compiled_once(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Constraint] = []
    real = guide.Guides._compiled

    def compiled(guides: guide.Guides, constraint: Constraint) -> Any:
        made.append(constraint)
        return real(guides, constraint)

    monkeypatch.setattr(guide.Guides, "_compiled", compiled)
    for _ in range(3):
        model.generate("the", parse_sampling({"choice": ["once", "inn"]}))
    assert len(made) == 1
    monkeypatch.setattr(model.guides, "_kept", OrderedDict())
    monkeypatch.setattr(model.guides, "_weights", {})
    monkeypatch.setattr(guide, "KEPT", 1)
    model.generate("the", parse_sampling({"choice": ["hat"]}))
    model.generate("the", parse_sampling({"choice": ["once", "inn"]}))
    assert len(made) == 3


def test_what_was_refused_is_known_for_a_while(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Constraint] = []
    real = guide.Guides._compiled

    def compiled(guides: guide.Guides, constraint: Constraint) -> Any:
        tried.append(constraint)
        return real(guides, constraint)

    monkeypatch.setattr(guide.Guides, "_compiled", compiled)
    for _ in range(3):
        with pytest.raises(BadInput, match="unclosed group") as told:
            model.generate("the", parse_sampling({"regex": "(once"}))
        assert told.value.fix
    assert len(tried) == 1 and model.guides.known(tried[0])
    monkeypatch.setattr(guide, "REMEMBERED", 0.0)
    with pytest.raises(BadInput, match="unclosed group"):
        model.generate("the", parse_sampling({"regex": "(once"}))
    assert len(tried) == 2 and not model.guides.known(tried[0])


def test_without_llguidance_it_says_what_to_install(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotPossibleHere, match="need llguidance") as told:
        model.generate("the", parse_sampling({"choice": ["missing"]}))
    assert "pip install 'llguidance>=1.9'" in str(told.value.fix)
    assert model.generate("the", Sampling(max_new_tokens=2)).ended


def test_it_is_not_imported_without_need() -> None:
    code = "import sys, edgekit.runtime.generate.model, edgekit.runtime.serve.app; sys.exit('llguidance' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_faults_of_the_model_are_told_as_ever(model: LanguageModel) -> None:
    sampler = Sampler(Sampling(), np.arange(0), 3)
    with pytest.raises(CheckFailed):
        sampler.choose(np.array([np.nan, 1, 2], dtype=np.float32), np.array([1]))


def test_biases_are_added_and_checked(model: LanguageModel) -> None:
    letter = model.tokenizer.token_to_id("z")
    assert set(model.generate("the", Sampling(max_new_tokens=4, logit_bias=((letter, 100.0),))).tokens) == {letter}
    with pytest.raises(BadInput, match="logit_bias: 9999 is not among"):
        model.generate("the", Sampling(logit_bias=((9999, 1.0),)))
    for given in ({"-1": 1}, {"x": 1}, {"3": 101}, {"3": "a"}, {"3": True}, [3]):
        with pytest.raises(BadInput, match="logit_bias"):
            parse_sampling({"logit_bias": given})
    assert parse_sampling({"logit_bias": {"3": -100, 4: 1.5}}).logit_bias == ((3, -100), (4, 1.5))


@pytest.mark.parametrize(
    ("schema", "wrong", "right"),
    [
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "0", "0.25"),
        ({"type": "number", "minimum": -1.5, "exclusiveMaximum": -1}, "-1", "-1.25"),
        ({"type": "number", "exclusiveMinimum": 0}, "0", "3"),
        ({"$schema": DRAFT_4, "type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 0.5}, "0", "0.25"),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3}, "3", "2"),
        ({"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53 + 9}, str(2**53), str(2**53 + 2)),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, str(2**63), "-5"),
        ({"type": "string", "format": "date"}, '"2023-02-29"', '"2024-02-29"'),
        ({"type": "string", "format": "date"}, '"1900-02-29"', '"2000-02-28"'),
        ({"type": "string", "format": "date-time"}, '"2023-02-29T01:02:03Z"', '"2023-12-29T01:02:03.5+01:00"'),
        ({"type": "string", "format": "time"}, '"01:02:60Z"', '"01:02:59Z"'),
        ({"type": "string", "format": "date-time", "allOf": [{"minLength": 3}]}, '"2020-01-02T01:02:60Z"', '"2020-01-02T01:02:59Z"'),
        ({"type": "string", "format": "hostname"}, f'"{"a" * 64}.b"', f'"{"a" * 63}.b"'),
        ({"type": "string", "format": "hostname"}, f'"{"abc." * 63}de"', f'"{"abc." * 63}d"'),
        ({"properties": {"exclusiveMinimum": {"const": {"minimum": 0}}}, "type": "object"}, '{"exclusiveMinimum": 0}', "{}"),
    ],
)  # fmt: skip
def test_what_llguidance_takes_wider_than_it_is_said(model: LanguageModel, schema: Any, wrong: str, right: str) -> None:
    constraint = parse_constraint({"json_schema": schema}, [])
    assert constraint is not None
    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)(schema)
    for text, fits in ((wrong, False), (right, True)):
        held = model.guides.guide(constraint)
        letters = [
            model.tokenizer.token_to_id(letter) or model.tokenizer.token_to_id(f"<0x{ord(letter):02X}>") for letter in text
        ]
        taken = held._matcher.validate_tokens(letters)
        held._matcher.consume_tokens(letters[:taken])
        assert (taken == len(text) and held.may_end) is fits, (text, taken)
        assert "format" in schema or validator.is_valid(json.loads(text)) is fits


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, -(2**63), 10**400, 123456789.12345679, 1e-30, 18446744073709551615])
def test_numbers_that_would_become_others_are_refused(number: float) -> None:
    for schema in ({"const": number}, {"type": "object", "properties": {"a": {"enum": [1, {"b": [number]}]}}}):
        faults: list[str] = []
        assert parse_constraint({"json_schema": schema}, faults) is None
        assert len(faults) == 1 and "has more digits than can be kept" in faults[0]


def test_numbers_that_stay_what_they_are() -> None:
    schema = {"enum": [2**53, 10**20, 1e22, 0.1, -1.5e-7, 3, True, "9007199254740993"], "default": 2**53 + 1}
    assert exact(schema) == schema
    for bound in ({"minimum": 10**400}, {"exclusiveMaximum": -(2**64)}, {"minimum": 1e300}):
        with pytest.raises(BadInput, match="beyond 64 bits"):
            exact({"anyOf": [{"items": bound}]})
    assert exact({"maximum": 10**400, "uniqueItems": False}) == {"maximum": 2**63 - 1024}


def test_a_schema_that_is_nested_too_deeply_is_one_fault() -> None:
    schema: Any = {"type": "integer"}
    for _ in range(400):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    faults: list[str] = []
    assert parse_constraint({"json_schema": schema}, faults) is None
    assert faults == ["json_schema: lists and objects are nested deeper than 120"]


def _recursive(**more: Any) -> dict[str, Any]:
    return {"$defs": {"n": {"type": "object", "properties": {"c": {"$ref": "#/$defs/n"}}, **more}}, "$ref": "#/$defs/n"}


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        (_recursive(required=["c"]), "#/$defs/n"),
        (_recursive(), None),
        (_recursive(required=["c"], type=["object", "null"]), None),
        (_recursive(required=["c"], properties={"c": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}), None),
        (_recursive(required=["c"], properties={"c": {"oneOf": [{"$ref": "#/$defs/n"}, {"$ref": "#"}]}}), "#/$defs/n"),
        (_recursive(required=["d"], properties={}, additionalProperties={"$ref": "#"}), "#/$defs/n"),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "#"),
        ({"type": "array", "items": {"$ref": "#"}}, None),
        ({"type": "array", "prefixItems": [{"type": "null"}, {"$ref": "#"}], "minItems": 1}, None),
        ({"type": "array", "prefixItems": [{"type": "null"}, {"$ref": "#"}], "minItems": 2}, "#"),
        ({"allOf": [{"type": "object"}, {"$ref": "#"}]}, "#"),
        ({"properties": {"a": {"$ref": "#/properties/b"}, "b": {"const": 1}}, "required": ["a"], "type": "object"}, None),
        ({"$defs": {"a/b %": {"$ref": "#/$defs/a~1b%20%25"}}, "$ref": "#/$defs/a~1b%20%25"}, "#/$defs/a~1b%20%25"),
        (NODE, None),
        (True, None),
    ],
)
def test_schemas_of_which_no_document_ends(schema: Any, pointer: str | None) -> None:
    assert endless(schema) == pointer


def test_what_ends_is_told_in_bounded_time() -> None:
    names = [f"n{number}" for number in range(5000)]
    chain = {name: {"$ref": f"#/$defs/{after}"} for name, after in zip(names, [*names[1:], "last"], strict=True)}
    assert endless({"$defs": {"last": {"type": "null"}, **chain}, "$ref": "#/$defs/n0"}) is None
    for order in (1, -1):  # whichever way they stand, as many steps as there are references
        turned = dict([*chain.items()][::order])
        start = time.process_time()
        assert endless({"$defs": {**turned, "last": {"$ref": "#/$defs/last"}}, "$ref": "#/$defs/n0"}) is not None
        assert endless({"$defs": {"last": {"type": "null"}, **turned}, "allOf": [{"$ref": "#/$defs/n0"}, {"$ref": "#"}]}) == "#"
        assert time.process_time() - start < 2.0
