"""Tools in conversations: what a request may say of them, and the form in which the families of models write their calls.

A family is known by the markers of its chat template. Its answers are held to a grammar of text and calls (`constraint.py`), so that a
call's name is that of a tool and its arguments fit the tool's schema; `calls.py` reads the calls out of the answer as it comes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.constraint import LONGEST, Constraint
from edgekit.runtime.generate.endless import ENDLESS, endless
from edgekit.runtime.generate.exact import check_depth, closed, exact
from edgekit.runtime.generate.gemma_arguments import argument_rules
from edgekit.runtime.generate.trial import JSON_FORM, STRICT
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.strict_json import strict_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "LLAMA",
    "MOST_TOOLS",
    "Format",
    "Tools",
    "constraint_of",
    "format_of",
    "other_form",
    "parse_tools",
    "read_calls",
    "texts_in",
    "with_tools_in_system",
]

MOST_TOOLS = 128
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
SYSTEM = "You are a helpful assistant with some tools."
"""What Phi-4-mini was trained with where a conversation has tools and no system message."""


@dataclass(frozen=True)
class Tools:
    """The tools of a request, and whether the answer calls them."""

    documents: tuple[JsonObject, ...]
    """{"type": "function", "function": {"name", "description", "parameters"}} each, as templates read them."""
    choice: str
    """"auto", "required", or "function:" and the name of the one that must be called."""
    parallel: bool
    """Whether an answer may hold several calls."""

    @property
    def callable(self) -> dict[str, JsonObject]:
        """Name -> schema of the arguments, of those that may be called."""
        functions: list[JsonObject] = [dict(document["function"]) for document in self.documents]  # type: ignore[arg-type]
        found = {str(one["name"]): _schema(one.get("parameters")) for one in functions}
        wanted = self.choice.removeprefix("function:")
        return {wanted: found[wanted]} if wanted in found and self.choice != wanted else found


@dataclass(frozen=True)
class Format:
    """How a family writes calls: `open`, the calls with `between` between them, `close`; a call is `before`, its arguments, `after`."""

    family: str
    before: str
    """{name} stands for the tool's name, {id} for nine letters or digits."""
    after: str = ""
    open: str = ""
    between: str = ""
    close: str = ""
    single: bool = False
    """Whether the template writes one call a message only."""
    quote: str | None = None
    """What stands at both ends of a text in the arguments of Gemma's models, which are no JSON; None: they are JSON."""
    in_system: bool = False
    """Whether the template reads tools from the system message, and calls as text."""

    def head(self, name: str) -> str:
        return self.before.replace("{name}", name)

    def begins(self, name: str) -> re.Pattern[str]:
        """The first call, of a tool, up to its arguments."""
        return _beginning(self.open + self.head(name))

    def goes_on(self, name: str) -> re.Pattern[str]:
        """A further call likewise, from what parts it from the one before."""
        return _beginning(self.between + self.head(name))

    def follows(self, name: str) -> re.Pattern[str]:
        """A further call likewise, from the arguments of the one before on."""
        return _beginning(self.after + self.between + self.head(name))

    def written(self, calls: Sequence[JsonObject]) -> str:
        """`calls`, of the history, as text."""
        texts = [self.head(str(one["name"])) + json.dumps(one["arguments"], ensure_ascii=False) + self.after for one in calls]
        return self.open + self.between.join(texts) + self.close


def _beginning(text: str) -> re.Pattern[str]:
    """`text` with the brace that arguments begin with: a name may begin with another's, and in some forms nothing else ends it."""
    return re.compile(re.escape(text).replace(r"\{id\}", "[a-zA-Z0-9]{9}") + r"(?=\{)")


HERMES = Format("Qwen and Hermes", '<tool_call>\n{"name": "{name}", "arguments": ', "}\n</tool_call>", between="\n")
LLAMA = Format("Llama 3", '{"name": "{name}", "parameters": ', "}", single=True)
CALL = '{"name": "{name}", "arguments": '
UNKNOWN = {
    "<function=": "the XML form of Qwen3-Coder", "<｜tool": "DeepSeek's form", "<|tool_calls_section_begin|>": "Kimi's form",
    "<|START_ACTION|>": "Command R's form", "<|channel|>": "the channels of gpt-oss", "<arg_key>": "GLM's form",
    "<|tool_call_start|>": "LFM's form",
}  # fmt: skip
"""Markers of forms that are not read here, for messages."""
LEAVE_OUT = {"tools": "leave them out", "messages": "leave out calls of tools, and what tools answered"}


