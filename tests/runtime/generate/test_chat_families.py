"""Chat templates of 18 families, as published: each conversation is written as transformers writes it, or refused as it refuses it."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from edgekit.runtime.generate.render import render

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
USER = {"role": "user", "content": "Hello, who are you?"}
TALKS = {
    "one message": [USER],
    "a system": [{"role": "system", "content": "  Be brief. "}, USER],
    "three turns": [USER, {"role": "assistant", "content": " I am a model.\n"}, {"role": "user", "content": "Sure?"}],
    "all roles": [
        {"role": "system", "content": "You speak German."}, {"role": "user", "content": "Grüß Gott!"},
        {"role": "assistant", "content": "Servus 🙂"}, {"role": "user", "content": "<b>&amp;</b> {{ x }} 'q' \"p\""},
        {"role": "assistant", "content": ""}, {"role": "user", "content": "   "},
    ],
    "an answer last": [USER, {"role": "assistant", "content": "A text to be gone on with"}],
    "out of order": [{"role": "assistant", "content": "Hi"}, USER, USER, {"role": "tool", "content": "{\"a\": 1}"}],
}  # fmt: skip
FAMILIES = 18


def test_every_family_writes_six_conversations_as_transformers_does(shared: Path) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    folder = shared / "data" / "chat-templates"
    files = sorted(folder.glob("*.jinja"))
    assert len(files) == FAMILIES
    written = refused = 0
    for path in files:
        published = path.read_text()
        for source in (published, published.replace("    ", "").replace("\n", "")):  # as it is there, and as models have it
            for name, talk in TALKS.items():
                try:
                    (wanted,), _ = render_jinja_template([talk], chat_template=source, add_generation_prompt=True, **TOKENS)
                except jinja2.TemplateError as fault:
                    with pytest.raises(type(fault)) as ours:
                        render(source, talk, TOKENS)
                    assert str(ours.value) == str(fault), (path.name, name)
                    refused += 1
                else:
                    assert render(source, talk, TOKENS) == wanted, (path.name, name)
                    written += 1
    assert written + refused == 2 * FAMILIES * len(TALKS) and written > refused > 0
