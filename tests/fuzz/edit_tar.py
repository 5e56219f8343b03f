"""Mutations of gzipped tar archives by their structure: what the packed stream holds, headers with a right checksum, members, the stream's ends."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from random import Random

__all__ = ["edit_tar"]

BLOCK = 512
FIELDS = {
    "name": (0, 100),
    "mode": (100, 8),
    "size": (124, 12),
    "time": (136, 12),
    "kind": (156, 1),
    "link": (157, 100),
    "magic": (257, 8),
    "prefix": (345, 155),
}
TEXTS = (
    b"", b"bundle/x", b"bundle/../x", b"../x", b"/etc/x",
    b"bundle/", b"bundle", b"bundle/manifest.json", b"bundle/Manifest.json", b"bundle/a/b", b"\xff\xfe",
    b"bundle/.x", b"bundle/x\n", b"0" * 11, b"7" * 11, b"77777777777\0",
    b"00000000010\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-1", b"ustar\x0000",
    b"ustar  \0", b"5", b"2", b"1", b"x", b"g", b"L", b"K", b"S", b"6", b"3", b"\0", b"10 size=9\n", b"0000",
)  # fmt: skip


def edit_tar(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A mutation of the archive, packed again."""
    try:
        tar = zlib.decompress(data, 31)
    except zlib.error:
        return data
    if len(tar) < BLOCK:
        return data
    heads = _heads(tar)
    at = random.choice(heads)
    choice = random.randrange(9)
    if choice <= 3:
        start, width = random.choice(list(FIELDS.values()))
        text = random.choice((*TEXTS, random.randbytes(width)))[:width].ljust(width, b"\0")
        tar = _summed(tar[: at + start] + text + tar[at + start + width :], at)
    elif choice == 4:
        tar = tar[:at] + tar[at : at + BLOCK * random.choice((1, 2))] * random.choice((1, 2, 100)) + tar[at:]
    elif choice == 5:
        tar = tar[:at] + _extension(random) + tar[at:]
    elif choice == 6:
        start = random.randrange(len(tar))
        tar = tar[:start] + random.randbytes(random.randint(1, 16)) + tar[start + random.randint(0, 16) :]
    elif choice == 7:
        tar = tar[: random.randrange(len(tar))]
    else:
        tar += random.choice((b"\0" * BLOCK * 20, b"x", tar, b"\0" * 2_000_000))
    packed = gzip.compress(tar, 1, mtime=0)
    ending = random.randrange(8)
    if ending == 0:
        return packed + random.choice((packed, b"\0" * 100, b"x", packed[:20]))
    if ending == 1:
        start = random.randrange(len(packed))
        return packed[:start] + bytes([packed[start] ^ 1 << random.randrange(8)]) + packed[start + 1 :]
    return packed


def _heads(tar: bytes) -> list[int]:
    """Where headers begin."""
    found, at = [], 0
    while at + BLOCK <= len(tar) and any(tar[at : at + BLOCK]):
        found.append(at)
        digits = tar[at + 124 : at + 136].strip(b"\0 ")
        size = int(digits, 8) if digits and not digits.strip(b"01234567") else 0
        at += BLOCK + -(-size // BLOCK) * BLOCK
    return found or [0]


def _summed(tar: bytes, at: int) -> bytes:
    """With the right checksum of the header at `at`."""
    head = tar[at : at + 148] + b" " * 8 + tar[at + 156 : at + BLOCK]
    return tar[: at + 148] + b"%06o\0 " % sum(head) + tar[at + 156 :]


def _extension(random: Random) -> bytes:
    """A pax header or a long name, whose contents may be wrong."""
    text = random.choice((
        b"30 path=bundle/manifest.json\n", b"19 size=999999999\n", b"20 path=../../../x\n", b"11 path=\0\n",
        b"9999999 x=1\n", b"-1 x=1\n", b"0 \n", b"x",
        b"26 GNU.sparse.realsize=99\n", b"22 GNU.sparse.major=1\n", b"bundle/" + b"a" * 200, b"", random.randbytes(40),
    ))  # fmt: skip
    head = bytearray(BLOCK)
    head[0:8] = b"bundle/x"
    head[100:108] = b"0000644\0"
    head[124:136] = b"%011o\0" % random.choice((len(text), len(text), 0, 2**30))
    head[156:157] = random.choice((b"x", b"g", b"L", b"K"))
    head[257:265] = b"ustar\x0000"
    block = _summed(bytes(head), 0) + text.ljust(BLOCK, b"\0")
    return block * random.choice((1, 1, 1, 300))
