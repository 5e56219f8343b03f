"""What a recipe names that may not be on this machine: public files, models and data sets of the hub; where each is, and all of it fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypedDict

from edgekit.compress.registry import find_method
from edgekit.config.recipe import Recipe, RowSource
from edgekit.data.hub import find_data_set, load_split, size_of_data_set
from edgekit.fetch.https import cached_file, download, size_of
from edgekit.fetch.mirror import find_file
from edgekit.fetch.space import check_space, existing
from edgekit.models.hub import fetch_checkpoint, find_checkpoint, is_hub_id, size_of_checkpoint
from edgekit.progress import Show

__all__ = ["Fetched", "Need", "check_disk", "fetch", "needs_of", "public_files", "shown_needs", "with_sizes"]

Origin = Literal["mirror", "cache", "network"]


class Fetched(TypedDict):
    """A need as `edgekit plan` prints it."""

    what: str
    name: str
    origin: str
    """"mirror", "cache" or "network"."""
    size: int | None
    """Bytes; None where nobody says."""
    stands_in: str
    """Why a mirror has something else; empty where it has not."""


@dataclass(frozen=True)
class Need:
    """One thing that a recipe names by address or hub id."""

    what: Literal["file", "model", "data set"]
    name: str
    """Address; hub id with its revision, or hub data set as the recipe has it."""
    origin: Origin
    path: Path | None = None
    """Where it is, if it is here."""
    sha256: str = ""
    """Of a file."""
    splits: tuple[str, ...] = ()
    """Of a data set, those that are read."""
    size: int | None = None
    """Bytes; None where nobody has said so."""
    stands_in: str = ""
    """Why the mirror has something else; empty where it has not."""

    def document(self) -> Fetched:
        """As JSON."""
        return {"what": self.what, "name": self.name, "origin": self.origin, "size": self.size, "stands_in": self.stands_in}


def needs_of(recipe: Recipe, folder: Path) -> list[Need]:
    """Everything that `recipe`, a file in `folder`, names and that is no path; each once. No network is asked.

    Raises:
        BadInput, CheckFailed: the mirror cannot be used, or holds another file than its index says.
    """
    needs: dict[str, Need] = {}
    for source, splits in _rows_of(recipe):
        if source.url is not None and source.sha256 is not None:
            needs.setdefault(source.sha256, _file(source.url, source.sha256))
        elif source.on_hub:
            name = str(source.path)
            before = needs.get(name)
            splits = tuple(dict.fromkeys([*(before.splits if before else ()), *splits]))
            found = find_data_set(name)
            origin: Origin = "network" if found is None else "mirror"
            needs[name] = Need("data set", name, origin, None if found is None else found.path, splits=splits)
    for name, revision in _checkpoints_of(recipe, folder):
        title = f"{name}@{revision}" if revision else name
        located = find_checkpoint(name, revision)
        if located is None:
            needs[title] = Need("model", title, "network")
        else:
            needs[title] = Need("model", title, located.origin, located.path, stands_in=located.stands_in)
    return list(needs.values())


def public_files(recipe: Recipe) -> Mapping[str, tuple[Path, str]]:
    """sha256 of the public files that are here -> (where, why it is another that stands in for it or "").

    Raises:
        BadInput, CheckFailed: as `needs_of`.
    """
    needs = [_file(source.url, source.sha256) for source, _ in _rows_of(recipe) if source.url and source.sha256]
    return {need.sha256: (need.path, need.stands_in) for need in needs if need.path is not None}


def with_sizes(needs: Iterable[Need]) -> list[Need]:
    """`needs` with the sizes of what has to be fetched, as far as servers answer within seconds, and of what is here."""
    return [_sized(need) for need in needs]


def check_disk(needs: Iterable[Need]) -> None:
    """Raises NotPossibleHere where a disk has not the space for what has to be fetched to it, as far as sizes are known."""
    wanted: dict[int, tuple[Path, int]] = {}
    for need in needs:
        if need.origin == "network" and need.size is not None:
            place = existing(_kept_in(need))
            disk = place.stat().st_dev
            wanted[disk] = (place, wanted.get(disk, (place, 0))[1] + need.size)
    for place, size in wanted.values():
        check_space(place, size)


def fetch(needs: Iterable[Need], show: Show) -> None:
    """Fetch what is not here.

    Raises:
        NotPossibleHere: the disk is too small, or a server or the hub does not give it.
        CheckFailed: what came is not what the recipe says.
    """
    missing = with_sizes(need for need in needs if need.origin == "network")
    check_disk(missing)
    for need in missing:
        with show.stage(f"fetch {need.name}") as progress:
            if need.what == "file":
                download(need.name, need.sha256, progress)
            elif need.what == "model":
                fetch_checkpoint(need.name)
            else:
                for split in need.splits:
                    load_split(need.name, split)
        show.line(f"  fetched  {need.name}")


def shown_needs(needs: Iterable[Fetched]) -> list[str]:
    """A line each for people."""
    return [
        f"{'to be fetched' if need['origin'] == 'network' else 'from the ' + need['origin']}: {need['name']}, {_bytes(need['size'])}"
        for need in needs
    ]


def _bytes(size: int | None) -> str:
    return "of a size that its server did not say" if size is None else f"{size / 1e6:,.1f} MB"


def _rows_of(recipe: Recipe) -> list[tuple[RowSource, tuple[str, ...]]]:
    """(source, splits that are read of a hub data set) of every source of rows."""
    data = recipe.data
    three = [(source, (name,)) for name in ("train", "validation", "test") if (source := getattr(data, name)) is not None]
    whole = [] if data.file is None else [(data.file, ("train",))]
    return [*whole, *three, *((source, ("train",)) for source in data.unlabelled or ())]


def _checkpoints_of(recipe: Recipe, folder: Path) -> list[tuple[str, str | None]]:
    """(hub id, revision) of the model, and of checkpoints that steps name."""
    named = [
        (name, None)
        for settings in recipe.compress
        for names in find_method(settings.method).named_checkpoints(settings).values()
        for name in names
    ]
    drafts = [(recipe.draft.id, None)] if recipe.draft is not None else []
    given = [(recipe.model.id, recipe.model.revision), *named, *drafts]
    return [(name, revision) for name, revision in given if name is not None and is_hub_id(name, folder)]


def _file(url: str, sha256: str) -> Need:
    if (found := find_file(sha256)) is not None:
        return Need("file", url, "mirror", found.path, sha256, size=found.size, stands_in=found.stands_in)
    cached = cached_file(sha256)
    if cached.is_file():
        return Need("file", url, "cache", cached, sha256, size=cached.stat().st_size)
    return Need("file", url, "network", None, sha256)


def _sized(need: Need) -> Need:
    if need.size is not None:
        return need
    if need.path is not None:
        return replace(need, size=sum(path.stat().st_size for path in need.path.rglob("*") if path.is_file()))
    sizes: dict[str, Callable[[str], int | None]] = {"file": size_of, "model": size_of_checkpoint, "data set": size_of_data_set}
    return replace(need, size=sizes[need.what](need.name))


def _kept_in(need: Need) -> Path:
    """Where what is fetched will lie."""
    if need.what == "file":
        return cached_file(need.sha256).parent
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME)