def format_of(source: str, where: Literal["tools", "messages"] = "tools") -> Format:
    """The form of the family that the chat template `source` belongs to. `where`: whether tools are to be read by it or the calls of messages.

    Raises:
        BadInput: the template reads no tools, or writes calls in another form.
    """
    text, leave_out = source.replace('\\"', '"'), LEAVE_OUT[where]
    if "tools" not in text:
        raise BadInput("this model's chat template reads no tools", where=where, fix=leave_out)
    if "<start_function_call>" in text:
        return Format("FunctionGemma", "<start_function_call>call:{name}", "<end_function_call>", quote="<escape>")
    if "<|tool_call>" in text and "<tool_call|>" in text:
        return Format("Gemma", "<|tool_call>call:{name}", "<tool_call|>", quote='<|"|>')
    if "[TOOL_CALLS]" in text:
        if "[ARGS]" in text:
            return Format("Mistral", "[TOOL_CALLS]{name}" + ("[CALL_ID]{id}" if "[CALL_ID]" in text else "") + "[ARGS]")
        return Format("Mistral", CALL, "}", "[TOOL_CALLS] [" if "[TOOL_CALLS] [" in text else "[TOOL_CALLS][", ", ", "]")
    if "<|tool_call|>" in text and "<|tool|>" in text:
        if "<|tool_call|>[" in text:
            return Format("Phi", CALL, "}", "<|tool_call|>[", ", ", "]<|/tool_call|>")
        return Format("Phi", "<|tool_call|>" + CALL, "}<|/tool_call|>")
    if "<|tool|>" in text and re.search(r"message(\['tools'\]|\.tools)", text):
        return Format("Phi", CALL, "}", "<|tool_call|>[", ", ", "]<|/tool_call|>", in_system=True)
    if "<|start_header_id|>" in text and '"parameters": ' in text:
        return LLAMA
    unknown = any(marker in text for marker in UNKNOWN)
    if "<tool_call>" in text and '"arguments": ' in text and not unknown:
        return HERMES
    raise other_form(text, where)


def other_form(source: str, where: Literal["tools", "messages"] = "tools") -> BadInput:
    """The refusal of a template that writes calls in a form that is not known here."""
    unknown = [name for marker, name in UNKNOWN.items() if marker in source]
    return BadInput(
        f"this model's chat template writes calls of tools in {unknown[0] if unknown else 'a form that is not known here'}", where=where,
        fix=f"{LEAVE_OUT[where]}; known are the forms of Llama 3, Qwen and Hermes, Mistral, Gemma and Phi",
    )  # fmt: skip


def parse_tools(tools: object, choice: object, parallel: object, faults: list[str]) -> Tools | None:
    """The tools of a request: None where it has none or `choice` says "none", or where they cannot be used: each fault is added to `faults`."""
    before = len(faults)
    documents = _documents(tools, faults)
    sound = len(faults) == before
    if parallel is not None and not isinstance(parallel, bool):
        faults.append(f"parallel_tool_calls: {str(parallel)[:40]!r} is not true or false")
    names = {str(one["function"]["name"]) for one in documents}  # type: ignore[call-overload, index]
    asked = "auto" if choice is None else choice
    if isinstance(asked, dict):
        function = asked.get("function")
        name = function.get("name") if isinstance(function, dict) and asked.get("type") == "function" else None
        if not isinstance(name, str) or (name not in names and sound):
            faults.append(f"tool_choice: names no tool of the request ({', '.join(sorted(names))[:200] or 'it has none'})")
        asked = f"function:{name}"
    elif asked not in ("auto", "none", "required"):
        faults.append(f"tool_choice: {str(asked)[:40]!r} is not supported, only auto, none, required and a function")
    elif asked == "required" and not documents and sound:
        faults.append("tool_choice: a call is required, and the request has no tools")
    if len(faults) > before or not documents or asked == "none":
        return None
    return Tools(tuple(documents), str(asked), parallel is not False)


