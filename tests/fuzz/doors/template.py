"""A chat template, which the process for templates renders."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from edgekit.runtime.generate.chat import Template, load_template
from tests.fuzz.door import Door, Files
from tests.runtime.generate.tiny_tokenizers import CHAT

__all__ = ["DOOR"]

NAME = "chat_template.jinja"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi {{ bos_token }}"},
    {"role": "assistant", "content": "Hello"},
]
LONG = b"""{%- if messages[0]['role'] == 'system' -%}{%- set system = messages[0]['content'] -%}{%- set rest = messages[1:] -%}
{%- else -%}{%- set system = '' -%}{%- set rest = messages -%}{%- endif -%}
{{ bos_token }}{% for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles') }}{% endif %}
{% if loop.index0 == 0 and system %}<<SYS>>{{ system | trim }}<</SYS>>{% endif %}{{ '<|' ~ message.role ~ '|>' }}
{{ message['content'].strip() | tojson }}
{%- if loop.last and add_generation_prompt %}{{ strftime_now('%Y') | length }}{% endif %}{% endfor %}
{% macro twice(x, n=2) %}{{ x * n }}{% endmacro %}{% set ns = namespace(found=false) %}
{% for i in range(3) %}{% set ns.found = i %}{{ twice('a') }}{% endfor %}
"""
_kept: list[Template] = []
"""The template whose process is used again: a template takes microseconds, and the process for it a tenth of a second."""


@cache
def seeds() -> list[Files]:
    return [{NAME: CHAT.encode()}, {NAME: LONG}]


def enter(folder: Path) -> None:
    template = load_template(folder / NAME, TOKENS)
    if _kept:
        template.child.process = _kept.pop().child.process
    _kept.append(template)
    text = template.render(MESSAGES)
    assert isinstance(text, str)
    text.encode()


DOOR = Door("template", enter, seeds)
