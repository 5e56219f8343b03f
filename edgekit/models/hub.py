"""Checkpoints of the hub: in a mirror, in huggingface_hub's cache, or fetched by it, with its settings (HF_HOME, HF_ENDPOINT, HF_TOKEN,
HF_HUB_OFFLINE)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.errors import BadInput, NotPossibleHere
from edgekit.fetch.hub import first_answer, in_words, size_on_hub
from edgekit.fetch.mirror import MIRROR, find_folder
from edgekit.fetch.space import check_space
from edgekit.models.sentence import transformer_folder
from edgekit.models.shards import PICKLES, weight_files

__all__ = [
    "Located",
    "fetch_checkpoint",
    "find_checkpoint",
    "is_hub_id",
    "named_revision",
    "no_such_folder",
    "size_of_checkpoint",
]

HUB_ID = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*(?:@[\w./-]+)?", re.ASCII)
"""owner/name, perhaps with @revision."""
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
"""Everything but weights in other formats, so that a pickle-only model is seen as one and refused."""


@dataclass(frozen=True)
class Located:
    """A checkpoint of the hub on this machine."""

    path: Path
    origin: Literal["mirror", "cache"]
    stands_in: str = ""
    """Why its files are not the hub's; empty where they are."""


def named_revision(name: str, revision: str | None = None) -> tuple[str, str | None]:
    """(owner/name, revision) of a hub id that may end in its revision, as in owner/name@revision."""
    before, _, pinned = name.partition("@")
    return before, revision or pinned or None


def is_hub_id(name: str, folder: Path) -> bool:
    """Whether `name`, given in `folder`, can be an id of the hub, owner/name at most, and is no path."""
    return HUB_ID.fullmatch(name) is not None and not (folder / name).exists()


def no_such_folder(path: Path, fix: str) -> BadInput:
    """What is said of a path, by `is_hub_id`, that is no folder."""
    return BadInput("a file, and no model folder" if path.exists() else "no such model folder", where=str(path), fix=fix)


def find_checkpoint(name: str, revision: str | None = None) -> Located | None:
    """The checkpoint `name`, where it is here and whole; no network is asked.

    Raises:
        BadInput: the mirror has no index, or several revisions and none is asked for.
        CheckFailed: the mirror's files are not what its index says.
    """
    name, revision = named_revision(name, revision)
    found = find_folder("models", name, revision)
    if found is not None:
        return Located(found.path, "mirror", found.stands_in)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
        inner = transformer_folder(folder)
        whole = (inner / "config.json").is_file() and (weight_files(inner) or any(any(inner.glob(kind)) for kind in PICKLES))
    except (HFValidationError, LocalEntryNotFoundError, OSError, BadInput):  # BadInput: some of its files are here
        return None
    return Located(folder, "cache") if whole else None


def fetch_checkpoint(name: str, revision: str | None = None) -> Path:
    """The folder of checkpoint `name`: of the mirror, or of the hub's cache once all is there.

    Raises:
        BadInput, CheckFailed: as `find_checkpoint`.
        NotPossibleHere: the hub does not give it, or the disk is too small for it.
    """
    name, revision = named_revision(name, revision)
    if (found := find_folder("models", name, revision)) is not None:
        return found.path
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    here, fault = find_checkpoint(name, revision), first_answer("models", name, revision, PATTERNS)
    if isinstance(fault, int):
        if here is None:
            check_space(Path(constants.HF_HUB_CACHE), fault)
        try:
            return Path(snapshot_download(name, revision=revision, allow_patterns=PATTERNS))
        except Exception as raised:  # as in `first_answer`
            fault = raised
    if here is not None and not isinstance(fault, HfHubHTTPError):
        return here.path
    raise NotPossibleHere(
        f"not a folder here, and the hub did not give it: {in_words('models', fault)}",
        where=f"{name}@{revision}" if revision else name,
        fix=f"check the id and the network, or name a local folder, or one that has it in {MIRROR} (edgekit mirror FOLDER)",
        see="the-hub-did-not-give-it",
    ) from fault


def size_of_checkpoint(name: str, revision: str | None = None) -> int | None:
    """Bytes that fetching it would take, as the hub says; None where it does not answer."""
    name, revision = named_revision(name, revision)
    return size_on_hub("models", name, revision, PATTERNS)
