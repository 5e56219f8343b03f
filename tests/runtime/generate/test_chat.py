"""Chat templates: what transformers makes of them, and what a hostile one cannot do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.generate import chat, child
from edgekit.runtime.generate.chat import LARGEST_TEMPLATE, Template, load_template
from tests.runtime.generate.tiny_tokenizers import CHAT

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "2 < 3 & 'x' \"y\" <b>?\n ü 🙂"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Sure?"},
]
PATIENT = 60.0
"""Seconds for renderings that end by themselves, on a machine however busy."""
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TEMPLATES = [
    CHAT,
    (
        "{{ bos_token }}{% for m in messages %}\n    {% if m['role'] == 'user' %}\n[INST] {{ m.content | trim }} [/INST]\n"
        "    {%- else %}\n {{ m.content }}{{ eos_token }}\n    {%- endif %}\n{% endfor %}\n"
    ),
    (
        "{% set ns = namespace(system='', count=0) %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.system = m.content %}"
        "{% continue %}{% endif %}{% set ns.count = ns.count + 1 %}{% if ns.count > 2 %}{% break %}{% endif %}{{ m | tojson }}{% endfor %}"
        "{{ ns.system }}{{ ns.count }}{{ messages | tojson(indent=2) }}"
    ),
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}",
    (
        "{% macro turn(m) %}<{{ m.role }}>{{ m.content }}{% endmacro %}{{ turn(messages[-1]) }}{{ messages[::-1] | map(attribute='role') | list }}"
        "{{ strftime_now('%Y') | length }}{{ tools is none }}{{ add_generation_prompt }}{{ pad_token is defined }}{{ dict(a=1).a }}"
    ),
]


@pytest.mark.parametrize("source", TEMPLATES)
def test_the_same_prompt_as_transformers(source: str) -> None:
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    wanted, _ = utilities.render_jinja_template([TALK], chat_template=source, add_generation_prompt=True, **TOKENS)
    assert Template(source, TOKENS).render(TALK) == wanted[0]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "did not end within 0.5 s"),
        ("{{ 10 ** (10 ** 8) }}", "did not end within 0.5 s"),
        ("{{ 'a' * 10 ** 9 }}", "needs more than 256 MiB"),
        ("{% set a = 'a' * 10 ** 5 %}{% for i in range(99999) %}{{ a }}{% endfor %}", "puts out more than"),
        ("{{ 'a' * (4 * 10 ** 6 + 1) }}", "puts out more than"),
        ("{{ '%999999999d' % 1 }}", "more than 256 MiB"),
        ("{{ range(10 ** 9) | list }}", "Range too big"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested too deeply"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{% set n = namespace(_x=1) %}", "SecurityError"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% for m in messages %}", "TemplateSyntaxError"),
        ("{{ messages[99].content.x }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ '\\ud800' }}", "half of a surrogate pair"),
        ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "nested too deeply"),
    ],
)
def test_hostile_templates_end_in_an_error(source: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    template = Template(source, TOKENS, "bad.jinja")
    monkeypatch.setattr(chat, "SECONDS", 0.5 if "did not end" in words else PATIENT)
    with pytest.raises(BadInput, match=words) as caught:
        template.render(TALK)
    assert "bad.jinja" in caught.value.text()


def test_a_template_works_again_after_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "SECONDS", PATIENT)
    template = Template("{% if messages | length > 1 %}{{ 10 ** (10 ** (messages | length * 2)) }}{% endif %}fine", TOKENS)
    assert template.render(TALK[:1]) == "fine"
    monkeypatch.setattr(chat, "SECONDS", 0.5)
    with pytest.raises(BadInput, match="did not end"):
        template.render(TALK)
    monkeypatch.setattr(chat, "SECONDS", PATIENT)
    assert template.render(TALK[:1]) == "fine"


def test_a_process_that_died_is_started_again() -> None:
    template = Template("fine 🙂", TOKENS)
    for _ in range(2):
        assert template.render(TALK) == "fine 🙂"
        assert template.child.process is not None
        template.child.process.kill()
        template.child.process.wait()


def test_one_process_serves_all_renderings(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    real = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Any:
        started.append(real(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(child.subprocess, "Popen", start)
    template = Template(CHAT, TOKENS)
    for _ in range(20):
        template.render(TALK)
    assert len(started) == 1 and started[0].poll() is None
    del template
    assert started[0].poll() is not None, "it goes with the template"


def test_an_answer_that_came_too_late_does_not_meet_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    template = Template("{{ messages[0].content }}", TOKENS)
    real = child.json.loads

    def interrupted(data: Any) -> Any:
        monkeypatch.setattr(child.json, "loads", real)
        raise KeyboardInterrupt

    template.render([{"role": "user", "content": "zero"}])
    monkeypatch.setattr(child.json, "loads", interrupted)
    with pytest.raises(KeyboardInterrupt):
        template.render([{"role": "user", "content": "one"}])
    assert template.render([{"role": "user", "content": "two"}]) == "two"


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "list of messages"),
        ("hello", "list of messages"),
        (None, "list of messages"),
        ([{"role": "user"}], "message 0: not an object of role and content"),
        ([{"role": "user", "content": 3}], "message 0: content is not text"),
        ([{"role": "user", "content": "\ud800"}], "message 0: content is not text"),
        ([{"role": "", "content": "a"}], "role is empty"),
        ([{"role": "user", "content": "a", "tool": "b"}], "message 0"),
        ([{"role": "user", "content": "a", "name": 3}], "message 0: name is not text"),
        ([{"role": "user", "content": "a"}] * 10_001, "more than 10,000"),
        ([{"role": "user", "content": "a" * 3_000_000}] * 2, "characters are more than"),
    ],
)
def test_messages_that_cannot_be_used(messages: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Template(CHAT, TOKENS).render(messages)


def test_template_files(tmp_path: Path) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_text("{{ bos_token }}ü")
    assert load_template(path, TOKENS).render(TALK) == "<s>ü"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="UTF-8"):
        load_template(path, TOKENS)
    path.write_text("a" * (LARGEST_TEMPLATE + 1))
    with pytest.raises(BadInput, match="larger than 512,000 bytes"):
        load_template(path, TOKENS)


def test_without_jinja2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotPossibleHere, match="pip install 'jinja2"):
        Template(CHAT, TOKENS).render(TALK)
    assert "jinja2, which is not installed" in str(chat.lacking())


@pytest.mark.parametrize(
    ("version", "words"), [("3.1.5", "3.1.5 is installed"), ("2.11.3", "2.11.3"), ("3.1.6", None), ("4.0.0rc1", None)]
)
def test_a_jinja2_whose_sandbox_can_be_escaped(monkeypatch: pytest.MonkeyPatch, version: str, words: str | None) -> None:
    monkeypatch.setattr(chat.metadata, "version", lambda name: version)
    assert chat.lacking() is None if words is None else words in str(chat.lacking())


def test_a_process_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(NotPossibleHere, match="did not start"):
        Template(CHAT, TOKENS).render(TALK)


KNOWN_ROLES = (
    "{% for m in messages %}{% if m.role == 'user' or m.role == 'assistant' or (m.role == 'system' and loop.first) %}"
    "[{{ m.content | tojson }}]{% elif m.role == 'tool' %}{{ m.content | upper }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("roles", "left_out"),
    [
        (("system", "user"), None),
        (("developer", "user"), 0),
        (("user", "assistant", "system", "user"), 2),
        (("user", "tool"), None),
        (("narrator", "developer"), 0),
    ],
)
@pytest.mark.parametrize("content", ["a", 'quoted "é" and long enough', "e"])
def test_messages_that_a_template_leaves_out_are_noticed(roles: tuple[str, ...], left_out: int | None, content: str) -> None:
    """Whatever else stands in the prompt, and however the template writes what messages say."""
    template = Template(KNOWN_ROLES, {})
    messages = [{"role": role, "content": content} for role in roles]
    if left_out is None:
        assert template.prompt(messages) == template.render(messages)
        return
    with pytest.raises(BadInput, match=f"leaves '{roles[left_out]}' messages out.*not read message {left_out}"):
        template.prompt(messages)
