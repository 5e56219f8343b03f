"""Changes of a finished bundle that whoever opens it must notice: flipped bits, bytes more or less, files or JSON values that change places."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.runtime.bundle.verify import verify
from edgekit.runtime.errors import EdgekitError
from edgekit.runtime.model import load

__all__ = ["KINDS", "OPENERS", "tamper"]

OPENERS: Mapping[str, Callable[[Path], object]] = {"load": load, "verify": verify}
"""Everything else that opens a bundle does it by one of these."""


def flip(data: bytes, draw: random.Random) -> bytes:
    """One bit is the other."""
    place = draw.randrange(8 * len(data))
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def delete(data: bytes, draw: random.Random) -> bytes:
    """Up to 8 bytes are gone."""
    place = draw.randrange(len(data))
    return data[:place] + data[place + draw.randint(1, 8) :]


def insert(data: bytes, draw: random.Random) -> bytes:
    """Up to 8 bytes are there as well."""
    place = draw.randint(0, len(data))
    return data[:place] + draw.randbytes(draw.randint(1, 8)) + data[place:]


def swap_values(data: bytes, draw: random.Random) -> bytes:
    """Two different values of a JSON document change places; it is written as it was before, or nearly."""
    document = json.loads(data)
    places = list(_leaves(document))
    while True:
        (one, first), (other, second) = draw.sample(places, 2)
        if one[first] != other[second]:
            break
    one[first], other[second] = other[second], one[first]
    indented = data.startswith(b"{\n")
    text = json.dumps(document, indent=1 if indented else None, ensure_ascii=False, separators=None if indented else (",", ":"))
    return text.encode()


def _leaves(part: Any) -> Iterator[tuple[Any, Any]]:
    """(list or object, index or key) of every value that is neither."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        if isinstance(value, dict | list):
            yield from _leaves(value)
        else:
            yield part, key


KINDS: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped bit": flip, "bytes deleted": delete, "bytes inserted": insert, "values swapped": swap_values,
}  # fmt: skip


def tamper(bundle: Path, kind: str, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Change `bundle`, a folder or an archive, `count` times in the way `kind`, each time from what it was, and open it each time.

    `kind` is one of `KINDS`, or "files swapped". Half of the files are chosen evenly and half by their size. Returns how many changes
    each file had, and those that an opener did not notice.
    """
    draw, tally, unnoticed = random.Random(seed), Counter[str](), list[str]()
    files = sorted(bundle.iterdir()) if bundle.is_dir() else [bundle]
    if kind == "values swapped":
        files = [path for path in files if path.suffix == ".json"]
    sizes = [path.stat().st_size for path in files]
    for number in range(count):
        if kind == "files swapped":
            one, other = draw.sample(files, 2)
            changed = {one: other.read_bytes(), other: one.read_bytes()}
        else:
            path = draw.choice(files) if number % 2 else draw.choices(files, sizes)[0]
            changed = {path: KINDS[kind](path.read_bytes(), draw)}
        with _changed(changed) as really:
            if not really:
                continue
            tally.update(path.name for path in changed)
            for name, opened in OPENERS.items():
                try:
                    opened(bundle)
                except EdgekitError:
                    continue
                unnoticed.append(
                    f"{name}: {kind}, number {number} of seed {seed}, {' and '.join(path.name for path in changed)}"
                )
    return tally, unnoticed


@contextmanager
def _changed(files: Mapping[Path, bytes]) -> Iterator[bool]:
    """Files with other contents for the time being; yields whether any differs."""
    before = {path: path.read_bytes() for path in files}
    for path, data in files.items():
        path.write_bytes(data)
    try:
        yield before != files
    finally:
        for path, data in before.items():
            path.write_bytes(data)
