"""A device made of this machine: what an sshd on loopback needs, a bundle, a stand-in for the runner, a bad line."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.device.inventory import Device
from edgekit.pack.bundle import write_bundle
from edgekit.pack.golden import make_golden
from edgekit.runtime.bundle.manifest import Versions
from edgekit.runtime.processors import Asked
from tests.tiny_manifest import signature, tiny_manifest
from tests.tiny_onnx import LABELS, WORDS, write_variant
from tests.waiting import wait_for

SFTP = next(
    (path for path in ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server") if Path(path).exists()), None
)
"""The server of files, which a shared store over ssh needs."""
SSHD = shutil.which("sshd") or next((path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if Path(path).exists()), None)
QUICK: dict[str, Any] = {"processes": 1, "seconds": 0.02, "threads": None, "seed": 7, "again": False}


def make_bundle(
    root: Path, *, arch: str | None = None, isa: list[str] | None = None, ballast: int = 0, least: str = "1.30"
) -> Path:
    """A sound bundle of the tiny graph in root/bundle; `ballast` bytes of noise travel with it."""
    source = write_variant(root / "source")
    texts = [f"turn it {word}" for word in WORDS[4:]]
    golden = make_golden(
        source / "model.onnx", source / "tokenizer.json", "text-classification", texts, Asked(LABELS), max_length=32,
        provider="CPUExecutionProvider",
    )  # fmt: skip
    manifest = tiny_manifest(
        labels=LABELS, vocabulary=len(WORDS), golden=len(golden["rows"]), arch=arch, isa=isa or (), onnxruntime=Versions(least, "99.0"),
        **signature(source / "model.onnx"),
    )  # fmt: skip
    files = {"model.onnx": source / "model.onnx", "tokenizer.json": source / "tokenizer.json"}
    if ballast:
        (source / "ballast.bin").write_bytes(os.urandom(ballast))
        files["ballast.bin"] = source / "ballast.bin"
    folder = root / "bundle"
    folder.mkdir()
    write_bundle(folder, manifest, files=files, texts={"golden.json": json.dumps(golden)})
    return folder


@dataclass(frozen=True)
class Server:
    """A running sshd."""

    port: int
    home: Path
    """The account's home: its bin/ is all its PATH."""
    identity: Path
    host_key: str
    process: subprocess.Popen[bytes]

    def device(self, name: str = "here", **changes: Any) -> Device:
        """This server as a device."""
        usual = {
            "name": name, "host": "127.0.0.1", "port": self.port, "user": getpass.getuser(), "identity": str(self.identity),
            "host_key": self.host_key, "python": "python3", "folder": str(self.home / name), "ssh_config": "/dev/null",
        }  # fmt: skip
        return Device(**{**usual, **changes})

    def left(self, name: str = "here") -> list[str]:
        """What is left in the device's folder, the lock aside."""
        return sorted(path.name for path in (self.home / name / "edgekit").glob("*") if path.name != "lock")

    def python(self, name: str, script: str) -> str:
        """A program called `name` on the account's PATH: a shell script around the real Python, $PYTHON."""
        path = self.home / "bin" / name
        path.write_text(f"#!/bin/sh\nPYTHON='{sys.executable}'\n{script}\n")
        path.chmod(0o755)
        return name


class NoServer(Exception):
    """An sshd does not start here; the message is its own."""


@contextmanager
def running_sshd(root: Path) -> Iterator[Server]:
    """An sshd on loopback, with what it needs in the empty folder `root`.

    Raises:
        NoServer: it does not start.
    """
    assert SSHD is not None
    host, user = keygen(root / "host"), keygen(root / "user")
    home = root / "home"
    (home / "bin").mkdir(parents=True)
    (root / "authorized_keys").write_text(user.with_suffix(".pub").read_text())
    shell = root / "shell"  # the account: its own home, a PATH with Python alone, and nothing of this process' environment
    shell.write_text(
        f"#!/bin/sh\ncd '{home}' || exit 1\nexec env -i HOME='{home}' PATH='{home}/bin' /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\n"
    )
    shell.chmod(0o755)
    log = (root / "log").open("wb")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where Debian's sshd, started as root, confines its first half
    (root / "config").write_text(
        f"ListenAddress 127.0.0.1\nHostKey {host}\nPidFile none\nAuthorizedKeysFile {root}/authorized_keys\n"
        f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        f"ForceCommand {shell}\nMaxStartups 100\nPrintMotd no\n" + (f"Subsystem sftp {SFTP}\n" if SFTP else "")
    )
    for _ in range(5):  # another process may take the port meanwhile
        port = free_port()
        command = [SSHD, "-D", "-e", "-f", str(root / "config"), "-p", str(port)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: process.poll() is not None or listens(port))  # noqa: B023
        if process.poll() is None:
            break
    else:
        log.close()
        raise NoServer((root / "log").read_text()[-300:])
    server = Server(port, home, user, " ".join(host.with_suffix(".pub").read_text().split()[:2]), process)
    server.python("python3", 'exec "$PYTHON" "$@"')
    try:
        yield server
    finally:
        process.terminate()
        process.wait()
        log.close()


def lock_is_free(path: Path) -> bool:
    """Whether no run holds the lock at `path`."""
    if not path.exists():
        return True
    with path.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def keygen(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path


RUNNER = """import json, os, pathlib, random, signal, sys, time
verb, bundle = sys.argv[1:3]
manifest = json.loads((pathlib.Path(bundle) / "manifest.json").read_text())
document = {{"ok": True, "golden": 32}}
if verb == "bench":
    document = {{
        "schema_version": 1, "complete": True, "artifact_sha256": manifest["assets"]["model.onnx"]["sha256"], "token": random.random(),
        "variants": [{{"scenarios": [{{"name": "real", "p50_ms": 0.5, "ci95_ms": [0.4, 0.6]}}], "memory": {{"peak_mb": 50.0}}}}],
        "validity": {{"stable": True, "throttled": False, "reasons": []}}, "runtime": {{"threads": 1}},
    }}
{body}
if "--out" in sys.argv:
    pathlib.Path(sys.argv[sys.argv.index("--out") + 1]).write_text(json.dumps(document))
print(json.dumps(document))
"""


def write_stand_in(path: Path, body: str = "") -> Path:
    """A runner that measures nothing and says so at once, after `body`, which sees `verb` and `document`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), RUNNER.format(body=body))  # no time in it: the same bytes every time
    return path


def drop_after(sent: int, part: Path) -> str:
    """A body for PROXY: the link breaks after `sent` bytes, once the device has written some of `part`, which may be a pattern."""
    return f"if sent > {sent}:\n    while not {_arrived(part)}: time.sleep(0.01)\n    os._exit(1)"


def stick_after(sent: int, part: Path, stuck: Path) -> str:
    """A body for PROXY: after `sent` bytes, and some of `part` on the device, the link carries nothing more and makes the file `stuck`."""
    return f"if sent > {sent}:\n    while not {_arrived(part)}: time.sleep(0.01)\n    open({str(stuck)!r}, 'w').close()\n    time.sleep(600)"


def _arrived(part: Path) -> str:
    return f"any(os.path.getsize(path) > 0 for path in glob.glob({str(part)!r}))"


PROXY = """import glob, os, socket, sys, threading, time
net = socket.create_connection(("127.0.0.1", {port}))
def back():
    while data := net.recv(65536):
        os.write(1, data)
threading.Thread(target=back, daemon=True).start()
sent = 0
while data := os.read(0, 4096):
{body}
    net.sendall(data)
    sent += len(data)
"""
