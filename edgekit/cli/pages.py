"""The pages of the documentation as they ship with edgekit: `edgekit docs`, without a browser and without a network."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.config.shipped import shipped_folder
from edgekit.errors import BadInput

if TYPE_CHECKING:
    from typer import Context

__all__ = ["page_names", "page_text", "page_title", "sections"]

HEADING = re.compile(r"^(#{1,6}) +(.+?) *#*$")


def page_names() -> list[str]:
    """Names of all pages, without their ending: those of a folder after it, as in reference/recipe."""
    folder = shipped_folder("docs")
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.md"))


def page_text(name: str, context: Context) -> str:
    """The Markdown of a page, or with PAGE#SECTION of one section; what is generated is filled in.

    Raises:
        BadInput: no such page or section; the message has the nearest one.
    """
    from edgekit.cli.described import described

    page, mark, section = name.partition("#")
    text = described(filled_page(_known(page, page_names(), "page"), context))
    if not mark:
        return text
    found = sections(text)
    return found[_known(section, list(found), f"section in {page}")]


def page_title(name: str) -> str:
    """The first heading of a page."""
    with (shipped_folder("docs") / f"{name}.md").open(encoding="utf-8") as lines:
        return next(match[2] for line in lines if (match := HEADING.match(line.rstrip())))


def filled_page(name: str, context: Context) -> str:
    """A page with its generated parts, without the notes for its tests."""
    from edgekit.cli.reference import filled

    text = filled(Path(shipped_folder("docs") / f"{name}.md").read_text(encoding="utf-8"), context)
    return re.sub(r"^<!--.*?-->\n", "", text, flags=re.M | re.S)


def sections(text: str) -> dict[str, str]:
    """Anchor of each heading -> that heading with all that stands below it, up to the next of its level or a higher one."""
    lines = text.splitlines()
    heads: list[tuple[int, int, str]] = []
    fenced = False
    for number, line in enumerate(lines):
        fenced ^= line.startswith("```")
        if not fenced and (match := HEADING.match(line)):
            heads.append((number, len(match[1]), match[2]))
    found = {}
    for index, (begin, level, title) in enumerate(heads):
        end = next((number for number, other, _ in heads[index + 1 :] if other <= level), len(lines))
        found[anchor(title)] = "\n".join(lines[begin:end]).strip() + "\n"
    return found


def anchor(title: str) -> str:
    """A heading's anchor, as the site and repository hosts make it: lower case, words alone, joined by hyphens."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _known(name: str, names: list[str], what: str) -> str:
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise BadInput(f"no {what} named {name!r}", fix=f"{hint}Known: {', '.join(names)}.")