def constraint_of(tools: Tools, form: Format, tokenizer: Tokenizer) -> Constraint:
    """What an answer must be that may, or must, call `tools` in `form`. Arguments are those alone that a schema names, as OpenAI's strict mode has
    them, where it does not say what else there may be: small models go on naming others.

    Raises:
        BadInput: arguments that this form cannot be held to.
    """
    rules = _Rules(tokenizer)
    lines = []
    for number, (name, schema) in enumerate(tools.callable.items()):
        if form.quote is None:
            try:
                kept = exact(closed(schema))
            except BadInput as fault:
                raise BadInput(f"tool {name!r}: {fault.what}", where="tools") from None
            assert isinstance(kept, dict), "as the schema is"
            arguments = "%json " + json.dumps({**kept, "x-guidance": {**JSON_FORM, **STRICT}})
        else:
            arguments = f"arguments_{number}"
            lines += argument_rules(schema, arguments, rules.literal(form.quote), f"tool {name!r}")
        lines += [f"call_{number}: {rules.literal(form.head(name))} {arguments} {rules.literal(form.after)}"]
    lines.append("call: " + " | ".join(f"call_{number}" for number in range(len(tools.callable))))
    several = "" if form.single or not tools.parallel else f"({rules.literal(form.between)} call)*"
    lines.append(f"calls: {rules.literal(form.open)} call {several} {rules.literal(form.close)}")
    if tools.choice != "auto":
        lines.append("start: calls")
    elif form is LLAMA:
        lines += [r'OTHER: /\{|([^{]|\{[^"])(.|\n)*/', "start: calls | OTHER |"]
    else:
        lines += rules.after_text(form)
    return Constraint("grammar", "\n".join(lines), tokens=True)


def read_calls(given: object, where: str, faults: list[str]) -> list[JsonObject]:
    """The calls that a message of the history made, with their arguments as objects; each fault is added to `faults`."""
    found: list[JsonObject] = []
    for number, call in enumerate(given if isinstance(given, list) else [None]):
        function = call.get("function") if isinstance(call, dict) else None
        name, arguments = (function.get("name"), function.get("arguments")) if isinstance(function, dict) else (None, None)
        if not isinstance(call, dict) or not isinstance(call.get("id"), str) or not isinstance(name, str):
            faults.append(f"{where}: tool_calls[{number}] has no id and function with a name")
            continue
        if isinstance(arguments, str):
            try:
                arguments = strict_json(arguments.encode("utf-8", "surrogatepass") or b"{}", "arguments")
            except BadInput as fault:
                faults.append(f"{where}: tool_calls[{number}].function.arguments: {fault.what}")
                continue
        if not isinstance(arguments, dict):
            faults.append(f"{where}: tool_calls[{number}].function.arguments are not an object")
            continue
        found.append({"id": call["id"], "type": "function", "function": {"name": name, "arguments": arguments}})
    return found


def with_tools_in_system(messages: Sequence[JsonObject], tools: Tools | None, form: Format) -> list[JsonObject]:
    """`messages` for a template that reads tools from the system message and writes no calls: their text is the message's."""
    found: list[JsonObject] = []
    for message in messages:
        calls: list[JsonObject] = [dict(one["function"]) for one in message.get("tool_calls", [])]  # type: ignore[union-attr, index, arg-type, call-overload]
        plain = {key: value for key, value in message.items() if key != "tool_calls"}
        found.append({**plain, "content": str(message["content"]) + form.written(calls)} if calls else plain)
    if tools is None:
        return found
    listed = json.dumps([document["function"] for document in tools.documents], ensure_ascii=False)
    if found and found[0]["role"] == "system":
        return [{**found[0], "tools": listed}, *found[1:]]
    return [{"role": "system", "content": SYSTEM, "tools": listed}, *found]


