"""Rows beside the model that will read them, as its tokenizer tells: what is never cut has to fit within the limit, and what is said in speech
has to be of letters that it writes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import cast

from edgekit.config.recipe import Recipe
from edgekit.data.form import Write
from edgekit.data.rows import Row, RowCheck
from edgekit.errors import BadInput
from edgekit.models.conversations import written_template
from edgekit.models.files import TOKENIZER
from edgekit.models.sentence import transformer_folder
from edgekit.models.spelling import told_of_texts, vocabulary_spelling
from edgekit.runtime.generate.chat import Message
from edgekit.runtime.processors import processor
from edgekit.runtime.spelling import Spelling
from edgekit.runtime.tokenise import encoded, load_tokeniser, read_tokenizer
from edgekit.tasks import find_task

__all__ = ["CTC", "row_check"]

CTC = "AutoModelForCTC"
"""transformers' class of models whose files say how their outputs are written."""
KEPT = ("role", "content", "name")
"""What is read of a message of a row."""
CALLS = ("tool_calls", "function_call")
"""What a message of a row says beside its content, whether or not a template names it."""
THOUGHTS = ("reasoning_content", "reasoning", "thinking", "tool_plan")
"""What it says where a template names it; other keys are notes about it."""
AS_TEXT = "write such rows as texts yourself, in a column `text` (transformers: tokenizer.apply_chat_template)"


def row_check(recipe: Recipe, source: str | None) -> RowCheck | None:
    """What tells whether a row fits the model of `recipe`, in folder `source`; None where no tokenizer is there yet.

    Raises:
        BadInput: what is there is no tokenizer.
    """
    if source is not None and find_task(recipe.task).auto == CTC:
        spelling = vocabulary_spelling(Path(source))
        return None if spelling is None else RowCheck(lambda row: None, told=partial(_texts_told, spelling))
    path = None if source is None or find_task(recipe.task).reads != "text" else transformer_folder(Path(source)) / TOKENIZER
    if path is None or not path.is_file():
        return None
    tokenise, task = load_tokeniser(path, recipe.model.max_length), find_task(recipe.task)
    process = processor(task.name)

    @cache
    def fault_of(short: str) -> str | None:
        try:
            process.prepare(tokenise, json.loads(short))
        except BadInput as fault:
            return f"{fault.what} (model, max_length)"
        return None

    def check(row: Row) -> str | None:
        asked = {"labels": [row["label"]], **row} if "candidate" in task.kinds.values() else row
        for item in task.items(asked):
            for part, short in process.uncut(item) if isinstance(item, Mapping) else ():
                if (fault := fault_of(json.dumps(short))) is not None:
                    return f"{part!r}: {fault}; shorten it, or ask for a longer input"
        return None

    return RowCheck(check, None if source is None or task.kind == "encoder" else _writer(Path(source), path))


def _texts_told(spelling: Spelling, rows: Sequence[Row]) -> list[str]:
    return told_of_texts(spelling, [str(row["text"]) for row in rows])


def _writer(folder: Path, tokenizer: Path) -> Write | None:
    """What writes a conversation as the model's template does; without the beginning that its tokenizer puts before any text."""
    template = written_template(folder)
    if template is None:
        return None
    added = encoded(read_tokenizer(tokenizer), "").tokens[:1]
    named = set(re.findall(r"\w+", template.source))

    def write(messages: object, beside: Mapping[str, object]) -> tuple[str | None, str | None]:
        said = [{**message} for message in cast("list[Message]", messages)]
        unread = [f"the row has {name!r}" for name in beside if name in named]
        for number, message in enumerate(said):
            for name in [name for name in message if name not in KEPT]:
                del message[name]
                unread += [f"message {number} has {name!r}"] if name in CALLS or (name in THOUGHTS and name in named) else []
        if unread:
            return None, f"{unread[0]}, which the chat template may write and edgekit does not; {AS_TEXT}"
        try:
            text = template.prompt(said, answered=bool(said) and said[-1]["role"] != "assistant")
        except BadInput as fault:
            return None, "; ".join([fault.what, *fault.faults, *([fault.fix] if fault.fix else [])])
        begins = template.tokens.get("bos_token", "")
        return text.removeprefix(begins) if begins and [begins] == added else text, None

    return write
