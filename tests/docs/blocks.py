"""What the pages show in code: every fenced block with the note above it, the commands in it, and commands in running text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*).*\n(?P<text>(?:.*\n)*?)(?P=indent)```$", flags=re.M)
NOTE = re.compile(r"<!-- (?P<kind>parsed only|exit 1|exit 2|exit 3|written to)(?:: (?P<said>[^>]+?))? -->\n+$")


@dataclass(frozen=True)
class Block:
    """One fenced block. `note` is (kind, what is said) of the comment above it: how a test treats it."""

    page: str
    line: int
    language: str
    text: str
    note: tuple[str, str] | None

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[str]:
        """The lines that begin with `$ `, each with the lines that it goes on in and without the comment behind it."""
        joined = re.sub(r" *\\\n *", " ", self.text)
        return [without_comment(line[2:]) for line in joined.splitlines() if line.startswith("$ ")]


def without_comment(command: str) -> str:
    """`command` without what a shell takes for a comment."""
    return re.sub(r"\s+# .*$", "", command).strip()


def words(command: str) -> list[str]:
    return shlex.split(command)


def blocks_of(path: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        before = text[: found.start()]
        note = NOTE.search(before)
        yield Block(
            path.relative_to(ROOT).as_posix(), before.count("\n") + 1, found["language"], found["text"],
            None if note is None else (note["kind"], (note["said"] or "").strip()),
        )  # fmt: skip


def inline_commands(path: Path) -> list[str]:
    """Commands of edgekit in running text, as in `edgekit ls targets`."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return [" ".join(found.split()) for found in re.findall(r"`(edgekit [^`]+)`", text)]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
