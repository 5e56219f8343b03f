"""The result folder of one target: what lies in it, and how the packed files get there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.errors import BadInput
from edgekit.pipeline.pack_stage import PACKED
from edgekit.plan.plan import Plan, TargetPlan
from edgekit.progress import Show
from edgekit.report.made_from import RECIPE, made_from
from edgekit.runtime.files import check_name
from edgekit.runtime.outputs import check_output_folder, put_in_place
from edgekit.runtime.strict_json import read_json
from edgekit.store import remove

__all__ = [
    "ARCHIVE", "BENCH", "CHECKPOINT", "LINEAGE", "MARKDOWN", "REPORT", "RUNNER", "alone", "check_results", "lay_out", "point_to_checkpoint",
    "recipe_file", "result_folder", "target_file",
]  # fmt: skip

ARCHIVE, RUNNER = "bundle.tar.gz", "runner.pyz"
LARGEST = 64_000_000
"""Bytes of a lineage at most."""
LINEAGE, BENCH, REPORT, MARKDOWN = "lineage.json", "bench.json", "report.html", "report.md"
CHECKPOINT = "checkpoint"
"""A link to the checkpoint that a recipe's steps left, in the store, for another recipe to name."""


def result_folder(plan: Plan, item: TargetPlan, build: Path) -> Path:
    """Where the result of one target of `plan` lies."""
    return build / f"{plan.name}-{item.target.name}"


def check_results(plan: Plan, build: Path) -> None:
    """Refuse, before anything runs, results that could not be written, or that would overwrite those of another recipe.

    A result says which recipe it is of. Where that file is gone the recipe was moved, and its result is taken over.

    Raises:
        BadInput: `build` or a result folder cannot be written, is a file, or is of another recipe; two targets have one name.
        NotPossibleHere: the disk is full or can only be read.
    """
    check_output_folder(build, "--build")
    check_output_folder(build / "store", "--build")
    folders = [result_folder(plan, item, build) for item in plan.targets]
    if len(set(folders)) < len(folders):
        raise BadInput(
            f"the results of two targets would lie in {next(one for one in folders if folders.count(one) > 1)}", where="--target",
            fix="give each target once, and a `name` of its own",
        )  # fmt: skip
    for item, folder in zip(plan.targets, folders, strict=True):
        check_output_folder(folder, "--build")
        earlier = _lineage(folder)
        named = [part.get("name") if isinstance(part := earlier.get(key), dict) else None for key in ("recipe", "target")]
        file, ours = made_from(folder, RECIPE), recipe_file(plan, folder)
        check_name(ours)  # which is written there
        moved = file is None or (file.endswith(".toml") and not (folder / file).is_file())
        same_name, same_file = named in ([plan.name, item.target.name], [None, None]), file == ours or moved
        if not (same_name and same_file):
            of = str(file) if not same_file else f"{named[0]} for {named[1]}"
            raise BadInput(
                f"holds the result of another recipe, {of}, which {ours} would overwrite", where=str(folder),
                fix="rename one of the recipes, or keep their results apart with --build; delete the folder where its result is not needed",
            )  # fmt: skip


def recipe_file(plan: Plan, folder: Path) -> str:
    """The recipe's file as seen from the result in `folder`; of a recipe that ships with edgekit its name."""
    return plan.name if plan.file is None else os.path.relpath(plan.file.resolve(), folder.resolve())


def target_file(item: TargetPlan, folder: Path) -> str:
    """The same of the target's file."""
    return item.target.name if item.file is None else os.path.relpath(item.file.resolve(), folder.resolve())


def _lineage(folder: Path) -> dict[str, Any]:
    """What the result in `folder` says of itself; nothing where there is none that can be read."""
    try:
        document = read_json(folder / LINEAGE, most=LARGEST)
    except BadInput:
        return {}
    return document if isinstance(document, dict) else {}


def lay_out(packed: Path, folder: Path) -> bool:
    """Bring the packed files into the result folder; returns whether anything changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = False
    for name in (PACKED, ARCHIVE, RUNNER):
        source, target = packed / name, folder / name
        if _digest(source) == _digest(target):
            continue
        changed = True
        fresh = folder / f".{name}.new"
        remove(fresh)
        shutil.copytree(source, fresh) if source.is_dir() else shutil.copy(source, fresh)
        put_in_place(fresh, target)
        remove(fresh)
    return changed


def point_to_checkpoint(checkpoint: Path | None, folder: Path) -> None:
    """Make the link `CHECKPOINT` in the result `folder` lead to the folder `checkpoint`; None: there is no such link."""
    link, fresh = folder / CHECKPOINT, folder / f".{CHECKPOINT}.new"
    if checkpoint is None:
        if link.is_symlink():
            link.unlink()
        return
    remove(fresh)
    fresh.symlink_to(os.path.relpath(checkpoint.resolve(), folder.resolve()))
    put_in_place(fresh, link)
    remove(fresh)


@contextmanager
def alone(folder: Path, show: Show) -> Iterator[None]:
    """No other run writes the result in `folder` meanwhile; one that does is waited for. The system ends this with the process."""
    told = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    show.line(f"  waiting for another run that writes {folder}")
                told = True
                time.sleep(0.1)
                continue
            except OSError:  # a file system without locks
                pass
            if folder.is_dir() and os.path.samestat(os.fstat(held), folder.stat()):  # and it was not removed meanwhile
                yield
                return
        finally:
            os.close(held)


def _digest(path: Path) -> str | None:
    if path.is_dir():
        return json.dumps({entry.name: _digest(entry) for entry in sorted(path.iterdir())})
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
