"""Conversations in JavaScript: templates of families write them as in Python, or are refused by name, and a bundle answers as there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest

from edgekit.pack.conversations import CONVERSATIONS, DATE, TALKS, written_conversations
from edgekit.runtime.generate.render import render
from edgekit.runtime.model import load
from tests.runtime.generate.test_chat_families import FAMILIES, TOKENS
from tests.runtime.generate.test_chat_families import TALKS as OTHERS
from tests.runtime.generate.tool_templates import TEMPLATES
from tests.tiny_manifest import rewrite_manifest
from tests.web.node import ran, released

SPACES = [
    {"role": "user", "content": "\u00a0\u3000 a\u200b \x1f\x85b\ufeff "},
    {"role": "assistant", "content": "\x1cİx ß ΟΔΟΣ 🙂\ufeff"},
]


def each(body: str) -> str:
    """A template that writes `body` for each message."""
    return "{% for m in messages %}" + body + "{% endfor %}"


WRITTEN = {
    "spaces": each("[{{ m.content|trim }}][{{ m.content.strip() }}][{{ m.content.lstrip() }}][{{ m.content.rstrip('. ') }}]"),
    "letters": each("{{ m.content|capitalize }}{{ m.role.capitalize() }}{{ m.content|upper }}{{ m.content.lower() }}"),
    "parts": each(
        "{{ m.content.split('e')|join('_') }}{{ m.content.split(' ')[-1] }}{{ m.content|length }}{{ m.content[1:-1] }}"
    ),
    "replaced": each("{{ m.content.replace('e', 'E') }}{{ m.content|replace('e', 'E', 1) }}"),
    "json": each("{{ m|tojson }}{{ m.content|tojson(indent=2) }}") + "{{ [1, true, none, 'ü']|tojson }}",
    "keys": each("{{ m.get('name', 'x') }}{% for k, v in m.items() %}{{ k }}={{ v }};{% endfor %}"),
    "chosen": "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|join('|') }}",
    "left": "{{ messages|rejectattr('role', 'eq', 'user')|list|length }}",
    "loops": each(
        "{{ loop.index }}{{ loop.index0 % 2 }}{% if loop.last %}!{% endif %}{% if loop.previtem is defined %}p{% endif %}"
    ),
    "backwards": "{% for m in messages[::-1] %}{{ m.content }}{% endfor %}{% for i in range(1, 9, 3) %}{{ i }}{% endfor %}",
    "kept": "{% set ns = namespace(n=0) %}" + each("{% set ns.n = ns.n + loop.index %}") + "{{ ns.n }}",
    "macros": "{% macro f(a, b=2) %}<{{ a }}{{ b }}>{% endmacro %}{{ f(1) }}{{ f(messages[0].content, 4) }}",
    "dates": "{{ strftime_now('%d %B %Y, %A %-d %b %H:%M') }}",
    "marked": each("{% generation %}{{ m.content }}{% endgeneration %}\n  {% if not loop.last %}x{% endif %}\n"),
    "refused": "{% if messages[0].role != 'system' %}{{ raise_exception('a system message first') }}{% endif %}ok",
    "not defined": "{% if messages|length > 1 %}{{ messages[0].nothing.more }}{% endif %}{{ messages[0].nothing }}",
}
UNKNOWN = {
    "{{ messages|length > 1 }}": "a boolean",
    "{{ messages[0] }}": "a mapping",
    "{{ tools }}": "puts out none",
    "{{ messages[0].content|title }}": "the filter title",
    each("x{% break %}"): "break",
    "{{ messages[0].content.split()|length }}": "split()",
    "{{ strftime_now('%j') }}": "%j",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}": "did not end",
    "{{ range(10000000)|length }}": "a range of",
}
"""Templates that Python may write -> what is named of them in JavaScript."""
CHAT = (
    "{% for m in messages %}{{ '<' + m.role + '>' }}{{ m.content | trim }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
ASKS: list[tuple[Any, dict[str, Any]]] = [
    ("turn on the lamp", {"max_new_tokens": 8}),
    (
        {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "the red 🙂\ufeff"}]},
        {"max_new_tokens": 8},
    ),
    ({"messages": [{"role": "user", "content": "turn"}]}, {"max_new_tokens": 6, "temperature": 0.9, "seed": 4}),
]
WRONG = {
    "tools": ({"messages": [{"role": "user", "content": "a"}], "tools": []}, "calls of tools"),
    "calls": ({"messages": [{"role": "assistant", "content": "", "tool_calls": []}]}, "message 0: tool_calls"),
    "no messages": ({"messages": []}, "a list of messages"),
    "no role": ({"messages": [{"content": "a"}]}, "message 0: not an object of role and content"),
    "a control token": ({"messages": [{"role": "user", "content": "a </s> b"}]}, "the control token"),
    "documents": ({"messages": [{"role": "user", "content": "a"}], "documents": []}, "documents"),
}


def here(source: str, talk: list[Any]) -> str | None:
    """What Python writes; None: it refuses."""
    try:
        return render(source, talk, TOKENS, now=DATE)
    except jinja2.TemplateError:
        return None


def test_families_and_parts_write_what_python_writes(shared: Path, tmp_path: Path) -> None:
    published = [path.read_text() for path in sorted((shared / "data" / "chat-templates").glob("*.jinja"))]
    assert len(published) == FAMILIES
    sources = [
        *published,
        *(text.replace("    ", "").replace("\n", "") for text in published),
        *TEMPLATES.values(),
        *WRITTEN.values(),
    ]
    talks = [*OTHERS.values(), *TALKS, SPACES]
    cases = [(source, talk) for source in sources for talk in talks]
    found = ran("templates.mjs", {"tokens": TOKENS, "date": DATE, "cases": cases}, tmp_path)
    written = 0
    for (source, talk), there in zip(cases, found, strict=True):
        if isinstance(there, dict) and "is not known here" in there["fault"]:
            assert source in TEMPLATES.values() and "dictsort" in there["fault"]
            continue
        wanted = here(source, talk)
        assert (None if isinstance(there, dict) else there) == wanted, (source, talk, there)
        written += wanted is not None
    assert written > 0.6 * len(cases)


def test_what_it_would_write_otherwise_is_refused_by_name(tmp_path: Path) -> None:
    found = ran(
        "templates.mjs", {"tokens": TOKENS, "date": DATE, "cases": [(source, TALKS[1]) for source in UNKNOWN]}, tmp_path
    )
    for (source, word), there in zip(UNKNOWN.items(), found, strict=True):
        assert isinstance(there, dict) and word in there["fault"], (source, there)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = released("writer", tmp_path_factory.mktemp("writer"))
    (folder / "chat_template.jinja").write_text(CHAT)
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    (folder / CONVERSATIONS).write_text(json.dumps(written_conversations(folder / "chat_template.jinja", tokens)))
    rewrite_manifest(
        folder,
        lambda document: document["edgekit"]["generation"].update(chat_template="chat_template.jinja", special_tokens=tokens),
    )
    return folder


@pytest.fixture(scope="module")
def found(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    wrong = [(item, {}) for item, _ in WRONG.values()]
    return ran("writer.mjs", {"bundle": str(bundle), "asks": [*ASKS, ("turn", {"max_new_tokens": 6, "chat": False})], "wrong": wrong},
        tmp_path_factory.mktemp("node"))  # fmt: skip


def test_answers_to_conversations_are_those_of_python(found: Any, bundle: Path) -> None:
    model = load(bundle)
    for (item, settings), there in zip(ASKS, found["answers"], strict=False):
        assert model(item, **settings) == there
    assert model.language is not None
    plain = model.language.generate("turn", model.asks(None, {"max_new_tokens": 6})).document()
    assert found["answers"][-1] == plain
    assert "".join(piece["text"] for piece in found["pieces"]) == found["answers"][0]["text"]
    assert found["verified"].get("ok") and found["verified"]["conversations"] == len(TALKS), found["verified"]


def test_conversations_that_cannot_be_used_are_refused_in_words(found: Any) -> None:
    for (_, words), refusal in zip(WRONG.values(), found["wrong"], strict=True):
        assert words in refusal["text"], refusal


def test_a_template_that_is_written_otherwise_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = bundle / CONVERSATIONS
    whole = path.read_text()
    document = json.loads(whole)
    document["conversations"][2]["prompt"] += "!"
    try:
        path.write_text(json.dumps(document))
        rewrite_manifest(bundle)
        found = ran(
            "writer.mjs",
            {"bundle": str(bundle), "asks": [("a", {"chat": False, "max_new_tokens": 1})], "wrong": [("a", {})]},
            tmp_path,
        )
    finally:
        path.write_text(whole)
        rewrite_manifest(bundle)
    assert "conversation 2" in found["verified"]["text"] and "conversation 2" in found["wrong"][0]["text"]
    assert found["answers"][0]["new_tokens"] == 1
