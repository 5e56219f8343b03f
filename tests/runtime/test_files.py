"""Files from outside: only plain ones are opened, none beyond its limit, and nothing waits."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from edgekit.errors import BadInput
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.files import check_file, open_file, read_file, read_utf8


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """What a path may be instead of a file, by what it is called."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "to-pipe").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(40 * 1024**3)
    return {path.name: path for path in tmp_path.iterdir()} | {"none": tmp_path / "none", "nul": tmp_path / "a\0b"}


SAYS = {
    "folder": "is a folder, not a file", "pipe": "is a named pipe", "zero": "is a device", "to-pipe": "is a named pipe", "socket": "is a socket",
    "loop": "Too many levels of symbolic links", "nowhere": "no such file", "none": "no such file", "nul": "null byte",
    "sparse": "larger than 1,000 bytes",
}  # fmt: skip


@pytest.mark.parametrize("name", SAYS)
def test_no_file(places: dict[str, Path], name: str) -> None:
    """Told before anything is opened, read or waited for."""
    for read in (check_file, open_file, read_file, read_utf8):
        with pytest.raises(BadInput, match=re.escape(SAYS[name])):
            read(places[name], 1000)


def test_exchanged_after_it_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was a file and is a pipe as it is opened is no file, and is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("edgekit.runtime.files.check_file", lambda *_, **__: 0)
    with pytest.raises(BadInput, match="is a named pipe"):
        open_file(tmp_path / "pipe")


def test_files_of_the_kernel(tmp_path: Path) -> None:
    """Their size says 0, whatever they hold."""
    assert read_file("/proc/self/status", 100_000)
    with pytest.raises(BadInput, match="larger than 10 bytes"):
        read_file("/proc/self/status", 10)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes("ü".encode())
    (tmp_path / "link").symlink_to("a")
    for place in (path, tmp_path / "link", str(path)):
        assert check_file(place, 2) == 2
        assert read_file(place, 2) == "ü".encode()
        assert read_utf8(place, 2) == "ü"
        with open_file(place) as file:
            assert file.read(1) == b"\xc3"
    with pytest.raises(BadInput, match="larger than 1 bytes"):
        read_file(path, 1)
    path.write_bytes(b"\xff")
    with pytest.raises(BadInput, match="not UTF-8: byte 0"):
        read_utf8(path, 2)
    with pytest.raises(BadInput, match="fix: look elsewhere"):
        read_file(tmp_path / "none", 2, fix="look elsewhere")


def test_a_bundle_in_a_folder_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    """ONNX Runtime's own words for it are a list of constructors."""
    folder = tmp_path / "b\udcff"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(BadInput, match="not UTF-8"):
        open_bundle(folder)
