"""Rows of images or sounds as a draft sees them: columns that hold files, and folders of such files, one for each label.

A draft looks at one file of them: the others stand there as that one does, so that a data set of photos is not read to be named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgekit.data.columns import usable_value
from edgekit.data.formats import image, records, sound
from edgekit.data.images import FILES, with_files
from edgekit.data.parts import files_of
from edgekit.data.reading import Record
from edgekit.errors import BadInput

__all__ = ["class_folders", "folders_in", "held_in", "is_held", "pattern_of", "rows_of_files", "standing_in", "unheld_in"]

KINDS = {"image": image.FORMAT.endings, "audio": sound.FORMAT.endings}
"""Column -> endings of the files that it holds."""
TRIED = 20
"""Files of which the first that can be used stands for all."""
SHOWN = 6
"""Files or folders that a message names."""


def is_held(path: Path) -> bool:
    """Whether a file is an image or a sound, by its name: a row by itself."""
    return _kind(path) is not None


def pattern_of(files: Sequence[Path], home: Path, *, folders: bool = False) -> str:
    """What names all of `files`, in `home` or, with `folders`, in folders there."""
    endings = {path.suffix for path in files}
    name = f"*{endings.pop()}" if len(endings) == 1 else "*.*"
    return str(home / "*" / name if folders else home / name)


def class_folders(home: Path, splits: Mapping[str, re.Pattern[str]]) -> dict[str, str]:
    """Key of [data] -> the pattern of its files in `home`, as torchvision's ImageFolder and the imagefolder of datasets have them:
    home/LABEL/FILE, or home/SPLIT/LABEL/FILE; none where no folder there holds images or sounds.

    `splits`: how the names of folders of a split begin.

    Raises:
        BadInput: files of other kinds among them, folders within those of labels, a split that several folders, or none to train on, are
            of; all at once.
    """
    inner = folders_in(home)
    named = {key: [one for one in inner if words.match(one.name) and _holds_classes(one)] for key, words in splits.items()}
    of_splits = [folder for folders in named.values() for folder in folders]
    if not of_splits:
        if not _holds_classes(home):
            return {}
        if faults := _faults(home):
            raise _unclear(home, faults)
        return {"file": _pattern(home)}
    names = ", ".join(folder.name for folder in of_splits)
    faults = [] if named.get("train") else [f"no folder to train on, only {names}"]
    faults += [
        f"{folder.name}: no folder of a split, beside {names}"
        for folder in inner
        if folder not in of_splits and any(folder.iterdir())
    ]
    faults += [
        f"{', '.join(folder.name for folder in folders)}: several folders for {key}"
        for key, folders in named.items()
        if len(folders) > 1
    ]
    faults += [fault for folder in of_splits for fault in _faults(folder)]
    if faults:
        raise _unclear(home, faults)
    return {key: _pattern(folders[0]) for key, folders in named.items() if folders}


def _holds_classes(folder: Path) -> bool:
    """Whether a folder within it holds images or sounds."""
    return any(map(is_held, _in_folders(folder)))


def _pattern(home: Path) -> str:
    return pattern_of(_in_folders(home), home, folders=True)


def _faults(home: Path) -> list[str]:
    """What is not a file of one kind in a folder of its label in `home`."""
    files = _in_folders(home)
    kinds = {kind for path in files if (kind := _kind(path)) is not None}
    faults = [f"{home.name}: images and sounds together"] if len(kinds) > 1 else []
    faults += [f"{_shown(path, home)}: neither an image nor a sound that is read" for path in files if not is_held(path)]
    faults += [f"{_shown(path, home)}: beside the folders of labels" for path in _files(home) if is_held(path)]
    faults += [
        f"{_shown(inner, home)}: a folder within that of a label"
        for folder in folders_in(home)
        for inner in folders_in(folder)
        if any(path.is_file() for path in inner.rglob("*"))
    ]
    return faults


def _unclear(home: Path, faults: list[str]) -> BadInput:
    more = len(faults) - SHOWN
    return BadInput(
        "folders of images or sounds whose labels cannot be told", where=str(home),
        faults=[*faults[:SHOWN], *([f"and {more:,} more"] if more > 0 else [])],
        fix="put every file into the folder of its label, as LABEL/FILE, or SPLIT/LABEL/FILE with train, validation and test, and all else "
        "elsewhere",
    )  # fmt: skip


def _in_folders(home: Path) -> list[Path]:
    return [path for folder in folders_in(home) for path in _files(folder)]


def folders_in(folder: Path) -> list[Path]:
    """The folders in `folder`, but for hidden ones, by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")


def _kind(path: Path) -> str | None:
    """The column that would hold a file, by its name."""
    return next((column for column, endings in KINDS.items() if path.suffix.lower() in endings), None)


def _shown(path: Path, home: Path) -> str:
    return os.fspath(path.relative_to(home.parent))


def rows_of_files(source: str) -> list[dict[str, object]] | None:
    """Rows of the images or sounds that a path or pattern names, each with the file of the first that can be used, and the folder that it is in
    as its label where the pattern says of folders; None where it names other files.

    Raises:
        BadInput: none of the first ones can be used.
    """
    files = files_of(source)
    if not all(map(is_held, files)):
        return None
    labelled, faults = "*" in Path(source).parent.name, []
    for path in files[:TRIED]:
        record = next(records(path))
        if held := held_in(record, path.parent):
            return [{**held, **({"label": path.parent.name} if labelled else {})} for path in files]
        column = str(_kind(path))
        faults.append(f"{path.name}: {usable_value(column, record.values[column])[1]}")
    raise BadInput(
        "no image or sound that can be used", where=source, faults=faults[:SHOWN], fix="give files that can be opened"
    )


def held_in(first: Record, folder: Path) -> dict[str, object]:
    """Columns of `first`, a record of rows in `folder`, that hold a file of an image or a sound, or name one, each with that file."""
    held: dict[str, object] = {}
    for name in first.values if first.fault is None else ():
        (record,) = with_files([first], name, folder)
        value = record.values.get(name)
        if any(usable_value(column, value)[1] is None for column in FILES):
            held[name] = value
    return held


def unheld_in(first: Record, folder: Path) -> dict[str, str]:
    """Columns of `first`, a record of rows in `folder`, that name an image or a sound which cannot be read -> why."""
    named = {name for name, value in first.values.items() if isinstance(value, str) and is_held(Path(value))}
    tried = {name: next(with_files([first], name, folder)) for name in named}
    return {name: record.fault for name, record in tried.items() if record.fault is not None}


def standing_in(given: Iterator[Record], held: Mapping[str, object]) -> Iterator[Record]:
    """`given` with the files `held` in the place of each one's own."""
    for record in given:
        values = {name: held.get(name, value) for name, value in record.values.items()}
        yield Record(record.line, values, record.fault, record.duplicates) if held else record
