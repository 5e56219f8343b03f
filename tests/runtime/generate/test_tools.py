"""Tools in every family's form: calls name a tool and fit its schema, are read as they come, and go back into the history by the template."""

# ruff: noqa: E501 - texts as models write them

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tokenizers import AddedToken, Tokenizer

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.calls import CallReader, Event, joined
from edgekit.runtime.generate.chat import Conversation, Template, checked_messages
from edgekit.runtime.generate.exact import closed
from edgekit.runtime.generate.model import LanguageModel, language_model
from edgekit.runtime.generate.sample import Sampling, parse_sampling
from edgekit.runtime.generate.tools import Tools, constraint_of, format_of, parse_tools
from edgekit.runtime.providers.session import open_session
from tests.runtime.generate.tiny_decoder import TINY, make_decoder, write_decoder
from tests.runtime.generate.tiny_tokenizers import KINDS
from tests.runtime.generate.tool_templates import MARKS, QWEN, TEMPLATES

WEATHER = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
LIGHT = {
    "type": "object",
    "properties": {"on": {"type": "boolean"}, "rooms": {"type": "array", "items": {"enum": ["a", "b"]}}},
    "required": ["on", "rooms"],
    "additionalProperties": False,
}
GIVEN: list[Any] = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "The weather of a city.", "parameters": WEATHER, "strict": True},
    },
    {"type": "function", "function": {"name": "light", "parameters": LIGHT}},
    {"type": "function", "function": {"name": "clock"}},
]
SCHEMAS: dict[str, Any] = {"weather": WEATHER, "light": LIGHT, "clock": {"type": "object", "maxProperties": 0}}
TALK: list[Any] = [{"role": "user", "content": "the weather?"}]
HISTORY: list[Any] = [
    *TALK,
    {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}]},
    {"role": "tool", "tool_call_id": "abcdefghi", "content": "rain"},
]  # fmt: skip


def tools(choice: Any = "auto", parallel: bool = True) -> Tools:
    faults: list[str] = []
    found = parse_tools(GIVEN, choice, parallel, faults)
    assert found is not None and not faults
    return found


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LanguageModel]:
    """The tiny model of a family, whose tokenizer has its marks; made once."""
    made: dict[str, LanguageModel] = {}

    def model(family: str) -> LanguageModel:
        if family not in made:
            tokenizer = KINDS["byte_fallback"]()
            tokenizer.add_special_tokens([AddedToken(mark, normalized=False) for mark in MARKS[family]])
            decoder = make_decoder(vocabulary=tokenizer.get_vocab_size())
            decoder.weights["head"][:, 5:261] *= 0.4
            folder = write_decoder(decoder, tmp_path_factory.mktemp("family"))
            tokenizer.save(str(folder / "tokenizer.json"))
            (folder / "chat_template.jinja").write_text(TEMPLATES[family])
            session = open_session(folder / "model.onnx")
            long = replace(TINY, special_tokens={"bos_token": "<s>", "eos_token": "</s>"})
            made[family] = language_model(session, long, folder / "tokenizer.json", folder / "chat_template.jinja")
        return made[family]

    return model


def answered(model: LanguageModel, asked: Tools, **sampling: Any) -> tuple[str, list[tuple[str, str]], str, int]:
    constraint, reader = model.calls(asked)
    events: list[Event] = []
    ended = ""
    for piece in model.stream("the", Sampling(constraint=constraint, **sampling)):
        events += reader.push(piece.text)
        ended = piece.ended or ended
    text, calls = joined([*events, *reader.finish()])
    return text, calls, ended, reader.complete


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_call_that_is_required_names_a_tool_and_fits_its_schema(make: Callable[[str], LanguageModel], family: str) -> None:
    model, names = make(family), set()
    for seed in range(12):
        text, calls, ended, complete = answered(
            model, tools("required", seed % 2 == 0), temperature=1.0, seed=seed, max_new_tokens=120
        )
        assert text == "" and calls
        names |= {name for name, _ in calls}
        for name, arguments in calls[:complete]:
            jsonschema.validate(json.loads(arguments), SCHEMAS[name])
        if ended == "stop":
            assert complete == len(calls)
        if seed % 2 or family == "llama":
            assert len(calls) == 1
    assert len(names) > 1


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_named_tool_is_called(make: Callable[[str], LanguageModel], family: str) -> None:
    asked = tools({"type": "function", "function": {"name": "clock"}}, False)
    text, calls, ended, complete = answered(make(family), asked, max_new_tokens=60)
    assert (text, calls, ended, complete) == ("", [("clock", "{}")], "stop", 1)


