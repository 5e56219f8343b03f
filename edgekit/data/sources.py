"""Where the rows of a recipe come from, as [data] says it, with paths that hold from any folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal

from edgekit.config.recipe import Data, RowSource, Split
from edgekit.data.hub import on_hub
from edgekit.data.parts import files_of
from edgekit.data.reading import AS_NAMED, PACKINGS, Shape
from edgekit.runtime.jsontypes import JsonValue

__all__ = ["LEFT_OUT", "SPLITS", "SPLIT_WORDS", "Place", "Sources", "sources_of", "split_named"]

SPLITS = ("train", "validation", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What rows call a split, in small letters -> the split."""
LEFT_OUT = "none"
"""What a recipe says of a value whose rows are of no split."""


@dataclass(frozen=True)
class Place:
    """Where rows lie, and how they are read."""

    name: str
    """A path, which may be a pattern of several, or hub:owner/name; empty for a public file that is not here yet."""
    shape: Shape = AS_NAMED
    """What its name does not say of how it is read."""
    column: str = ""
    """Of unlabelled text, the name of its column, where that is not `text`."""
    sha256: str = ""
    """What the file has to have; empty where anything goes."""
    url: str = ""
    """Where a public file is."""
    stands_in: str = ""
    """Why a mirror's file has another sha256 than the public one that it stands in for; empty where it is that file."""

    @property
    def on_hub(self) -> bool:
        """Whether it is a hub data set."""
        return on_hub(self.name)

    @property
    def here(self) -> bool:
        """Whether it is a file that can be read now."""
        return bool(self.name) and not self.on_hub

    @property
    def files(self) -> list[Path]:
        """The files that are here.

        Raises:
            BadInput: a pattern that no file matches.
        """
        return files_of(self.name) if self.here else []

    @property
    def title(self) -> str:
        """What it is called: without the folders of this machine."""
        if self.on_hub:
            return self.name
        return self.url.rpartition("/")[2] or Path(self.name).name

    def document(self) -> JsonValue:
        """What is asked for, without the folders of this machine."""
        if not self.url and not self.sha256 and self.shape == AS_NAMED:
            return f"{self.title}#{self.column}" if self.column else self.title
        given = {"name": self.title, "column": self.column, "sha256": self.sha256, **self.shape.document()}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True)
class Sources:
    """Three files or hub splits, one file that is split, or a built-in corpus."""

    train: Place | None = None
    """None for a built-in corpus. So are the next two."""
    validation: Place | None = None
    test: Place | None = None
    unlabelled: tuple[Place, ...] = ()
    """More text, for distillation."""
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

    file: Place | None = None
    """Of all rows, which `split` makes three splits of."""
    split: Split | None = None
    """How; where there is a `file`, or one of `validation` and `test` is missing and is drawn from the training rows."""
    without_labels: bool = False
    """Whether rows have no answer, so that the original's own is what they are scored against."""
    lines: bool = False
    """Whether each line of a .txt file is a row, as tasks of encoders read it."""

    def of(self, split: str) -> Place | None:
        """The place of "train", "validation" or "test"."""
        return self.file or {"train": self.train, "validation": self.validation, "test": self.test}[split]

    def splits(self) -> list[Place]:
        """The places of the three splits, each once; none of a built-in corpus."""
        return list(dict.fromkeys(place for place in map(self.of, SPLITS) if place is not None))

    def every(self) -> list[Place]:
        """Every place once, those of unlabelled text too; none of a built-in corpus."""
        return list(dict.fromkeys([*self.splits(), *self.unlabelled]))

    def document(self) -> dict[str, JsonValue]:
        """What is asked for, with the names of files but not their folders on this machine."""
        if self.builtin:
            given: dict[str, JsonValue] = {"builtin": self.builtin, "seed": self.seed}
            return given | ({} if self.rows is None else {"rows": self.rows})
        given = {
            split: "" if place is None else place.document() for split, place in zip(SPLITS, map(self.of, SPLITS), strict=True)
        }
        if self.file is not None and self.split is not None:
            given = {"file": self.file.document(), "split": self.split.model_dump(exclude_none=True), "seed": self.seed}
        elif self.split is not None:
            given |= {"split": self.split.model_dump(exclude_none=True), "seed": self.seed}
        given |= {"unlabelled": [place.document() for place in self.unlabelled]} if self.unlabelled else {}
        given |= {"answers": "original"} if self.without_labels else {}
        given |= {"columns": dict(self.columns)} if self.columns else {}
        given |= {"labels": dict(self.labels)} if self.labels else {}
        given |= {"lines": True} if self.lines and any(map(_of_lines, self.every())) else {}
        return given | {"on_overlap": self.on_overlap}


def split_named(value: object, said: Mapping[str, str] = MappingProxyType({})) -> str | None:
    """The split that a value of a column names, or `LEFT_OUT`; None where it names none. `said`: what others mean."""
    if not isinstance(value, str):
        return None
    word = value.strip().casefold()
    return next((split for name, split in said.items() if name.strip().casefold() == word), SPLIT_WORDS.get(word))


def sources_of(
    data: Data, folder: Path, seed: int, *, lines: bool = False, here: Mapping[str, tuple[Path, str]] = MappingProxyType({})
) -> Sources:
    """The sources that a recipe in `folder` names; paths are meant relative to it. `lines`: each line of a .txt file is a row.
    `here`: sha256 of public files -> (where they lie on this machine, why that is another file that stands in for it or "")."""

    def place(source: RowSource | None) -> Place | None:
        return None if source is None else _place(source, folder, here)

    return Sources(
        place(data.train), place(data.validation), place(data.test), tuple(_place(source, folder, here) for source in data.unlabelled or ()),
        data.builtin or "", seed, data.rows, data.columns, data.labels, data.on_overlap, place(data.file),
        data.split if data.file or (None in (data.validation, data.test) and data.train) else None, data.without_labels, lines,
    )  # fmt: skip


def _place(source: RowSource, folder: Path, here: Mapping[str, tuple[Path, str]]) -> Place:
    shape = Shape(source.format or "", tuple(source.names or ()), tuple(source.members or ()))
    column, sha256 = source.column or "", source.sha256 or ""
    if source.url is None:
        name = str(source.path)
        return Place(name if on_hub(name) else os.path.realpath(folder / name), shape, column, sha256)
    path, stands_in = here.get(sha256, ("", ""))
    ending = shape.format or _ending(source.file_name)
    return Place(str(path), replace(shape, format=ending), column, sha256, source.url, stands_in)


def _ending(name: str) -> str:
    """The ending of a file's name without its dot, with that of its packing."""
    parts = PurePosixPath(name.lower()).suffixes
    count = 2 if parts and parts[-1] in PACKINGS else 1
    return "".join(parts[-count:]).removeprefix(".")


def _of_lines(place: Place) -> bool:
    return "txt" in place.shape.format.split(".") if place.shape.format else ".txt" in Path(place.name.lower()).suffixes
