"""Text from outside as it may be shown: nothing in it acts on a terminal, and none of it is longer than somebody reads."""

from __future__ import annotations

import re

__all__ = ["shown", "visible"]

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, separators of lines, those that turn the direction of text, halves of surrogate pairs."""


def visible(text: str) -> str:
    """`text` with what a terminal would act on, or could not print, as Python writes it: \\x1b."""
    return text if text.isascii() and text.isprintable() else UNSEEN.sub(_escape, text.replace("\r\n", "\n"))


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def shown(text: str, most: int) -> str:
    """`text`, made `visible`; of what is longer than `most` characters its beginning and its end, with about how many were left out."""
    seen = visible(text) if len(text) <= most else ""
    if (seen and len(seen) <= most) or not text:
        return seen
    note = f" … {max(len(text), len(seen)) - most:,} characters … "
    begin = (most - len(note)) * 2 // 3
    end = most - len(note) - begin
    return f"{visible(text[:begin])[:begin]}{note}{visible(text[-end:])[-end:]}"
