"""Chat templates and the tokens that they name: those of a folder, as transformers reads it, wherever the folder says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import BadInput
from edgekit.models.conversations import chat_template, settle_conversations, special_tokens, template_fault
from edgekit.models.facts import facts_of_checkpoint
from edgekit.models.files import digest
from edgekit.runtime.generate.render import render
from tests.tiny_decoders import checkpoint

TALK = [{"role": "user", "content": "w3 w4"}, {"role": "assistant", "content": "w5"}, {"role": "user", "content": "w6"}]
PLAIN = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}|{{ unk_token }}|{{ pad_token }}|"
OTHER = "other{{ messages | length }}{{ bos_token }}"
TOKENS = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "w299"}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint("llama", tmp_path_factory.mktemp("llama"))


def written(llama: Path, folder: Path, files: dict[str, Any]) -> Path:
    """A copy of the checkpoint with further files; documents are written as JSON."""
    for path in llama.iterdir():
        (folder / path.name).hardlink_to(path)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def theirs(folder: Path) -> str:
    from transformers import AutoTokenizer

    return str(AutoTokenizer.from_pretrained(folder).apply_chat_template(TALK, tokenize=False, add_generation_prompt=True))


NAMED = [{"name": "rag", "template": OTHER}, {"name": "default", "template": PLAIN}]
SAID = {
    "one text": {"tokenizer_config.json": {**TOKENS, "chat_template": PLAIN}},
    "named": {"tokenizer_config.json": {**TOKENS, "chat_template": NAMED}},
    "by name": {"tokenizer_config.json": {**TOKENS, "chat_template": {"tool_use": OTHER, "default": PLAIN}}},
    "a file": {"tokenizer_config.json": TOKENS, "chat_template.jinja": PLAIN.replace("\n", "\r\n")},
    "a file before the settings": {"tokenizer_config.json": {**TOKENS, "chat_template": OTHER}, "chat_template.jinja": PLAIN},
    "files with names": {
        "tokenizer_config.json": TOKENS, "chat_template.jinja": PLAIN, "additional_chat_templates/tool_use.jinja": OTHER,
    },
    "a default among those": {"tokenizer_config.json": TOKENS, "additional_chat_templates/default.jinja": PLAIN},
    "that default before the file": {
        "tokenizer_config.json": TOKENS, "chat_template.jinja": PLAIN, "additional_chat_templates/default.jinja": OTHER,
    },
    "tokens as objects": {
        "tokenizer_config.json": {**TOKENS, "pad_token": {"content": "<pad>", "__type": "AddedToken"}, "chat_template": PLAIN},
    },
    "tokens in a map of their own": {
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": PLAIN},
        "special_tokens_map.json": {"bos_token": "w7", "eos_token": {"content": "w8"}, "unk_token": "<pad>"},
    },
    "tokens of its own": {
        "tokenizer_config.json": {**TOKENS, "end_of_turn_token": "w9", "chat_template": PLAIN + "{{ end_of_turn_token }}"},
    },
    "no tokens": {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": PLAIN}},
}  # fmt: skip


@pytest.mark.parametrize("said", sorted(SAID))
def test_a_conversation_is_written_as_transformers_writes_it(llama: Path, tmp_path: Path, said: str) -> None:
    """After the stage that loads the original, whose folder says it in one place."""
    (tmp_path / "source").mkdir()
    source = written(llama, tmp_path / "source", SAID[said])
    (tmp_path / "out").mkdir()
    out = written(llama, tmp_path / "out", {name: text for name, text in SAID[said].items() if name == "tokenizer_config.json"})
    assert template_fault(source) is None and facts_of_checkpoint(str(source)).template_fault is None
    settle_conversations(source, out)
    template = chat_template(out)
    assert template is not None and render(template, TALK, special_tokens(out)) == theirs(source) == theirs(out)
    assert "chat_template" not in json.loads((out / "tokenizer_config.json").read_text())


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"tokenizer_config.json": {**TOKENS, "chat_template": [{"name": "rag", "template": PLAIN}, {"name": "b", "template": OTHER}]}},
            'tokenizer_config.json: 2 chat templates, none of them called "default": b, rag',
        ),
        ({"additional_chat_templates/tool_use.jinja": OTHER}, 'additional_chat_templates: 1 chat templates, none of them called "default": tool_use'),
        ({"tokenizer_config.json": {**TOKENS, "chat_template": 7}}, "tokenizer_config.json: chat_template is no template"),
        ({"tokenizer_config.json": {**TOKENS, "chat_template": [PLAIN]}}, "chat_template is no template"),
        ({"tokenizer_config.json": {**TOKENS, "chat_template": [{"name": "default"}]}}, "chat_template is no template"),
        ({"chat_template.jinja": "{% for m in messages %}{{ m.content }}"}, "does not write a plain conversation: the template"),
        ({"tokenizer_config.json": {**TOKENS, "chat_template": "{{ messages[0.content }}"}}, "TemplateSyntaxError"),
        ({"chat_template.jinja": "{{ raise_exception('never') }}"}, "TemplateError: never"),
        ({"chat_template.jinja": "{{ messages | nosuch }}"}, "No filter named 'nosuch'"),
        ({"chat_template.jinja": "{{ system.text }}"}, "'system' is undefined"),
    ],
)  # fmt: skip
def test_templates_that_say_nothing_are_refused_by_the_plan(
    llama: Path, tmp_path: Path, files: dict[str, Any], words: str
) -> None:
    folder = written(llama, tmp_path, files)
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInput) as caught:
        settle_conversations(folder, tmp_path / "out")
    assert words in caught.value.text()
    assert caught.value.fix, "and what to do"
    told = facts_of_checkpoint(str(folder)).template_fault
    assert told is not None and words in told


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages[0].role != 'system' %}{{ raise_exception('instructions first') }}{% endif %}{{ messages[1].content }}",
        "{% if messages[0].role == 'system' %}{{ raise_exception('no instructions') }}{% endif %}{{ bos_token + messages[0].content }}",
        "{% generation %}{{ eos_token + sep_token }}{% endgeneration %}",
    ],
)
def test_templates_may_ask_for_instructions_or_refuse_them(llama: Path, tmp_path: Path, template: str) -> None:
    assert template_fault(written(llama, tmp_path, {"chat_template.jinja": template})) is None


def test_a_template_is_part_of_the_checkpoint(llama: Path, tmp_path: Path) -> None:
    folder, before = written(llama, tmp_path, {}), digest(llama)
    assert chat_template(folder) is None and digest(folder) == before
    found = {before}
    for name in ("additional_chat_templates/default.jinja", "special_tokens_map.json", "chat_template.jinja"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
        found.add(digest(folder))
    assert len(found) == 4
