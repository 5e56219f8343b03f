"""Where the rows of a recipe come from, as [data] says it, with paths that hold from any folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgekit.config.recipe import Data, Split
from edgekit.data.hub import on_hub
from edgekit.runtime.jsontypes import JsonValue

__all__ = ["SPLITS", "Sources", "sources_of"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Sources:
    """Three files or hub splits, one file that is split, or a built-in corpus."""

    train: str = ""
    """A path, or hub:owner/name; empty for a built-in corpus. So are the next two."""
    validation: str = ""
    test: str = ""
    unlabelled: tuple[str, ...] = ()
    """More text, for distillation: paths or hub names, each with the name of its text column behind a # where that is not `text`."""
    builtin: str = ""
    """Name of a built-in corpus."""
    seed: int = 7
    """Of a built-in corpus."""
    rows: int | None = None
    """Rows of a built-in corpus; None for as many as it has by itself."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the task -> its name in the files, where they differ."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label of the rows -> name of the model's output that it means, where they differ."""
    on_overlap: Literal["drop", "refuse"] = "drop"
    """What becomes of training rows that are also in validation or test."""

    file: str = ""
    """A path, or hub:owner/name, of all rows, which `split` makes three splits of."""
    split: Split | None = None
    """How; where there is a `file`."""
    without_labels: bool = False
    """Whether rows have no answer, so that the original's own is what they are scored against."""
    lines: bool = False
    """Whether each line of a .txt file is a row, as tasks of encoders read it."""

    def of(self, split: str) -> str:
        """The source of "train", "validation" or "test"."""
        return self.file or {"train": self.train, "validation": self.validation, "test": self.test}[split]

    def texts(self) -> list[tuple[str, str]]:
        """(source, name of its text column or "") of each source of unlabelled text."""
        parts = [source.rpartition("#") for source in self.unlabelled]
        return [(before, after) if mark else (after, "") for before, mark, after in parts]

    def every(self) -> list[str]:
        """Every source once; none of a built-in corpus."""
        return list(dict.fromkeys(filter(None, [*map(self.of, SPLITS), *(source for source, _ in self.texts())])))

    def document(self) -> dict[str, JsonValue]:
        """What is asked for, with the names of files but not their folders on this machine."""
        if self.builtin:
            given: dict[str, JsonValue] = {"builtin": self.builtin, "seed": self.seed}
            return given | ({} if self.rows is None else {"rows": self.rows})
        given = {split: _bare(self.of(split)) for split in SPLITS}
        if self.split is not None:
            given = {"file": _bare(self.file), "split": self.split.model_dump(), "seed": self.seed}
        given |= {"unlabelled": [_bare(source) for source in self.unlabelled]} if self.unlabelled else {}
        given |= {"answers": "original"} if self.without_labels else {}
        given |= {"columns": dict(self.columns)} if self.columns else {}
        given |= {"labels": dict(self.labels)} if self.labels else {}
        given |= (
            {"lines": True} if self.lines and any(".txt" in Path(source.lower()).suffixes for source in self.every()) else {}
        )
        return given | {"on_overlap": self.on_overlap}


def sources_of(data: Data, folder: Path, seed: int, *, lines: bool = False) -> Sources:
    """The sources that a recipe in `folder` names; paths are meant relative to it. `lines`: each line of a .txt file is a row."""

    def absolute(source: str | None) -> str:
        if not source or on_hub(source):
            return source or ""
        return str((folder / source).resolve())

    more = [data.unlabelled] if isinstance(data.unlabelled, str) else data.unlabelled or []
    return Sources(
        absolute(data.train), absolute(data.validation), absolute(data.test), tuple(map(absolute, more)), data.builtin or "", seed,
        data.rows, data.columns, data.labels, data.on_overlap, absolute(data.file), data.split if data.file else None,
        data.without_labels, lines,
    )  # fmt: skip


def _bare(source: str) -> str:
    return source if on_hub(source) else Path(source).name