def texts_in(value: object) -> Iterator[str]:
    """All texts in a JSON value, names of objects too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for one in value.values():
            yield from texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one)


class _Rules:
    """Lark's words for texts that hold a tokenizer's added tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        added = {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items()}
        self._ids = added
        self._plain = [number for number, token in tokenizer.get_added_tokens_decoder().items() if not token.special]
        names = sorted(map(re.escape, added), key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(names)})") if names else None

    def literal(self, text: str) -> str:
        """`text`, with each added token as the token it is; of {id} nine letters or digits."""
        parts = self._split.split(text) if self._split else [text]
        words = []
        for part in parts:
            if part in self._ids:
                words.append(f"<[{self._ids[part]}]>")
            elif part:
                first, *rest = part.split("{id}")
                words += [json.dumps(first, ensure_ascii=False)] if first else []
                for more in rest:
                    words += ["/[a-zA-Z0-9]{9}/", *([json.dumps(more, ensure_ascii=False)] if more else [])]
        return " ".join(words)

    def after_text(self, form: Format) -> list[str]:
        """Rules of an answer of text, of calls, or of text and then calls. No text spells by other tokens what calls begin with: whoever reads the
        answer would take it for a call, of any name and with any arguments."""
        mark = (form.open or form.head("\0")).split("\0")[0]
        begin = self._split.match(mark) if self._split else None
        if begin is not None:  # a token, which no text holds
            others = [number for number in self._plain if number != self._ids[begin[0]]]
            some = " | ".join(f"<[{number}]>" for number in others)
            lines = [f"TEXT: /(?s:.+)/ & ~(/(?s:.*)/ {json.dumps(begin[0], ensure_ascii=False)} /(?s:.*)/)"]
            lines.append(f"text: TEXT | (TEXT? ({some}))+ TEXT?" if others else "text: TEXT")
            return [*lines, "start: text calls | calls | text |"]
        raise BadInput(
            f"the tokenizer has no token of its own for {mark.split(chr(10))[0]!r}, by which calls begin in this model's chat template: text and "
            "calls cannot be told apart", where="tools", fix='send tool_choice "required" for a call, and "none" for text',
        )  # fmt: skip


def _documents(given: object, faults: list[str]) -> list[JsonObject]:
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > MOST_TOOLS:
        faults.append(f"tools: not a list of at most {MOST_TOOLS}")
        return []
    found: dict[str, JsonObject] = {}
    left = LONGEST
    for number, tool in enumerate(given):
        where = f"tools[{number}]"
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(tool, dict) or not isinstance(function, dict):
            faults.append(f'{where}: not {{"type": "function", "function": {{"name": ...}}}}')
            continue
        known = {key: value for key, value in function.items() if value is not None and key != "strict"}
        name, description, parameters = known.get("name"), known.get("description", ""), known.get("parameters", {})
        if unknown := sorted({*tool} - {"type", "function"}) + sorted({*known} - {"name", "description", "parameters"}):
            faults.append(f"{where}: {unknown[0][:40]!r} is unknown")
        elif not isinstance(name, str) or NAME.fullmatch(name) is None:
            faults.append(f"{where}.function.name: {str(name)[:70]!r} is no name: 1 to 64 letters, digits, _ and -")
        elif name in found:
            faults.append(f"{where}.function.name: {name!r} names two tools")
        elif not isinstance(description, str):
            faults.append(f"{where}.function.description: not a text")
        elif not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
            faults.append(f"{where}.function.parameters: not the schema of an object")
        elif (fault := _unusable(parameters)) is not None:
            faults.append(f"{where}.function.parameters: {fault}")
        elif (left := left - len(json.dumps(parameters))) < 0:
            faults.append(f"tools: their parameters have more than {LONGEST:,} characters")
            return []
        else:
            written: JsonObject = {"name": name, "description": description, "parameters": _schema(parameters)}
            found[name] = {"type": "function", "function": written}
    return list(found.values())


def _unusable(schema: JsonObject) -> str | None:
    """Why nothing can be held to `schema`, as far as it is told before it is compiled."""
    try:
        check_depth(schema)
    except BadInput as fault:
        return fault.what
    return None if (pointer := endless(schema)) is None else ENDLESS.format(pointer=pointer)


def _schema(parameters: JsonValue | Mapping[str, object]) -> JsonObject:
    """The schema of arguments; of a tool without any, an empty object."""
    if not parameters:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    return {"type": "object", **parameters}  # type: ignore[dict-item]
