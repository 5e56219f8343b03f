"""Text from outside in Markdown and on one line: nothing in it is obeyed, by a page or by a terminal."""

from __future__ import annotations

import json
import re

from edgekit.runtime.shown import visible

__all__ = ["escape_markdown", "plain", "yaml_text"]

BLOCK = re.compile(r"^\s*(#{1,6}(?=\s|$)|[-+](?=\s|$)|\d{1,9}(?=[.)](\s|$))|=+\s*$|-{2,}\s*$)")
"""What makes a heading, a list or a rule of a line that begins with it."""


def escape_markdown(text: str) -> str:
    """`text` on one line, with nothing in it that Markdown or HTML would act on."""
    out = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in "\\`*_~|[]":
        out = out.replace(sign, f"\\{sign}")
    begin = BLOCK.match(out)
    if begin is None:
        return out
    at = begin.end() if begin[1].isdigit() else begin.start(1)
    return f"{out[:at]}\\{out[at:]}"


def plain(text: str) -> str:
    """`text` on one line, without control characters: names come from outside, and a terminal obeys escape codes."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def yaml_text(text: str) -> str:
    """`text` as a quoted scalar of YAML, which takes JSON's (YAML 1.2, section 7.3.1), but not its pairs of surrogates."""
    return json.dumps(visible(text), ensure_ascii=False)
