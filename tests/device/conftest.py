"""A device made of this machine: a real sshd on loopback, a key, and an account with nothing but Python."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.device import fleet
from edgekit.device.inventory import Device
from tests.device.loopback import PROXY, SSHD, NoServer, Server, make_bundle, running_sshd, write_stand_in


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("device-bundle"))


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of its own, so that devices/ beside it is of one test alone."""
    shutil.copytree(tiny_bundle, tmp_path / "result" / "bundle")
    return tmp_path / "result" / "bundle"


@pytest.fixture(scope="session")
def large_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four megabytes, so that a link can break in the middle."""
    return make_bundle(tmp_path_factory.mktemp("large-bundle"), ballast=4_000_000)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if SSHD is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("needs sshd, ssh and ssh-keygen (Debian: openssh-server)")
    root = tmp_path_factory.mktemp("sshd")
    try:
        with running_sshd(root) as server:
            yield server
    except NoServer as fault:
        pytest.skip(f"sshd does not start here: {fault}")


@pytest.fixture
def proxied(sshd: Server, tmp_path: Path) -> Callable[[str], Device]:
    """Devices whose link goes through a Python program: `body` sees `net` (a socket to sshd), and `up` and `down` (generators)."""

    def make(body: str, name: str = "here", **changes: Any) -> Device:
        program = tmp_path / f"proxy-{len(list(tmp_path.glob('proxy-*')))}.py"
        program.write_text(PROXY.format(port=sshd.port, body="\n".join("    " + line for line in body.splitlines())))
        config = program.with_suffix(".conf")
        config.write_text(f"Host *\n    ProxyCommand {sys.executable} {program}\n")
        return sshd.device(name, ssh_config=str(config), **changes)

    return make


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Called with a body: what is sent from now on is the stand-in for the runner; where the runner itself is not the point."""

    def use(body: str = "") -> None:
        monkeypatch.setattr(fleet, "write_runner", lambda path: write_stand_in(path, body))

    use()
    return use
