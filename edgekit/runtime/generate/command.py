"""`run` for language models: answers printed while they are generated; without texts, a conversation at the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.model import LanguageModel, as_prompt
from edgekit.runtime.generate.sample import Sampling, parse_sampling
from edgekit.runtime.generate.show import shown_answer
from edgekit.runtime.generate.talk import talk
from edgekit.runtime.items import answered, first_line, read_items
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["chat_and_sampling", "run_language"]


def run_language(
    model: LanguageModel, texts: Sequence[str] | None, flags: Mapping[str, object], *, as_json: bool
) -> list[JsonObject]:
    """Answer `texts` one after another; None: a conversation at the terminal. In chat, a text may be the JSON of {"messages": [...]}.

    `flags`: fields of Sampling and `chat`, by name. Answers are printed while they are generated, without the last one's line end,
    unless `as_json`. Returns {"text", "ended", "prompt_tokens", "new_tokens"} of each, "complete" where it was held to a form, and
    "speculation" where there is one; Ctrl-C ends the current answer, which is then the last one and has "ended": "interrupted". A prompt
    that cannot be used, where there are others, has {"error"}.

    Raises:
        BadInput, CheckFailed: as `LanguageModel.stream`.
    """
    chat, sampling = chat_and_sampling(model, flags)
    if texts is None:
        talk(model, sampling, chat=chat)
        return []
    open_line = False

    def break_line() -> None:
        nonlocal open_line
        if open_line and not as_json:
            print()
        open_line = True

    def answer(text: str) -> JsonObject:
        (item,) = read_items([text], fix="give --raw to have it continued as text") if chat else [text]
        made = shown_answer(
            model, as_prompt(item, chat=chat), sampling, show=not as_json, heard=lambda number: None if number else break_line()
        )
        return (
            made.document() if model.speculation is None else {**made.document(), "speculation": model.speculation.told(made)}
        )

    answers: list[JsonObject] = []
    for made in answered(texts, answer):
        answers.append(made)
        if "error" in made and not as_json:
            break_line()
            print(first_line(made), end="")
        if made.get("ended") == "interrupted":
            break
    return answers


def chat_and_sampling(model: LanguageModel, flags: Mapping[str, object]) -> tuple[bool, Sampling]:
    """Whether a text is a message of a user, and how tokens are drawn, by the `flags` of a command line.

    Raises:
        BadInput: a flag that cannot be used, or --chat without a template.
    """
    chat = (model.template is not None) if flags.get("chat") is None else bool(flags["chat"])
    if chat and model.template is None:
        raise BadInput("this bundle has no chat template", fix="leave --chat out")
    return chat, parse_sampling({name: value for name, value in flags.items() if name != "chat" and value is not None})
