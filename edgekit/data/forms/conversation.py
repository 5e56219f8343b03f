"""A conversation, or a prompt with its completion, as chat models are trained on: a text as the model's own chat template writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from edgekit.data.form import Form, Write
from edgekit.data.reading import Record

__all__ = ["FORM"]

LISTS = ("messages", "conversations", "conversation", "chat", "dialog", "dialogue")
PAIRS = (
    ("prompt", "completion"), ("prompt", "response"), ("instruction", "output"), ("instruction", "response"), ("input", "output"),
    ("question", "answer"),
)  # fmt: skip
NAMES = ("role", "content", "from", "value")
INPUT, SYSTEM = "input", "system"
"""What goes with an instruction, and what comes before the first message, if the rows have them."""
BESIDE = ("tools", "documents", "chat_template_kwargs")
"""Columns that chat templates are given beside the messages, by transformers and those who train with it."""
ROLES = {role: role for role in ("system", "developer", "user", "assistant", "tool")} | {
    "human": "user", "gpt": "assistant", "bot": "assistant", "ai": "assistant", "model": "assistant", "chatgpt": "assistant",
}  # fmt: skip
"""What ShareGPT's rows and others call a role, in small letters -> what templates call it."""


def find(values: Mapping[str, object], names: Mapping[str, str]) -> dict[str, str] | None:
    """Where rows have messages, or a prompt and a completion, and no text."""
    if names["text"] in values or names["text"] != "text":
        return None
    name = next((name for name in LISTS if isinstance(values.get(name), list)), None)
    if name is not None:
        return {"messages": name, **({SYSTEM: SYSTEM} if SYSTEM in values else {})}
    for prompt, completion in PAIRS:
        if prompt in values and completion in values:
            more = {part: part for part in (INPUT, SYSTEM) if part in values and part not in (prompt, completion)}
            return {"prompt": prompt, "completion": completion, **more}
    return None


def read(records: Iterable[Record], found: Mapping[str, str], write: Write | None) -> Iterator[Record]:
    """A row of each row, with its `text`."""
    for record in records:
        if record.fault is not None:
            yield record
            continue
        text, fault = _text(record.values, found, write)
        if fault is not None:
            yield Record(record.line, {}, fault)
        else:
            yield Record(record.line, {**record.values, "text": text}, None, record.duplicates)


def _text(values: Mapping[str, object], found: Mapping[str, str], write: Write | None) -> tuple[str | None, str | None]:
    if "messages" in found:
        name = found["messages"]
        messages = _messages(values.get(name))
        if messages is None:
            return None, f"{name!r} is no list of messages, each an object of role and content"
        if write is None:
            return (
                None,
                f"{name!r}: the model has no chat template, which says how messages are written; write them as texts yourself, in a column `text`",
            )
        system = values.get(found.get(SYSTEM, ""))
        told: dict[str, object] = {"role": "system", "content": system}
        if isinstance(system, str) and system.strip() and messages[0] != told:
            if messages[0]["role"] == "system":
                return None, f"has two system messages, the first of {name!r} and that in {SYSTEM!r}"
            messages = [told, *messages]
        return _named(write(messages, _beside(values)), name)
    prompt, completion = values.get(found["prompt"]), values.get(found["completion"])
    if isinstance(prompt, list) and isinstance(completion, list):
        whole = {**values, "messages": [*prompt, *completion]}
        return _text(whole, {**found, "messages": "messages"}, write)
    for part, value in (("prompt", prompt), ("completion", completion)):
        if not isinstance(value, str) or not value.strip():
            return None, f"{found[part]!r} is no text"
    asked = [str(prompt)]
    if isinstance(more := values.get(found.get(INPUT, "")), str) and more.strip():
        asked.append(more)
    system = values.get(found.get(SYSTEM, ""))
    before = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
    if write is None:
        return _joined([*(str(message["content"]) for message in before), *asked, str(completion)]), None
    said = [{"role": "user", "content": "\n\n".join(asked)}, {"role": "assistant", "content": str(completion)}]
    return _named(write([*before, *said], _beside(values)), found["prompt"])


def _beside(values: Mapping[str, object]) -> dict[str, object]:
    """What else of a row a template may read, where there is some of it; lists as data sets hold them, perhaps as JSON."""
    return {name: values[name] for name in BESIDE if values.get(name) not in (None, "", [], {}, "[]", "{}")}


def _named(written: tuple[str | None, str | None], name: str) -> tuple[str | None, str | None]:
    text, fault = written
    return text, None if fault is None else f"{name!r}: {fault}"


def _messages(value: object) -> list[dict[str, object]] | None:
    """Messages as templates have them: of role and content, or of from and value as ShareGPT has them, and what else is said in them."""
    if not isinstance(value, list) or not value or not all(isinstance(message, dict) for message in value):
        return None
    read_as = []
    for message in value:
        role, content = message.get("role", message.get("from")), message.get("content", message.get("value"))
        more = {name: said for name, said in message.items() if name not in NAMES and said not in (None, "", [], {})}
        if not isinstance(role, str) or not isinstance("" if content is None and more else content, str):
            return None
        read_as.append({**more, "role": ROLES.get(role.casefold(), role), "content": content or ""})
    return read_as


def _joined(parts: list[str]) -> str:
    """Texts one after the other, on lines of their own where no white space stands between them."""
    whole = parts[0]
    for part in parts[1:]:
        whole += part if whole[-1:].isspace() or part[:1].isspace() else f"\n{part}"
    return whole


FORM = Form(
    "each conversation is written as the model's chat template has it; prompt and completion of a model without one follow each other", ("text",),
    find, read, conversations=True,
)  # fmt: skip
