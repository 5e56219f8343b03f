"""How a decoder's checkpoint writes conversations: its chat template and the tokens that templates name, as transformers reads them.

Templates lie in chat_template.jinja and additional_chat_templates/NAME.jinja, or else in tokenizer_config.json, as one text, a list of
{"name", "template"}, or an object of them by name. Of several the one called "default" is used; "tool_use" is for conversations with
tools, which edgekit does not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from edgekit.errors import BadInput, NotPossibleHere
from edgekit.models.documents import read_text
from edgekit.models.files import ADDITIONAL_TEMPLATES, LEGACY_TOKENS, read_json
from edgekit.models.view import view
from edgekit.runtime.bundle.names import CHAT_TEMPLATE
from edgekit.runtime.generate.chat import Template

__all__ = [
    "chat_template", "check_template", "settle_conversations", "special_tokens", "template_fault", "written_template",
]  # fmt: skip

DEFAULT = "default"
SETTINGS = "tokenizer_config.json"
TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Names of tokens that templates use; those that files do not give a class of transformers may."""
QUESTION = {"role": "user", "content": "Hello"}
PLAIN = ([QUESTION], [{"role": "system", "content": "Be brief."}, QUESTION])
"""Conversations of which every template must write one; some begin with instructions, some take none."""


def chat_template(folder: Path) -> str | None:
    """The template of conversations without tools; None where the checkpoint has none.

    Raises:
        BadInput: several without one called "default", or what is no template.
    """
    where, found = _templates(folder)
    if not found:
        return None
    if DEFAULT not in found:
        raise BadInput(
            f'{len(found)} chat templates, none of them called "{DEFAULT}": {", ".join(sorted(found))}', where=str(folder / where),
            fix=f'call the one for ordinary conversations "{DEFAULT}", or take them out for a model that only continues texts',
        )  # fmt: skip
    return found[DEFAULT]


def template_fault(folder: Path) -> str | None:
    """What is wrong with the chat templates of a folder, in one sentence; None where nothing is. They are rendered, in a process of their own."""
    try:
        template = chat_template(folder)
        if template is not None:
            check_template(template, dict.fromkeys(TOKENS, "") | _written_tokens(folder), str(folder))
    except BadInput as fault:
        return f"model: {fault.text()}"
    return None


def written_template(folder: Path) -> Template | None:
    """What writes conversations for the checkpoint, by its files alone; None where it has no template.

    Raises:
        BadInput: as `chat_template`.
    """
    template = chat_template(folder)
    return None if template is None else Template(template, dict.fromkeys(TOKENS, "") | _written_tokens(folder), str(folder))


def check_template(template: str, tokens: Mapping[str, str], where: str) -> None:
    """Check that a chat template writes a plain conversation; not where jinja2 is missing, which has no conversations.

    Raises:
        BadInput: it is wrong, or refuses every one of `PLAIN`.
    """
    if (fault := _refusal(template, tuple(sorted(tokens.items())))) is not None:
        raise BadInput(
            f"the chat template does not write a plain conversation: {fault}", where=where,
            fix=f"correct it ({CHAT_TEMPLATE}, or chat_template in {SETTINGS}), or take it out for a model that only continues texts",
        )  # fmt: skip


@lru_cache(maxsize=16)
def _refusal(source: str, tokens: tuple[tuple[str, str], ...]) -> str | None:
    template, fault = Template(source, dict(tokens)), None
    for messages in PLAIN:
        try:
            template.render(messages)
        except BadInput as refused:
            fault = fault or refused.what
        except NotPossibleHere:
            return None
        else:
            return None
    return fault


def _written_tokens(folder: Path) -> dict[str, str]:
    """The tokens that templates name, as far as the folder's files give them."""
    found: dict[str, str] = {}
    for name in (*LEGACY_TOKENS[:1], SETTINGS):
        given = read_json(folder / name) if (folder / name).is_file() else {}
        for key, token in given.items():
            text = token.get("content") if isinstance(token, dict) else token
            if key.endswith("_token") and isinstance(text, str):
                found[key] = text
    return found


def special_tokens(folder: Path) -> dict[str, str]:
    """The tokens that templates name, by those names: bos_token, eos_token, pad_token and so on, as transformers' tokenizer has them.

    Raises:
        BadInput: transformers cannot load the tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        with view(folder) as seen:
            theirs = AutoTokenizer.from_pretrained(seen, local_files_only=True, trust_remote_code=False)
    except Exception as fault:  # tokenizers raises plain Exception, transformers many kinds
        said = str(fault).strip().splitlines()
        raise BadInput(
            f"transformers' AutoTokenizer cannot load it: {said[0][:200] if said else type(fault).__name__}", where=str(folder),
            fix=f"correct tokenizer.json and {SETTINGS}, which must belong together",
        ) from None  # fmt: skip
    return dict(theirs.special_tokens_map)


def settle_conversations(source: Path, out: Path) -> None:
    """Have `out`, made of folder `source`, say in chat_template.jinja and tokenizer_config.json alone how conversations are written.

    Raises:
        BadInput: as `chat_template`, `check_template` and `special_tokens`.
    """
    template = chat_template(source)
    if template is None:
        return
    tokens = special_tokens(source)
    check_template(template, tokens, str(source))
    (out / CHAT_TEMPLATE).write_text(template, encoding="utf-8", newline="")
    path = out / SETTINGS
    settings = read_json(path) if path.is_file() else {}
    settings.pop("chat_template", None)
    text = json.dumps({**settings, **tokens}, indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _templates(folder: Path) -> tuple[str, dict[str, str]]:
    """(the file that says so, templates by name); files of their own come before what tokenizer_config.json says."""
    files = {DEFAULT: folder / CHAT_TEMPLATE} | {
        path.name.removesuffix(".jinja"): path for path in sorted((folder / ADDITIONAL_TEMPLATES).glob("*.jinja"))
    }
    found = {name: _text(path) for name, path in files.items() if path.is_file()}
    if found:
        return (CHAT_TEMPLATE if DEFAULT in found else ADDITIONAL_TEMPLATES), found
    path = folder / SETTINGS
    given = read_json(path).get("chat_template") if path.is_file() else None
    named: object = {} if given is None else {DEFAULT: given} if isinstance(given, str) else given
    if isinstance(given, list) and all(isinstance(item, dict) for item in given):
        named = {item.get("name"): item.get("template") for item in given}
    templates = named if isinstance(named, dict) else {DEFAULT: named}
    found = {name: text for name, text in templates.items() if isinstance(name, str) and isinstance(text, str)}
    if len(found) < len(templates):
        raise BadInput(
            "chat_template is no template", where=str(path), fix='write one text, or a list of {"name": ..., "template": ...}'
        )
    return SETTINGS, found


def _text(path: Path) -> str:
    """As transformers reads it: in UTF-8, line ends as line feeds."""
    return read_text(path)