@pytest.mark.parametrize("family", TEMPLATES)
def test_with_auto_text_or_calls_come(make: Callable[[str], LanguageModel], family: str) -> None:
    model = make(family)
    mark = [model.tokenizer.token_to_id(MARKS[family][0])] if MARKS[family] else []
    plain, none, _, _ = answered(model, tools(), max_new_tokens=8, logit_bias=tuple((number, -100.0) for number in mark))
    assert none == [] and (plain or family == "llama")
    if mark:
        text, calls, _, complete = answered(
            model, tools(), max_new_tokens=120, temperature=0.7, seed=3, logit_bias=((mark[0], 30.0),)
        )
        assert text == "" and calls
        for name, arguments in calls[:complete]:
            jsonschema.validate(json.loads(arguments), SCHEMAS[name])


def test_a_call_that_is_cut_is_begun_and_not_complete(make: Callable[[str], LanguageModel]) -> None:
    asked = tools({"type": "function", "function": {"name": "light"}})
    _, ((name, arguments),), ended, complete = answered(make("qwen"), asked, max_new_tokens=40)
    assert name == "light" and ended == "length" and complete == 0 and arguments.startswith("{")
    with pytest.raises(json.JSONDecodeError):
        json.loads(arguments)


HERMES_MARKS = """{{ '<tool_call>{"arguments": ' }}"""


def test_a_stop_text_within_a_call_is_no_end_of_it(make: Callable[[str], LanguageModel]) -> None:
    item: dict[str, Any] = {
        "messages": TALK,
        "tools": GIVEN,
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    }
    model = replace(make("mistral"), template=Template("[TOOL_CALLS][{{ tools | default([], true) | length }}", {}))
    answer = model.answer(item, Sampling(max_new_tokens=90, stop=('"city',)))
    assert (answer.ended, [(call.name, call.arguments) for call in answer.calls]) == ("length", [("weather", "{")])
    item |= {"tool_choice": {"type": "function", "function": {"name": "clock"}}, "parallel_tool_calls": False}
    assert model.answer(item, Sampling(max_new_tokens=90, stop=("clo",))).ended == "length"
    assert model.answer(item, Sampling(max_new_tokens=90, stop=("}]",))).ended == "stop"


WRITTEN = {
    "qwen": 'Well.<tool_call>\n{"name": "weather", "arguments": {"city": "Os}\\"lo", "n": [{}]}}\n</tool_call>\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>',
    "mistral": 'Well.[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Os}\\"lo", "n": [{}]}}, {"name": "clock", "arguments": {}}]',
    "mistral new": 'Well.[TOOL_CALLS]weather[ARGS]{"city": "Os}\\"lo", "n": [{}]}[TOOL_CALLS]clock[ARGS]{}',
    "mistral ids": 'Well.[TOOL_CALLS]weather[CALL_ID]abcdefgh1[ARGS]{"city": "Os}\\"lo", "n": [{}]}[TOOL_CALLS]clock[CALL_ID]abcdefgh2[ARGS]{}',
    "function gemma": 'Well.<start_function_call>call:weather{city:<escape>Os}"lo<escape>,n:[{}]}<end_function_call><start_function_call>call:clock{}<end_function_call>',
    "gemma": 'Well.<|tool_call>call:weather{city:<|"|>Os}"lo<|"|>,n:[{}]}<tool_call|><|tool_call>call:clock{}<tool_call|>',
    "phi": 'Well.<|tool_call|>[{"name": "weather", "arguments": {"city": "Os}\\"lo", "n": [{}]}}, {"name": "clock", "arguments": {}}]<|/tool_call|>',
    "phi calls": 'Well.<|tool_call|>{"name": "weather", "arguments": {"city": "Os}\\"lo", "n": [{}]}}<|/tool_call|><|tool_call|>{"name": "clock", "arguments": {}}<|/tool_call|>',
}  # fmt: skip


