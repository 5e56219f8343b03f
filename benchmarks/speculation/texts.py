"""The prompts: 60 whose answers quote them, with the answers that a model would give that does as it is told, and 60 with nothing to quote."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Asked", "coding", "free", "quoting"]

EACH = 20
MODULES = (
    "argparse", "bisect", "calendar", "cmd", "configparser", "csv", "difflib", "fractions", "gettext", "heapq", "imaplib", "inspect", "locale",
    "mailbox", "optparse", "pickle", "shlex", "statistics", "tarfile", "textwrap",
)  # fmt: skip
"""Of the standard library of the Python that runs this."""
LINES = 34, 26
"""Of a module that the prompt holds, and that follow."""


@dataclass(frozen=True)
class Asked:
    """One prompt."""

    kind: str
    """"extract", "edit", "code", "rename", "outline" or "free"."""
    prompt: str
    answer: str
    """What a model would say that does as it is told; "" where that is nothing in particular."""


def quoting(squad: Path, seed: int = 7) -> list[Asked]:
    """Twenty of each: sentences taken out of a passage, a passage with a word exchanged, and Python that goes on."""
    draw = random.Random(seed)
    with gzip.open(squad, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    passages: dict[str, list[str]] = {}
    """Text of the answer to each question on a passage."""
    for row in rows:
        if 500 <= len(row["context"]) <= 1200:
            passages.setdefault(row["context"], []).append(str(row["answers"]["text"][0]))
    texts = draw.sample(sorted(passages), 2 * EACH)
    extracts = [_extract(text, passages[text]) for text in texts[:EACH]]
    return [*extracts, *(_edit(text, draw) for text in texts[EACH:]), *(_code(name, draw) for name in MODULES)]


def coding(seed: int = 7) -> list[Asked]:
    """Twenty of each, of Python's standard library: stretches to be continued, with a name exchanged, and with their definitions named."""
    draw = random.Random(seed)
    return [make(name, draw) for make in (_code, _rename, _outline) for name in MODULES]


def free(wikipedia: Path, seed: int = 7) -> list[Asked]:
    """Beginnings of articles, which have nothing to quote yet."""
    draw = random.Random(seed)
    with lzma.open(wikipedia, "rt", encoding="utf-8") as file:
        articles = [str(json.loads(line)["text"]) for line in file]
    return [Asked("free", " ".join(text.split()[:50]), "") for text in draw.sample(articles, 3 * EACH)]


def _extract(text: str, answers: list[str]) -> Asked:
    sentences = re.split(r"(?<=[.!?]) +", text)
    wanted = [sentence for sentence in sentences if any(answer in sentence for answer in answers)] or sentences[:2]
    return Asked(
        "extract", f"{text}\n\nThe sentences that matter most:\n", "\n".join(f"- {sentence}" for sentence in wanted[:4])
    )


def _edit(text: str, draw: random.Random) -> Asked:
    """One word of the passage becomes another throughout."""
    words = sorted(set(re.findall(r"\b[A-Z][a-z]{3,}\b", text))) or ["the"]
    old, new = draw.choice(words), draw.choice(["Aldershot", "Montrose", "Elena", "Wednesday", "Copper"])
    return Asked("edit", f'{text}\n\nThe same text with "{new}" for "{old}":\n', re.sub(rf"\b{old}\b", new, text))


def _code(name: str, draw: random.Random) -> Asked:
    """A stretch of a module from some definition on, and what follows there."""
    before, after = _stretch(name, draw)
    return Asked("code", "\n".join(before) + "\n", "\n".join(after))


def _rename(name: str, draw: random.Random) -> Asked:
    """A stretch in which one name becomes another throughout."""
    text = "\n".join(_stretch(name, draw)[0])
    names = re.findall(r"\b[a-z_]{4,}\b", text)
    old = max(sorted({*names}), key=names.count)
    new = draw.choice(["payload", "origin", "cursor", "bundle", "member"])
    return Asked("rename", f"{text}\n\n# The same with {new} for {old}:\n\n", re.sub(rf"\b{old}\b", new, text))


def _outline(name: str, draw: random.Random) -> Asked:
    """A stretch, and the lines of it that define something."""
    lines = [line for part in _stretch(name, draw) for line in part]
    kept = [line for line in lines if line.lstrip().startswith(("def ", "class "))]
    return Asked("outline", "\n".join(lines) + "\n\n# All that is defined above:\n\n", "\n".join(kept))


def _stretch(name: str, draw: random.Random) -> tuple[list[str], list[str]]:
    """Lines of a module from some definition on, and those that follow."""
    lines = (Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text(encoding="utf-8").splitlines()
    starts = [at for at, line in enumerate(lines[: -sum(LINES)]) if line.lstrip().startswith(("def ", "class "))]
    at = draw.choice(starts)
    before, after = LINES
    return lines[at : at + before], lines[at + before : at + before + after]
