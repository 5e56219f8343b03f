"""What a shell completes: names that ship with edgekit, each with its title, and files where a path works too."""

from __future__ import annotations

from pathlib import Path

__all__ = ["catalogues", "pages", "recipes", "schemas", "targets", "tasks"]

Completions = list[tuple[str, str]]
"""Each possible word with what it is."""


def recipes(incomplete: str) -> Completions:
    """Shipped recipes, and .toml files."""
    return _listed("recipes", incomplete) + _toml(incomplete)


def targets(incomplete: str) -> Completions:
    """Shipped targets, and .toml files."""
    return _listed("targets", incomplete) + _toml(incomplete)


def tasks(incomplete: str) -> Completions:
    """The tasks."""
    return _listed("tasks", incomplete)


def catalogues(incomplete: str) -> Completions:
    """What `ls` lists."""
    from edgekit.cli.catalogue import KINDS

    return [(kind, "") for kind in KINDS if kind.startswith(incomplete)]


def schemas(incomplete: str) -> Completions:
    """What has a schema."""
    from edgekit.cli.catalogue import SCHEMAS

    return [(kind, "") for kind in SCHEMAS if kind.startswith(incomplete)]


def pages(incomplete: str) -> Completions:
    """The pages of the documentation."""
    from edgekit.cli.pages import page_names, page_title

    return [(name, page_title(name)) for name in page_names() if name.startswith(incomplete)]


def _listed(kind: str, incomplete: str) -> Completions:
    from edgekit.cli.catalogue import catalogue

    return [(row["name"], row["title"]) for row in catalogue(kind) if row["name"].startswith(incomplete)]


def _toml(incomplete: str) -> Completions:
    """Files and folders that begin so; nothing where nothing was typed yet, as names come first."""
    if not incomplete:
        return []
    folder, _, begin = incomplete.rpartition("/")
    head = incomplete[: len(incomplete) - len(begin)]
    try:
        found = sorted(path for path in Path(folder or ("/" if head else ".")).iterdir() if path.name.startswith(begin))
    except OSError:
        return []
    return [
        (f"{head}{path.name}{'/' if path.is_dir() else ''}", "")
        for path in found
        if path.suffix == ".toml" or (path.is_dir() and begin)
    ]