@pytest.mark.parametrize("family", WRITTEN)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_calls_are_read_however_they_come(family: str, size: int) -> None:
    reader = CallReader(format_of(TEMPLATES[family]), SCHEMAS, auto=True)
    whole = WRITTEN[family]
    events = [event for start in range(0, len(whole), size) for event in reader.push(whole[start : start + size])]
    text, calls = joined([*events, *reader.finish()])
    assert text == "Well." and reader.complete == 2
    assert [(name, json.loads(arguments)) for name, arguments in calls] == [
        ("weather", {"city": 'Os}"lo', "n": [{}]}),
        ("clock", {}),
    ]


@pytest.mark.parametrize("family", ["function gemma", "gemma", "mistral new"])
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_name_that_begins_with_anothers(family: str, size: int) -> None:
    """What ends it in Gemma's form is the brace of the arguments."""
    whole = WRITTEN[family].replace("clock", "weather_map")
    reader = CallReader(format_of(TEMPLATES[family]), ["weather", "weather_map"], auto=True)
    events = [event for start in range(0, len(whole), size) for event in reader.push(whole[start : start + size])]
    _, calls = joined([*events, *reader.finish()])
    assert [name for name, _ in calls] == ["weather", "weather_map"] and calls[1][1] == "{}"


@pytest.mark.parametrize("family", MARKS)
def test_a_text_does_not_spell_what_calls_begin_with(make: Callable[[str], LanguageModel], family: str) -> None:
    """It would be read as a call, with arguments that nothing was held to, or be swallowed."""
    if not MARKS[family]:
        return
    model, mark = make(family), MARKS[family][0]
    matcher = model.guides.compile(model.calls(tools())[0])
    numbers = model.tokenizer.token_to_id
    spelled = [numbers(letter) or numbers(f"<0x{ord(letter):02X}>") for letter in f"a{mark}"]
    assert matcher.validate_tokens(spelled) == len(spelled) - 1
    assert matcher.validate_tokens([spelled[0], numbers(mark)]) == 2


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_llamas_call_is_the_whole_answer(size: int) -> None:
    for whole, wanted in (
        ('{"name": "clock", "parameters": {"a": 1}}', ("", [("clock", '{"a": 1}')])),
        ('{"other": 1}', ('{"other": 1}', [])),
        ('See {"name": "clock"', ('See {"name": "clock"', [])),
        ('{"na', ('{"na', [])),
    ):
        reader = CallReader(format_of(TEMPLATES["llama"]), SCHEMAS, auto=True)
        events = [event for start in range(0, len(whole), size) for event in reader.push(whole[start : start + size])]
        assert joined([*events, *reader.finish()]) == wanted


@pytest.mark.parametrize("family", TEMPLATES)
def test_the_template_tells_tools_and_history(family: str) -> None:
    template = Template(TEMPLATES[family], {"bos_token": "<s>", "eos_token": "</s>"})
    prompt = template.render(TALK, tools=tools())
    assert "weather" in prompt and "clock" in prompt
    assert "clock" not in template.render(TALK)
    told = template.render(HISTORY, tools=tools())
    reader = CallReader(format_of(TEMPLATES[family]), SCHEMAS, auto=True)
    form = reader.form
    begin = told.index((form.open + form.head("weather")).split("{id}")[0], told.index("weather?") if family != "phi" else 0)
    _, calls = joined(reader.push(told[begin:]))
    assert calls[0][0] == "weather" and json.loads(calls[0][1]) == {"city": "Oslo"}
    assert "rain" in told[begin:]


def test_templates_of_a_form_that_is_not_known_are_refused_by_name(shared: Path) -> None:
    for source, says in (
        ("{{ tools }}<function=a>", "the XML form of Qwen3-Coder"),
        ('{{ tools }}<tool_call><function=a>{"arguments": }', "the XML form of Qwen3-Coder"),
        ("{{ tools }}<｜tool▁calls▁begin｜>", "DeepSeek's form"),
        ("{{ tools }}", "a form that is not known here"),
        ("{{ messages }}", "reads no tools"),
    ):
        with pytest.raises(BadInput, match=says):
            format_of(source)


