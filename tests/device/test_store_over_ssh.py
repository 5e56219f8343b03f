"""The shared store over ssh, by a real sshd on loopback: who answers must be known, and what lies there is what was written."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from edgekit.errors import NotPossibleHere
from edgekit.shared_store import open_shared
from tests.device.loopback import SFTP, Server
from tests.test_shared_store import counted, damage, made_on

pytest.importorskip("sshfs")
pytestmark = pytest.mark.skipif(SFTP is None, reason="needs sftp-server (Debian: openssh-sftp-server)")


@pytest.fixture
def address(sshd: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a folder on this machine, by ssh, for a user who knows the host's key."""
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True)
    (folder / "config").write_text(f"IdentityFile {sshd.identity}\n")
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return f"ssh://{getpass.getuser()}@127.0.0.1:{sshd.port}{tmp_path}/shared"


def test_what_one_machine_made_another_takes(address: str, tmp_path: Path) -> None:
    made: list[str] = []
    made_on(tmp_path / "one", open_shared(address), [counted(made)])
    (line,) = made_on(tmp_path / "two", open_shared(address), [counted(made)]).lines
    assert made == ["write"] and line.endswith(f"from {address}") and not list((tmp_path / "shared" / "parts").iterdir())
    damage(address, "bytes")
    said = made_on(tmp_path / "three", open_shared(address), [counted(made)])
    assert made == ["write", "write"] and "has other bytes" in said.lines[0]
    made_on(tmp_path / "four", open_shared(address), [counted(made)])
    assert len(made) == 2, "it was written again"


def test_a_host_that_is_not_known_is_not_trusted(address: str, tmp_path: Path) -> None:
    (tmp_path / "home" / ".ssh" / "known_hosts").write_text("")
    with pytest.raises(NotPossibleHere, match="not trusted"):
        open_shared(address)


def test_a_host_that_nobody_answers_at(address: str, sshd: Server) -> None:
    with pytest.raises(NotPossibleHere, match="does not answer"):
        open_shared(address.replace(f":{sshd.port}/", ":1/"))
