"""Which encoding a text is in: UTF-8, what a byte order mark says, or the one reading of its bytes that makes sense."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from edgekit.errors import BadInput

__all__ = ["UTF8", "encoding_of"]

UTF8 = "utf-8"
MARKS = ((codecs.BOM_UTF8, UTF8), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
         (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
"""What a file may begin with; UTF-32's mark begins with UTF-16's."""
UNMARKED = (
    ((True, True, True, False), "utf-32-be"), ((False, True, True, True), "utf-32-le"), ((True, False, True, False), "utf-16-be"),
    ((False, True, False, True), "utf-16-le"),
)  # fmt: skip
"""Which of a file's first four bytes are NUL where it begins with two ASCII characters and no mark (RFC 4627, section 3)."""
SAMPLE = 64 * 1024
"""Bytes of lines that are looked at."""
BINARY = {
    b"\x1f\x8b": "packed by gzip (.gz)", b"\xfd7zXZ\0": "packed by xz (.xz)", b"\x28\xb5\x2f\xfd": "packed by zstd", b"BZh": "packed by bzip2",
    b"PK\x03\x04": "a ZIP archive, as spreadsheets are too", b"PAR1": "a Parquet file (.parquet)", b"%PDF": "a PDF",
    b"SQLite format 3\0": "an SQLite database", b"\xd0\xcf\x11\xe0": "an old Office document", b"ARROW1": "an Arrow file",
}  # fmt: skip
"""What files begin with that are no text."""
CLOSE = 0.05
"""Readings whose share of odd characters differs by less are equally likely."""
SHOWN = 4
USUAL = ("cp1252", "cp1251", "gb18030", "cp932", "cp949", "big5")
"""Named first of encodings that read the bytes alike."""


def encoding_of(blocks: Iterable[bytes], file: str, *, ends: bytes = b"\n") -> str:
    """The encoding of a file called `file`, by its name in Python. `blocks`: its contents, in parts of whole lines, or of what else ends with
    the byte `ends`.

    A file of which at least half of the lines beyond ASCII are UTF-8 is damaged UTF-8, which its reader names line by line.

    Raises:
        BadInput: bytes that can be read in several ways, which are shown, or in none.
    """
    sound = odd = first = before = 0
    sample = b""
    for number, block in enumerate(blocks):
        if number == 0 and (kind := next((kind for begun, kind in BINARY.items() if block.startswith(begun)), "")):
            raise BadInput(
                f"is {kind}, and no text",
                where=file,
                fix="give it the ending of what it is, or save it as .csv, .jsonl or .parquet",
            )
        if number == 0 and (marked := next((name for mark, name in MARKS if block.startswith(mark)), "")):
            return marked
        if number == 0 and (
            unmarked := next((name for nul, name in UNMARKED if nul == tuple(not byte for byte in block[:4])), "")
        ):
            return unmarked
        if not block.isascii():
            for place, line in enumerate(block.split(ends), before + 1):
                if line.isascii():
                    continue
                try:
                    line.decode(UTF8)
                    sound += 1
                except UnicodeDecodeError:
                    first, odd = first or place, odd + 1
                    if len(sample) < SAMPLE:
                        sample += line[: SAMPLE - len(sample)].strip(b"\r") + b"\n"
        before += block.count(ends)
    return UTF8 if sound >= odd else _likely(sample[:SAMPLE], f"{file}:{first}" if ends == b"\n" else file)


def _likely(sample: bytes, where: str) -> str:
    """`sample`: lines that are not UTF-8."""
    from charset_normalizer import from_bytes

    sample = sample[: sample.rfind(b"\n")] if b"\n" in sample else sample
    found = list(from_bytes(sample))
    likely = [match for match in found if match.chaos <= min(other.chaos for other in found) + CLOSE]
    readings: dict[str, list[str]] = {}
    for match in likely:
        readings.setdefault(str(match), []).extend(match.could_be_from_charset)
    if len(readings) == 1:
        (names,) = readings.values()
        return _best(names)
    usual = sorted(((_best(names), text) for text, names in readings.items()), key=lambda one: one[0] not in USUAL)
    shown = [f"as {name}: {text.splitlines()[0][:60]!r}" for name, text in usual[:SHOWN]]
    raise BadInput(
        "not UTF-8, and " + ("its bytes can be read in several ways" if readings else "in no encoding that is known"),
        where=where,
        faults=shown,
        fix=f"save it as UTF-8, as by iconv -f {next((name for name, _ in usual), 'cp1252')} -t utf-8, where that is the encoding it is in",
    )


def _best(names: list[str]) -> str:
    return next((name for name in USUAL if name in names), names[0])