def test_markers_that_speak_of_another_form_than_the_template_writes() -> None:
    """Of a published template that tells of <tool_call> in its instructions, and writes <tool_calls>[...] into the history."""
    listed = QWEN.replace('\\n<tool_call>\\n{"name": "\' +', '<tool_calls>[{"name": "\' +')
    assert listed != QWEN and format_of(listed).family == "Qwen and Hermes"
    with pytest.raises(BadInput, match="a form that is not known here"):
        Template(listed, {}).form()
    close = QWEN.replace('{{- \'\\n<tool_call>\\n{"name": "\' +', '{{- \'<tool_call>\\n{"name": "\' +')
    assert close != QWEN and Template(close, {}).form().single, "several calls are not written as they are known"
    assert not Template(QWEN, {}).form().single
    assert Template("{{ tools }}" + HERMES_MARKS + "{{ raise_exception('no') }}", {}).form() == format_of(QWEN)


def test_the_templates_that_are_there(shared: Path) -> None:
    folder = shared / "data" / "chat-templates"
    found = {}
    for file in sorted(folder.glob("*.jinja")):
        try:
            found[file.stem] = format_of(file.read_text()).family
        except BadInput as fault:
            assert "tools" in str(fault.where)
    assert found == {"qwen2.5-instruct": "Qwen and Hermes"}


def test_the_real_template_of_qwen(shared: Path) -> None:
    template = Template((shared / "data" / "chat-templates" / "qwen2.5-instruct.jinja").read_text(), {})
    told = template.render(HISTORY, tools=tools())
    assert '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>' in told
    assert "<tool_response>\nrain\n</tool_response>" in told and '"description": "The weather of a city."' in told


@pytest.mark.parametrize(
    ("given", "choice", "parallel", "says"),
    [
        ({}, None, None, "tools: not a list of at most 128"),
        ([{"type": "function"}], None, None, 'tools[0]: not {"type": "function"'),
        ([{"type": "web_search"}], None, None, "tools[0]: not"),
        ([{"type": "function", "function": {"name": "a b"}}], None, None, "'a b' is no name"),
        ([{"type": "function", "function": {"name": ["a"]}}], None, None, "is no name"),
        ([{"type": "function", "function": {"name": {}}}], None, None, "is no name"),
        ([GIVEN[2], GIVEN[2]], None, None, "'clock' names two tools"),
        ([{"type": "function", "function": {"name": "a", "parameters": []}}], None, None, "not the schema of an object"),
        ([{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}], None, None, "not the schema of an object"),
        ([{"type": "function", "function": {"name": "a", "more": 1}}], None, None, "'more' is unknown"),
        ([{"type": "function", "function": {"name": "a", "description": 3}}], None, None, "description: not a text"),
        (GIVEN, "any", None, "'any' is not supported"),
        (GIVEN, {"type": "function", "function": {"name": "none"}}, None, "names no tool of the request"),
        (None, "required", None, "the request has no tools"),
        (GIVEN, None, "yes", "parallel_tool_calls: 'yes' is not true or false"),
    ],
)  # fmt: skip
def test_tools_that_cannot_be_used(given: Any, choice: Any, parallel: Any, says: str) -> None:
    faults: list[str] = []
    assert parse_tools(given, choice, parallel, faults) is None
    assert any(says in fault for fault in faults), faults


def test_tools_as_long_as_a_schema_may_be_and_no_longer() -> None:
    def given(count: int) -> list[Any]:
        chain = {str(number): {"$ref": f"#/$defs/{number + 1}"} for number in range(count)}
        schema = {
            "type": "object",
            "$defs": {**chain, str(count): {"type": "null"}},
            "properties": {"a": {"$ref": "#/$defs/0"}},
        }
        return [{"type": "function", "function": {"name": f"t{number}", "parameters": schema}} for number in range(128)]

    start = time.process_time()
    assert parse_tools(given(60), None, None, []) is not None
    faults: list[str] = []
    assert parse_tools(given(200), None, None, faults) is None
    assert faults == ["tools: their parameters have more than 262,144 characters"]
    assert time.process_time() - start < 2.0


