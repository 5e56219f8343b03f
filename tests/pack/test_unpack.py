"""Archives from outside: twenty ways to attack whoever opens one, each refused with nothing written elsewhere."""

from __future__ import annotations

import gzip
import io
import os
import resource
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.pack.archive import write_archive
from edgekit.runtime.bundle import unpack as room
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.bundle.seal import HEADER_BYTES
from edgekit.runtime.bundle.unpack import unpack
from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError, NotPossibleHere


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, link, size
    return entry


def sparse() -> bytes:
    """An old GNU sparse file of 1 TB without any data."""
    header = bytearray(member("bundle/sparse", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"\x80" + struct.pack(">Q", 1 << 40).rjust(11, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


def headers(*entries: tarfile.TarInfo) -> bytes:
    return b"".join(entry.tobuf(tarfile.GNU_FORMAT) for entry in entries)


def chain(*kinds: bytes) -> bytes:
    """Headers that each say something of the next one, before a member."""
    say = {tarfile.XHDTYPE: b"13 comment=a\n", tarfile.XGLTYPE: b"13 comment=a\n"}
    before = b"".join(
        headers(member("x", kind, size=len(says))) + says.ljust(512, b"\0")
        for kind in kinds
        for says in [say.get(kind, b"bundle/b\0")]
    )
    return before + headers(member("bundle/a"))


END = bytes(10240)
MEMBERS: dict[str, bytes] = {
    "slip": headers(member("bundle/../../evil")) + END,
    "absolute": headers(member("/etc/evil")) + END,
    "elsewhere": headers(member("other/file")) + END,
    "deep": headers(member("bundle/a/b")) + END,
    "no name": headers(member("bundle/.")) + END,
    "hidden": headers(member("bundle/.profile")) + END,
    "backslash": headers(member("bundle/..\\evil")) + END,
    "not UTF-8": headers(member("bundle/a\udcff")) + END,
    "symlink": headers(member("bundle/link", tarfile.SYMTYPE, "/etc/passwd")) + END,
    "hardlink": headers(member("bundle/link", tarfile.LNKTYPE, "bundle/model.onnx")) + END,
    "character device": headers(member("bundle/null", tarfile.CHRTYPE)) + END,
    "block device": headers(member("bundle/disk", tarfile.BLKTYPE)) + END,
    "fifo": headers(member("bundle/fifo", tarfile.FIFOTYPE)) + END,
    "folder": headers(member("bundle/sub", tarfile.DIRTYPE)) + END,
    "double": headers(member("bundle/a"), member("bundle/a")) + END,
    "casefold": headers(member("bundle/a"), member("bundle/A")) + END,
    "too many": headers(*(member(f"bundle/{number}") for number in range(65))) + END,
    "sparse": sparse() + END,
    "negative": headers(member("bundle/a", size=-512)) + END,
}
TARFILE = "not a readable bundle archive: invalid offset"
"""What newer versions of tarfile say themselves of a size below nought."""
OTHERWISE: dict[str, tuple[Callable[[], bytes], str]] = {
    "claims a terabyte": (lambda: gzip.compress(headers(member("bundle/a", size=1 << 40))), "unpacks to more"),
    "inflates": (lambda: gzip.compress(headers(member("bundle/a", size=80 << 20)) + bytes(80 << 20) + END), "unpacks to more"),
    "inflates after the end": (lambda: gzip.compress(headers(member("bundle/a")) + bytes(80 << 20)), "unpacks to more"),
    "data after the end": (lambda: gzip.compress(headers(member("bundle/a")) + END + b"x"), "after the end"),
    "huge long name": (lambda: gzip.compress(headers(member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=1 << 33))), "impossible size"),
    "huge pax header": (lambda: gzip.compress(headers(member("pax", tarfile.XHDTYPE, size=1 << 33))), "impossible size"),
    "negative pax header": (lambda: gzip.compress(headers(member("pax", tarfile.XHDTYPE, size=-1024)) + END), f"impossible size|{TARFILE}"),
    "chain of pax headers": (lambda: gzip.compress(chain(*[tarfile.XHDTYPE] * 2000) + END), "more than 4 extension headers"),
    "chain of global headers": (lambda: gzip.compress(chain(*[tarfile.XGLTYPE] * 2000) + END), "more than 4 extension headers"),
    "chain of long names": (lambda: gzip.compress(chain(*[tarfile.GNUTYPE_LONGNAME] * 2000) + END), "more than 4 extension headers"),
    "chain of long links": (lambda: gzip.compress(chain(*[tarfile.GNUTYPE_LONGLINK] * 2000) + END), "more than 4 extension headers"),
    "chain of all of them": (
        lambda: gzip.compress(chain(*[tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.SOLARIS_XHDTYPE] * 2) + END),
        "more than 4 extension headers",
    ),
    "chain of old sparse files": (lambda: gzip.compress(sparse() * 2000 + END), "no bundle has"),
    "not gzip": (lambda: b"not an archive", "not a readable"),
    "empty": (lambda: b"", "not a readable"),
}  # fmt: skip


@pytest.mark.parametrize("attack", MEMBERS)
def test_members_that_no_bundle_has(tmp_path: Path, attack: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "evil.tar.gz").write_bytes(gzip.compress(MEMBERS[attack]))
    with pytest.raises(BadInput, match=f"no bundle has|{TARFILE}" if attack == "negative" else "no bundle has"):
        unpack(tmp_path / "evil.tar.gz", tmp_path / "in")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "evil.tar.gz"}
    assert all(path.is_file() and not path.is_symlink() for path in (tmp_path / "in").iterdir())


@pytest.mark.parametrize("attack", OTHERWISE)
def test_archives_that_are_no_archive_or_a_bomb(tmp_path: Path, attack: str) -> None:
    (tmp_path / "in").mkdir()
    make, message = OTHERWISE[attack]
    (tmp_path / "evil.tar.gz").write_bytes(make())
    with pytest.raises(BadInput, match=message):
        unpack(tmp_path / "evil.tar.gz", tmp_path / "in")
    assert sum(path.stat().st_size for path in (tmp_path / "in").iterdir()) < 1024


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A sound archive of two files."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.bin").write_bytes(os.urandom(50_000))
    (source / "b.txt").write_text("text " * 1000)
    write_archive(source, tmp_path / "bundle.tar.gz")
    (tmp_path / "in").mkdir()
    return tmp_path / "bundle.tar.gz"


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_an_archive_that_was_packed_again(tmp_path: Path, form: int) -> None:
    """By whatever tool, which may say more of each file in a header before it."""
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "again.tar.gz", "w:gz", format=form) as tar:
        for number in range(9):
            entry = member(f"bundle/{number}", size=3)
            entry.mtime = 1.5
            tar.addfile(entry, io.BytesIO(b"abc"))
    unpack(tmp_path / "again.tar.gz", tmp_path / "in")
    assert len(list((tmp_path / "in").iterdir())) == 9


