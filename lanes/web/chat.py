"""The lane's language model with a chat template, which a model that was trained from nothing has not, and what Python says to conversations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.pack.bundle import write_bundle
from edgekit.pack.conversations import CONVERSATIONS, written_conversations
from edgekit.runtime.bundle.names import CHAT_TEMPLATE
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.model import opened

__all__ = ["TALKS", "answers_of", "chat_faults", "with_template"]

TEMPLATE = """{%- for message in messages %}
{%- if message.role == 'system' %}{{ message.content | trim + '\\n' }}{%- else %}
{{- message.role[0] | capitalize + ':' + message.content.strip() + '\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'A:' }}{%- endif %}
"""
TALKS: tuple[tuple[Any, dict[str, Any]], ...] = (
    ("turn on the lamp", {"max_new_tokens": 12}),
    (
        {"messages": [{"role": "system", "content": " hi "}, {"role": "user", "content": "paint the wall"}]},
        {"max_new_tokens": 12},
    ),
    (
        {
            "messages": [
                {"role": "user", "content": "is it"},
                {"role": "assistant", "content": "on"},
                {"role": "user", "content": "\ufeffit🙂\x1f"},
            ]
        },
        {"max_new_tokens": 9, "stop": ["kitchen"]},
    ),
    ({"messages": [{"role": "user", "content": "what colour"}]}, {"max_new_tokens": 8, "temperature": 0.7, "seed": 5}),
)
"""Inputs and settings: a text, a system message, three turns with odd characters, and drawn tokens."""


def with_template(bundle: Path, folder: Path) -> Path:
    """The language model's `bundle` in the new `folder`, with TEMPLATE, and conversations as Python writes them."""
    manifest = open_bundle(bundle).manifest
    generation = manifest.generation
    assert generation is not None, "a language model's"
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    folder.mkdir()
    (folder / CHAT_TEMPLATE).write_text(TEMPLATE, encoding="utf-8")
    talks = written_conversations(folder / CHAT_TEMPLATE, tokens)
    changed = replace(manifest, generation=replace(generation, chat_template=CHAT_TEMPLATE, special_tokens=tokens))
    files = {name: bundle / name for name in manifest.assets}
    write_bundle(folder, changed, files=files, texts={CHAT_TEMPLATE: TEMPLATE, CONVERSATIONS: json.dumps(talks) + "\n"})
    return folder


def answers_of(bundle: Path) -> list[dict[str, Any]]:
    """What Python answers to TALKS."""
    model = opened(open_bundle(bundle), 1)
    return [model(item, **settings) for item, settings in TALKS]


def chat_faults(wanted: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    """Where the runner's answers to TALKS, made a piece a token, are others."""
    return [
        f"conversation {number}: {there} instead of {here}"
        for number, (here, there) in enumerate(zip(wanted, found, strict=True))
        if {name: here[name] for name in ("text", "ended", "new_tokens")} != there
    ]
