"""Mutations of files: of bytes, of lines and words, and by the structure of JSON, of archives and of protobuf messages (ONNX)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random

from tests.fuzz.edit_json import edit_json
from tests.fuzz.edit_protobuf import edit_protobuf
from tests.fuzz.edit_tar import edit_tar

__all__ = ["edit_bytes", "edit_file", "edit_files", "edit_text"]

Edit = Callable[[bytes, Sequence[bytes], Random], bytes]
"""(contents, contents of other such files, chance) -> other contents."""

LONGEST = 2_000_000
"""Bytes that a mutated file may have: what grows further is cut."""
SIZES = (
    0,
    1,
    2,
    7,
    8,
    63,
    64,
    127,
    128,
    255,
    256,
    4095,
    4096,
    65_535,
    65_536,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
NUMBERS = (
    "0", "-0", "-1", "1", "2", "255", "256", "65536", "2147483647", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808",
    "18446744073709551616", "1e308", "1e309", "-1e309", "1e-400", "0.1", "nan", "inf", "NaN", "-Infinity", "1_0", "0x10", "00", "9" * 30, "9" * 5000,
)  # fmt: skip
WORDS = (
    b"", b" ", b"\0", b"\n", b"\r", b"\r\n", b"\t", b'"', b"'", b"\\", b"/", b"../", b"..", b"#", b"=", b"[", b"]", b"[[", b"]]", b"{", b"}", b"{{",
    b"}}", b"{%", b"%}", b"(", b")", b",", b":", b";", b"null", b"true", b"false", b"None", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80",
    b"\\ud800", b"\\u0000", "\u2028".encode(), "\u202e".encode(), b"\x1b[31m", "e\u0301".encode(), "\U0001f600".encode(), b"\xc0\x80",
    b"%s%n", b"{0.__class__}", b"__proto__", b"[" * 200, b'{"a":' * 200, b"a" * 5000,
)  # fmt: skip


def edit_bytes(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Flipped bits, numbers of 1 to 8 bytes, stretches that are left out, doubled, moved or taken from another file."""
    if not data:
        return random.randbytes(random.randint(1, 40))
    start = random.randrange(len(data))
    end = min(len(data), start + random.choice((1, 1, 2, 4, 8, 16, 64, 256, 1024, len(data))))
    part = data[start:end]
    choice = random.randrange(11)
    if choice <= 1:
        return data[:start] + bytes([data[start] ^ 1 << random.randrange(8)]) + data[start + 1 :]
    if choice == 2:
        return data[:start] + random.randbytes(len(part)) + data[end:]
    if choice == 3:
        return data[:start] + data[end:]
    if choice == 4:
        return data[:end] + part * random.choice((1, 1, 2, 30)) + data[end:]
    if choice == 5:
        to = random.randrange(len(data))
        rest = data[:start] + data[end:]
        return rest[:to] + part + rest[to:]
    if choice == 6:
        width = random.choice((1, 2, 4, 8))
        number = random.choice(SIZES) % (1 << 8 * width)
        return data[:start] + number.to_bytes(width, random.choice(("little", "big"))) + data[start + width :]
    if choice == 7:
        return data[:start]
    if choice == 8:
        return data[:start] + random.choice(WORDS) + data[start:]
    if choice == 9:
        return data[:start] + bytes([data[start] + random.choice((-1, 1)) & 255]) + data[start + 1 :]
    other = random.choice(others) if others else data
    at = random.randrange(len(other) + 1)
    return data[:start] + other[at : at + len(part) * random.choice((1, 4))] + data[end:]


def edit_text(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Lines and words that are left out, doubled, exchanged or taken from another file, other numbers, and bytes that mean something."""
    choice = random.randrange(8)
    if choice <= 3:
        lines = data.splitlines(keepends=True) or [b""]
        at = random.randrange(len(lines))
        if choice == 0:
            del lines[at]
        elif choice == 1:
            lines[at:at] = [lines[at]] * random.choice((1, 1, 3, 300))
        elif choice == 2:
            to = random.randrange(len(lines))
            lines[at], lines[to] = lines[to], lines[at]
        else:
            other = (random.choice(others) if others else data).splitlines(keepends=True) or [b""]
            lines.insert(at, random.choice(other))
        return b"".join(lines)
    pattern = rb"-?\d[\d._eE+-]*" if choice == 4 else rb"\w+|[^\w\s]"
    found = list(re.finditer(pattern, data))
    if not found:
        return edit_bytes(data, others, random)
    at = random.choice(found)
    if choice == 4:
        new = random.choice(NUMBERS).encode()
    elif choice == 5:
        new = random.choice(WORDS)
    elif choice == 6:
        new = random.choice(found).group()
    else:
        new = at.group() + random.choice(WORDS)
    return data[: at.start()] + new + data[at.end() :]


KINDS: Mapping[str, tuple[Edit, ...]] = {
    ".json": (edit_json, edit_json, edit_json, edit_text, edit_bytes),
    ".jsonl": (edit_text, edit_text, edit_bytes),
    ".toml": (edit_text, edit_text, edit_text, edit_bytes),
    ".csv": (edit_text, edit_text, edit_bytes),
    ".tsv": (edit_text, edit_text, edit_bytes),
    ".txt": (edit_text, edit_bytes),
    ".squad": (edit_json, edit_json, edit_text, edit_bytes),
    ".conll": (edit_text, edit_text, edit_bytes),
    ".jinja": (edit_text, edit_text, edit_bytes),
    ".sha256": (edit_text, edit_bytes),
    ".md": (edit_text, edit_bytes),
    ".onnx": (edit_protobuf, edit_protobuf, edit_protobuf, edit_bytes),
    ".gz": (edit_tar, edit_tar, edit_tar, edit_bytes),
}
"""Ending of a file's name -> its mutations, each as likely as it stands there."""


def edit_file(name: str, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """One to four mutations of a file, mostly one, of the kinds that its name says."""
    ending = "." + name.rpartition(".")[2]
    kinds = KINDS.get(ending, (edit_bytes,)) if not name.endswith((".jsonl.gz", ".csv.gz")) else (edit_bytes,)
    for _ in range(random.choice((1, 1, 1, 1, 2, 2, 3, 4))):
        data = random.choice(kinds)(data, others, random)
    return data[:LONGEST]


def edit_files(files: Mapping[str, bytes], seeds: Sequence[Mapping[str, bytes]], random: Random) -> dict[str, bytes]:
    """An input with one of its files mutated, rarely two."""
    found = dict(files)
    for name in random.sample(sorted(files), min(len(files), random.choice((1, 1, 1, 1, 1, 2)))):
        found[name] = edit_file(name, found[name], _alike(name, seeds), random)
    return found


def _alike(name: str, seeds: Sequence[Mapping[str, bytes]]) -> list[bytes]:
    """Files of the same kind."""
    ending = name.rpartition(".")[2]
    return [
        data for seed in seeds for other, data in seed.items() if other == name or (name not in seed and other.endswith(ending))
    ]
