"""The rows that a recipe is drafted for: one file of them, or a folder."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit.data.formats import endings, records
from edgekit.data.formats.conll import TAG
from edgekit.data.formats.json_document import read_document, rows_of_table
from edgekit.data.formats.squad import articles_of
from edgekit.data.hub import hub_records, on_hub
from edgekit.data.parts import files_of
from edgekit.data.reading import AS_NAMED, NO_ROWS, PACKINGS, Record, Shape, read_lines
from edgekit.data.sources import SPLITS, split_named
from edgekit.draft.file_tables import tables_of_files
from edgekit.draft.fit import Table
from edgekit.draft.held_files import class_folders, held_in, is_held, pattern_of, rows_of_files, standing_in, unheld_in
from edgekit.draft.seen import Seen
from edgekit.errors import BadInput
from edgekit.runtime.jsontypes import JsonValue

__all__ = ["CALLED", "NAMED", "Rows", "read_for_draft"]

LOOKED_AT = 5000
"""Rows that columns are found in: of a longer file, rows at even distances, as many files are sorted by label."""
READ = 200_000
"""Rows of a file that are read for that; more are counted."""
SPLIT = Seen(
    "data.split",
    "70 / 15 / 15 %",
    "one file, split by the seed: each label in its share, the same text in one split; give rows that the model was not trained on",
)
SPLIT_FILES = Seen(
    "data.split",
    "70 / 15 / 15 %",
    "no folder of a split, so by the seed: each label in its share, the same file in one split; give those that the model was not trained on",
)
SAVED = ("dataset_dict.json", "state.json")
"""Files that save_to_disk of the library datasets writes beside its Arrow files."""
NOTES = re.compile(r"(?i)(?:readme|licen[cs]e|source|citation|notice|copying)[^.]*\.txt$")
"""Names of texts about a data set, which are none of it where there are other files."""
HEAD = 200
"""Lines of a file that say whether it is what its name says."""
SHOWN = 6
"""Files that a message names."""
NAMED = {
    split: re.compile(rf"(?i)(?:.*[^a-z])?(?:{words})(?![a-z])")
    for split, words in (("train", "train|training"), ("validation", "validation|valid|val|dev|eval"), ("test", "test|testing"))
}
"""Split -> how the names of its files or lists begin, or a word in them."""
DRAWN = 0.15
"""Share of the training rows that a split is which has no file, as [data.split] has it."""
CALLED = re.compile(r"(?i)(?:.*[^a-z])?(?:split|subset|partition|set)(?:[^a-z].*)?|(?:data|dev|test)set")
"""What columns of splits are called."""
TRAINED = 0.7
"""Share of the rows of one file that is trained on."""


@dataclass(frozen=True)
class Place:
    """A source of rows, as [data] has it."""

    path: str
    more: Mapping[str, JsonValue] = field(default_factory=dict)
    """What its table says beside the path, as in `RowSource`."""


@dataclass(frozen=True)
class Rows:
    """Rows as a file has them."""

    every: Table
    """Up to `READ` of them."""
    count: int
    """Of all."""
    trained: int
    """Of those that are trained on."""
    tested: int
    """Of those that are scored."""
    split: Seen
    """How they come to be three splits."""
    places: Mapping[str, Place]
    """Key of [data] -> where these rows lie."""
    doubled: tuple[str, ...] = ()
    """Names that several columns have, none of which can be read."""
    unheld: Mapping[str, str] = field(default_factory=dict)
    """Column that names an image or a sound in the first row -> why it cannot be read."""

    @property
    def one_table(self) -> bool:
        """Whether rows are of one file, which a column of it may split."""
        return set(self.places) == {"file"} and self.split is not SPLIT_FILES

    @property
    def split_columns(self) -> list[str]:
        """The columns of one file whose values name splits: train and another, in most rows, or one of them in a column that is called so."""
        if not self.one_table:
            return []
        found = []
        for name in {name: None for row in self.looked_at for name, value in row.items() if split_named(value) is not None}:
            splits = Counter(split_named(row.get(name)) for row in self.every)
            known = {split for split in splits if split is not None}
            most = 2 * splits[None] <= len(self.every)
            if ("train" in known and len(known) > 1 and most) or (CALLED.fullmatch(name) and (len(known) > 1 or splits[None])):
                found.append(name)
        return found

    def values_of(self, column: str) -> Counter[str]:
        """What a column of splits holds, and how often."""
        return Counter(str(row.get(column) if row.get(column) is not None else "").strip() for row in self.every)

    def without(self, column: str) -> Table:
        """Those that columns are found in, without one."""
        return [{name: value for name, value in row.items() if name != column} for row in self.looked_at]

    def as_named(self, column: str, said: Mapping[str, str]) -> Rows:
        """The same, split as a column says. `said`: what values mean that are no name of a split."""
        counted = Counter(split_named(row.get(column), said) for row in self.every)
        counts = {split: round(counted[split] * self.count / len(self.every)) for split in SPLITS if split in counted}
        trained, tested, seen = _shares(counts, f"as the column {column!r} says")
        return replace(self, trained=trained, tested=tested, split=seen)

    @property
    def looked_at(self) -> Table:
        """Those that columns are found in."""
        return self.every[:: max(1, len(self.every) // LOOKED_AT)]


def read_for_draft(data: str) -> Rows:
    """The sound rows of a file, of several that a pattern names, of a folder with files for each split or parts of one, or of a hub data set
    (hub:owner/name@revision#config).

    Raises:
        BadInput: they cannot be read, or hold none; a folder whose files do not say what they are.
        NotPossibleHere: the hub cannot be reached.
    """
    if on_hub(data):
        return _read_hub(data)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", data):
        raise BadInput(
            "an address, and not a file that is here",
            where=data,
            fix="fetch it (curl -LO) and name the file; a recipe takes an address with its sha256, as in file = { url = ..., sha256 = ... }",
        )
    folder = Path(data)
    if folder.is_dir():
        return _read({key: (source, None) for key, source in _places(folder).items()}, "by the names of its files or folders")
    splits = _splits_of(folder)
    return _read({key: (data, shape) for key, shape in splits.items()} or {"file": (data, None)}, "by the names of the lists")


def _read(places: Mapping[str, tuple[str, Shape | None]], named: str) -> Rows:
    """The rows of `places`: key of [data] -> (path or pattern, how it is read, where that is known already). `named`: which is which, by what."""
    every: list[Mapping[str, object]] = []
    counts: dict[str, int] = {}
    found: dict[str, Place] = {}
    doubled: dict[str, None] = {}
    unheld: dict[str, str] = {}
    files_alone = True
    for key, (source, known) in places.items():
        if known is None and (made := rows_of_files(source)) is not None:
            every += made[:READ]
            counts[key], found[key] = len(made), Place(source)
            continue
        files_alone = False
        files = files_of(source)
        shape = known or _shape_of(files[0])
        unsound: list[Record] = []
        sound = _sound((one for file in files for one in _light(file, shape)), unsound)
        taken = list(itertools.islice(sound, READ))
        if not taken and unsound:
            raise BadInput(f"no row can be used: {unsound[0].fault}", where=f"{source}:{unsound[0].line}")
        if not taken:
            raise BadInput("holds no rows", where=source, fix=NO_ROWS)
        every += [one.values for one in taken]
        unheld |= unheld_in(taken[0], files[0].parent)
        doubled |= dict.fromkeys(name for one in taken for name in one.duplicates)
        counts[key] = len(taken) + sum(1 for _ in sound)
        found[key] = Place(source, {name: value for name, value in shape.document().items() if value})
    return Rows(every, sum(counts.values()), *_shares(counts, named, files=files_alone), found, tuple(doubled), unheld)


def _light(file: Path, shape: Shape) -> Iterator[Record]:
    """The records of a file; of images and sounds in them that of the first sound record, which stands for all."""
    given, begun = records(file, lines=True, shape=shape), list[Record]()
    for record in given:
        begun.append(record)
        if record.fault is None:
            break
    held = held_in(begun[-1], file.parent) if begun else {}
    if not held:
        return itertools.chain(begun, given)
    others = [name for name in begun[-1].values if name not in held]
    return standing_in(records(file, lines=True, columns=others, shape=shape), held)


def _sound(given: Iterable[Record], unsound: list[Record]) -> Iterator[Record]:
    """The records that can be used; the first of the others goes to `unsound`."""
    for one in given:
        if one.fault is None:
            yield one
        elif not unsound:
            unsound.append(one)


def _read_hub(source: str) -> Rows:
    """The rows of a hub data set, in as many of the splits as it has; where it has one alone, that is split."""
    every: list[Mapping[str, object]] = []
    counts: dict[str, int] = {}
    for split in SPLITS:
        try:
            found = [record.values for record in hub_records(source, split)]
        except BadInput:
            if split == "train":
                raise
            continue
        every += found[:READ]
        counts[split] = len(found)
    if len(counts) == 1:
        counts = {"file": counts["train"]}
    return Rows(every, sum(counts.values()), *_shares(counts, "as the data set has them"), dict.fromkeys(counts, Place(source)))


def _shares(counts: Mapping[str, int], named: str, *, files: bool = False) -> tuple[int, int, Seen]:
    """(rows to train on, rows to score, how they come to be three splits), of the rows of each key; `named`: what says which is which.
    `files`: whether rows are files themselves."""
    if "file" in counts:
        trained = round(TRAINED * counts["file"])
        return trained, (counts["file"] - trained) // 2, SPLIT_FILES if files else SPLIT
    shown = " / ".join(f"{counts[split]:,}" for split in SPLITS if split in counts)
    drawn = next((split for split in SPLITS if split not in counts), None)
    if drawn is None:
        return (
            counts["train"],
            counts["test"],
            Seen("data, splits", shown, f"rows to train on, to choose by and to score: {named}"),
        )
    share = round(DRAWN * counts["train"])
    why = f"{named}; {drawn} has none, and is {DRAWN:.0%} of the training rows, drawn by the seed"
    return counts["train"] - share, counts.get("test", share), Seen("data, splits", shown, why)


def _places(folder: Path) -> dict[str, str]:
    """Key of [data] -> path or pattern, for the data files of a folder.

    Raises:
        BadInput: none, or files of several kinds that no name tells apart.
    """
    if any((folder / name).is_file() for name in SAVED):
        raise BadInput(
            "a data set as datasets' save_to_disk writes it, which is not read",
            where=str(folder),
            fix=f"write it as Parquet, a file for each split: datasets.load_from_disk({str(folder)!r}) has to_parquet, as has each split of it",
        )
    inner = folder / "data"  # where data sets of the hub have them
    for home in (folder, *([inner] if inner.is_dir() else [])):
        if by_table := tables_of_files(home, NAMED, lambda path: records(path, shape=_shape_of(path))):
            return by_table
    for home in (folder, *([inner] if inner.is_dir() else [])):
        if by_label := class_folders(home, NAMED):
            return by_label
    files = _data_files(folder) or (_data_files(inner) if inner.is_dir() else [])
    tables = [path for path in files if not is_held(path)]
    if files and not tables:  # rows that are files themselves, of which no name tells a split
        return {"file": pattern_of(files, files[0].parent)}
    files = [path for path in tables if not NOTES.match(path.name)] or tables  # a table may name the others
    if not files:
        fix = f"name a file, or put files of one kind there: {', '.join(endings())}"
        inner_folders = sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*.txt")))[:SHOWN]
        if inner_folders:
            fix = f"a text a file, in a folder for each label ({', '.join(inner_folders)}), is not read: write one table of them, such as a "
            fix += '.jsonl file with {"text": "...", "label": "..."} a line'
        raise BadInput("no data files", where=str(folder), fix=fix)
    by_split = {
        split: [files[0].parent / name for name in names] for split, names in _by_split(path.name for path in files).items()
    }
    if "train" in by_split and "file" not in by_split and len(by_split) > 1:
        return {split: _source(by_split[split]) for split in SPLITS if split in by_split}
    if set(by_split) == {"file"} or len(files) == 1:
        return {"file": _source(files)}
    shown = ", ".join(path.name for path in files[:SHOWN]) + (f" and {len(files) - SHOWN} more" if len(files) > SHOWN else "")
    raise BadInput(
        f"which files are for training, and which to score with, cannot be told: {shown}", where=str(folder),
        fix="call them train.csv, validation.csv and test.csv, or name one file, or those that belong together, as in "
        f"--data '{folder / '*'}{files[0].suffix}'",
    )  # fmt: skip


def _data_files(folder: Path) -> list[Path]:
    known = tuple(f"{ending}{packing}" for ending in endings() for packing in ("", *PACKINGS))
    return sorted(
        path for path in folder.iterdir() if path.is_file() and path.name.lower().endswith(known) and path.name[0] != "."
    )


def _source(files: list[Path]) -> str:
    """The path of one file, or the pattern that `files` alone match.

    Raises:
        BadInput: none does.
    """
    if len(files) == 1:
        return str(files[0])
    names, ending = [path.name for path in files], "".join(files[0].suffixes)
    stems = [name.removesuffix(ending) for name in names]
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*stems, strict=False))
    pattern = files[0].parent / f"{''.join(letters[0] for letters in alike)}*{ending}"
    if all(name.endswith(ending) for name in names) and files_of(str(pattern)) == files:
        return str(pattern)
    raise BadInput(
        f"{', '.join(names[:SHOWN])} are files of several kinds, or others have names like theirs", where=str(files[0].parent),
        fix="keep the files of one data set in a folder of their own, all of one kind",
    )  # fmt: skip


def _shape_of(path: Path) -> Shape:
    """How a file is read whose name does not say it, or says what it is not: SQuAD's own JSON, an object with a list of rows, rows of JSON in
    a file called a table or a document, a document called rows, and CoNLL's lines in a text or a table."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes[-1] if suffixes[-1:] and suffixes[-1] in PACKINGS else ""
    ending = next(iter((suffixes[:-1] if packing else suffixes)[-1:]), "")
    if ending in (".csv", ".tsv", ".jsonl", ".ndjson", ".txt"):
        head = [line for line in itertools.islice(read_lines(path, packing, parts=True), HEAD) if line.strip()]
        if head and head[0].lstrip()[0] in "[{" and ending != ".txt":
            as_rows, as_document = Shape(f"jsonl{packing}"), Shape(f"json{packing}")
            if ending in (".csv", ".tsv") and _first_sound(path, as_rows):
                return as_rows
            if not _first_sound(path, as_rows) and _first_sound(path, as_document):
                return as_document
        return Shape(f"conll{packing}") if ending in (".txt", ".tsv") and _tagged(head) else AS_NAMED
    if ending != ".json":
        return AS_NAMED
    try:
        document = read_document(path, packing)
    except BadInput:
        if _first_sound(path, Shape(f"jsonl{packing}")):
            return Shape(f"jsonl{packing}")
        raise
    if articles_of(document) is not None:
        return Shape(f"squad{packing}")
    if isinstance(document, list):
        return Shape(names=_numbered(document))
    lists = _lists_of_rows(document)
    return Shape(members=(next(iter(lists)),), names=_numbered(*lists.values())) if len(lists) == 1 else AS_NAMED


def _lists_of_rows(document: object) -> dict[str, list[object]]:
    """Lists of an object that may be rows, by their names; none where it is a table as a whole."""
    if not isinstance(document, dict) or rows_of_table(document) is not None:
        return {}
    return {
        name: value
        for name, value in document.items()
        if isinstance(value, list) and value and (isinstance(value[0], dict) or _numbered(value))
    }


def _numbered(*lists: list[object]) -> tuple[str, ...]:
    """Names for the columns of rows that are lists, as many in each; none where they are not."""
    counts = {len(row) if isinstance(row, list) else 0 for rows in lists for row in rows}
    return tuple(f"column {number + 1}" for number in range(counts.pop())) if len(counts) == 1 else ()


def _splits_of(path: Path) -> dict[str, Shape]:
    """Key of [data] -> how its rows are read of a JSON document that holds a list for each split; none of another file."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKINGS else ""
    if suffixes[-1:] != [".json"] or not path.is_file():
        return {}
    with suppress(BadInput):
        document = read_document(path, packing)
        lists = _lists_of_rows(document) if articles_of(document) is None else {}
        by_split = _by_split(lists)
        if "train" in by_split and "file" not in by_split and len(by_split) > 1:
            names = _numbered(*lists.values())
            return {split: Shape(members=tuple(by_split[split]), names=names) for split in SPLITS if split in by_split}
    return {}


def _by_split(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of files or lists by the split that they name; those that name none under "file"."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(next((split for split, words in NAMED.items() if words.match(name)), "file"), []).append(name)
    return found


def _first_sound(path: Path, shape: Shape) -> bool:
    """Whether the first record of a file can be used, read in this shape."""
    with suppress(BadInput):
        first = next(records(path, shape=shape), None)
        return first is not None and first.fault is None
    return False


def _tagged(head: list[str]) -> bool:
    """Whether lines are words with tags of entities in their last column, as many columns in each."""
    words = [line.split("\t") if "\t" in line else line.split() for line in head if not line.startswith(("-DOCSTART-", "#"))]
    same = len({len(columns) for columns in words}) == 1 and len(words[0]) > 1
    return same and all(TAG.fullmatch(columns[-1].strip()) for columns in words)