def test_a_tool_that_cannot_be_used_is_one_fault() -> None:
    """Not also that there is none to choose."""
    node = {"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]}
    for tool in ({"name": "a b"}, {"name": "f", "parameters": node}):
        for choice in ("required", {"type": "function", "function": {"name": "f"}}):
            faults: list[str] = []
            assert parse_tools([{"type": "function", "function": tool}], choice, None, faults) is None
            assert len(faults) == 1 and faults[0].startswith("tools[0].function"), faults


def test_calls_in_messages_are_told_as_messages() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    with pytest.raises(BadInput, match="reads no tools") as refused:
        Template("{{ messages }}", {}).render([{"role": "assistant", "content": "", "tool_calls": [call]}])
    assert refused.value.where == "messages" and "what tools answered" in refused.value.fix


def test_no_tools() -> None:
    faults: list[str] = []
    assert (
        parse_tools(GIVEN, "none", None, faults)
        is parse_tools([], None, None, faults)
        is parse_tools(None, None, None, faults)
        is None
    )
    assert faults == []


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([*TALK, {"role": "tool", "content": "a", "tool_call_id": "x"}], "tool_call_id 'x' is of no call before it"),
        ([*TALK, {"role": "assistant", "content": "", "tool_calls": [{}]}], "tool_calls[0] has no id and function"),
        ([*TALK, {"role": "assistant", "content": "", "tool_calls": "a"}], "tool_calls[0] has no id and function"),
        ([*TALK, {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "function": {"name": "b", "arguments": "{"}}]}], "not sound JSON"),
        ([*TALK, {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "function": {"name": "b", "arguments": "[]"}}]}], "are not an object"),
        ([{"role": "user", "content": "a", "tool_calls": []}], "message 0: not an object of role and content"),
    ],
)  # fmt: skip
def test_histories_that_cannot_be_used(messages: Any, says: str) -> None:
    with pytest.raises(BadInput) as told:
        checked_messages(messages)
    assert says in told.value.text()


def test_control_tokens_in_tools_and_calls_are_refused(make: Callable[[str], LanguageModel]) -> None:
    model = make("qwen")
    faults: list[str] = []
    bad = parse_tools([{"type": "function", "function": {"name": "a", "description": "x </s> y"}}], None, None, faults)
    with pytest.raises(BadInput, match="tools holds the control token '</s>'"):
        model.encode(Conversation(TALK, bad))
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"city": "</s>"}}}
    with pytest.raises(BadInput, match="message 1 holds the control token"):
        model.encode([*TALK, {"role": "assistant", "content": "", "tool_calls": [call]}])


def test_roles_and_names_hold_no_control_token_either(make: Callable[[str], LanguageModel]) -> None:
    for message in ({**TALK[0], "role": "user</s>"}, {**TALK[0], "name": "</s>"}):
        with pytest.raises(BadInput, match="message 0 holds the control token '</s>'"):
            make("qwen").encode([message])


def test_many_control_tokens_are_looked_for_in_many_messages(make: Callable[[str], LanguageModel]) -> None:
    """One search over all texts for each: 10,000 messages are not searched for 3,000 names one by one, which took minutes."""
    model = make("qwen")
    tokenizer = Tokenizer.from_str(model.tokenizer.to_str())
    tokenizer.add_special_tokens([f"<unused{number}>" for number in range(3000)])
    many = replace(model, tokenizer=tokenizer, template=Template("{{ messages | length }}", {}))
    messages = [{"role": "user", "content": "a < b"} for _ in range(10_000)]
    start = time.process_time()
    assert len(many.encode(messages))
    assert time.process_time() - start < 5.0
    messages[9_000] = {"role": "user", "content": "<unused2999>"}
    with pytest.raises(BadInput, match="message 9000 holds the control token '<unused2999>'"):
        many.encode(messages)


def test_arguments_that_would_be_held_to_other_numbers_are_refused(make: Callable[[str], LanguageModel]) -> None:
    faults: list[str] = []
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}}
    assert parse_tools([{"type": "function", "function": {"name": "a", "parameters": deep}}], None, None, faults) is None
    assert faults == ["tools[0].function.parameters: lists and objects are nested deeper than 120"]
    given = {"type": "object", "properties": {"id": {"enum": [9007199254740993]}}}
    asked = parse_tools([{"type": "function", "function": {"name": "a", "parameters": given}}], None, None, [])
    assert asked is not None
    with pytest.raises(BadInput, match="tool 'a': the number 9007199254740993 has more digits"):
        make("qwen").calls(asked)