def test_an_archive_is_a_file(tmp_path: Path) -> None:
    """A sparse one, and what is no file at all."""
    with (tmp_path / "sparse.tar.gz").open("wb") as file:
        file.truncate(40 * 1024**3)
    os.mkfifo(tmp_path / "pipe.tar.gz")
    with pytest.raises(BadInput, match="larger than"):
        open_bundle(tmp_path / "sparse.tar.gz")
    with pytest.raises(BadInput, match="no bundle here"):
        open_bundle(tmp_path / "pipe.tar.gz")
    with pytest.raises(BadInput, match="is a named pipe"):
        unpack(tmp_path / "pipe.tar.gz", tmp_path)


def test_a_sound_archive(archive: Path, tmp_path: Path) -> None:
    unpack(archive, tmp_path / "in")
    for name in ("a.bin", "b.txt"):
        assert (tmp_path / "in" / name).read_bytes() == (tmp_path / "source" / name).read_bytes()


@pytest.mark.parametrize("damage", ["checksum", "length", "cut short", "cut within", "deflate"])
def test_damage(archive: Path, tmp_path: Path, damage: str) -> None:
    data = bytearray(archive.read_bytes())
    changed: Callable[[], bytes] = {
        "checksum": lambda: bytes(data[:-8]) + bytes([data[-8] ^ 1]) + bytes(data[-7:]),
        "length": lambda: bytes(data[:-1]) + bytes([data[-1] ^ 1]),
        "cut short": lambda: bytes(data[:-4]),
        "cut within": lambda: bytes(data[: len(data) // 2]),
        "deflate": lambda: bytes(data[:40]) + bytes(byte ^ 0xFF for byte in data[40:400]) + bytes(data[400:]),
    }[damage]
    archive.write_bytes(changed())
    with pytest.raises(CheckFailed, match="its seal does not hold"):
        unpack(archive, tmp_path / "in")
    archive.write_bytes(gzip.compress(b"")[:10] + archive.read_bytes()[HEADER_BYTES:])
    with pytest.raises(BadInput, match=r"not a readable bundle archive|no bundle has|unpacks to more|after the end"):
        unpack(archive, tmp_path / "in")


def test_every_bit_of_an_archive_matters(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    for position in [*range(120), *range(120, len(data), len(data) // 100), *range(len(data) - 12, len(data))]:
        for bit in range(8) if position < HEADER_BYTES or position > len(data) - 12 else [position % 8]:
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            archive.write_bytes(flipped)
            with pytest.raises(EdgekitError):
                unpack(archive, tmp_path / "in")
                pytest.fail(f"bit {bit} of byte {position} changed and nobody noticed")


def test_other_programs_read_a_sealed_archive(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ["bundle/a.bin", "bundle/b.txt"]
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(tmp_path / "in")], check=True)
    assert (tmp_path / "in" / "bundle" / "b.txt").read_bytes() == (tmp_path / "source" / "b.txt").read_bytes()


def test_an_archive_without_a_seal_is_read(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes())))
    unpack(archive, tmp_path / "in")
    assert (tmp_path / "in" / "b.txt").read_bytes() == (tmp_path / "source" / "b.txt").read_bytes()


def test_special_permissions_do_not_come_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    entry = member("bundle/tool", size=4)
    entry.mode, entry.uid = 0o6777, 0
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.addfile(entry, io.BytesIO(b"data"))
    unpack(tmp_path / "x.tar.gz", tmp_path / "in")
    assert (tmp_path / "in" / "tool").stat().st_mode & 0o7111 == 0


def test_a_full_disk_is_not_the_archives_fault(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room.shutil, "copyfileobj", full)
    with pytest.raises(NotPossibleHere, match="no room"):
        unpack(archive, tmp_path / "in")


def test_a_bomb_in_a_header_takes_no_memory(tmp_path: Path) -> None:
    """Four gigabytes of one long name, in 4 MB: refused in a process that may have half a gigabyte."""
    (tmp_path / "in").mkdir()
    block = gzip.compress(bytes(256 << 20), compresslevel=1)
    head = gzip.compress(headers(member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=4 << 30)))
    (tmp_path / "bomb.tar.gz").write_bytes(head + block * 16)
    code = (
        "import sys, pathlib; from edgekit.runtime.bundle.unpack import unpack; from edgekit.runtime.errors import BadInput\n"
        "try: unpack(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\nexcept BadInput as fault: print(fault)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "bomb.tar.gz"), str(tmp_path / "in")], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29)),
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "impossible size" in done.stdout, done.stderr


def test_the_unpacked_files_go_with_the_bundle(bundle: Path, tmp_path: Path) -> None:
    write_archive(bundle, tmp_path / "bundle.tar.gz")
    opened = open_bundle(tmp_path / "bundle.tar.gz")
    folder = opened.folder
    assert folder.is_dir()
    del opened
    assert not folder.exists()