def test_what_gemmas_form_cannot_keep_is_refused(make: Callable[[str], LanguageModel]) -> None:
    for schema in (
        {"a": {"type": "string", "pattern": "x"}},
        {"a": {"anyOf": []}},
        {"a b": {"type": "string"}},
        {"a": {"enum": [[]]}},
    ):
        faults: list[str] = []
        asked = parse_tools(
            [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": schema}}}],
            None,
            None,
            faults,
        )
        assert asked is not None
        with pytest.raises(BadInput, match="tool 'f': the form of Gemma's calls cannot be held to"):
            make("gemma").calls(asked)


def test_without_the_marks_token_a_call_must_be_required(model: LanguageModel) -> None:
    with pytest.raises(BadInput, match="the tokenizer has no token of its own for '<tool_call>', by which"):
        constraint_of(tools(), format_of(TEMPLATES["qwen"]), model.tokenizer)
    held = constraint_of(tools("required"), format_of(TEMPLATES["qwen"]), model.tokenizer)
    answer = model.generate("the", Sampling(constraint=held, max_new_tokens=100))
    assert answer.text.startswith('<tool_call>\n{"name": "')


def test_arguments_are_those_that_a_schema_names() -> None:
    """Where it does not say otherwise, and not where an object is held to several schemas, of which each names its own."""
    inner = {"type": "object", "properties": {"b": {"type": "array", "items": {"properties": {"c": True}}}}}
    shut = {"additionalProperties": False}
    made = closed(
        {"type": "object", "properties": {"a": inner, "properties": {"const": {"properties": {}}}}, "$defs": {"d": inner}}
    )
    shut_inner = {**inner, "properties": {"b": {"type": "array", "items": {"properties": {"c": True}, **shut}}}, **shut}
    assert made == {
        "type": "object", "properties": {"a": shut_inner, "properties": {"const": {"properties": {}}}}, "$defs": {"d": shut_inner}, **shut
    }  # fmt: skip
    either = {"anyOf": [{"properties": {"a": True}}, {"type": "null"}]}
    assert closed(either) == {"anyOf": [{"properties": {"a": True}, **shut}, {"type": "null"}]}
    for kept in (
        {"type": "object"},
        {"properties": {"a": True}, "additionalProperties": {"type": "string"}},
        {"properties": {"a": True}, "patternProperties": {"^x": True}},
        {"properties": {"a": True}, "anyOf": [{"required": ["a"]}]},
        {"properties": {"a": {"allOf": [{"properties": {"b": True}}, {"properties": {"c": True}}]}}},
        {"$ref": "#/$defs/d", "$defs": {"d": {"properties": {"e": True}}}, "properties": {"a": True}},
        {"items": [{"if": {"properties": {"a": True}}, "then": True}], "properties": {"a": True}},
    ):
        assert closed(kept) == kept


def test_tools_in_python_and_on_the_command_line(make: Callable[[str], LanguageModel]) -> None:
    """As one JSON object, in which they stand as in a request."""
    model = make("mistral")
    item = {
        "messages": [{"role": "user", "content": "a"}],
        "tools": [GIVEN[2]],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    model = replace(model, template=Template("[TOOL_CALLS][{{ tools | default([], true) | length }}", {}))
    answer = model.answer(item, Sampling(max_new_tokens=60))
    assert answer.document() | {"prompt_tokens": 0, "new_tokens": 0} == {
        "text": "", "ended": "stop", "complete": True, "prompt_tokens": 0, "new_tokens": 0,
        "tool_calls": [{"name": "clock", "arguments": "{}"}],
    }  # fmt: skip
    cut = model.answer(item, Sampling(max_new_tokens=6))
    assert (cut.ended, cut.complete) == ("length", False)
    assert "tool_calls" not in model.answer({**item, "tool_choice": "none"}, Sampling(max_new_tokens=3)).document()
    with pytest.raises(BadInput, match="has no other form"):
        model.answer(item, parse_sampling({"regex": "a"}))
    with pytest.raises(BadInput, match="tools that cannot be used"):
        model.answer({**item, "tools": [{}]})
    with pytest.raises(BadInput, match="a conversation with documents"):
        model.answer({**item, "documents": []})
