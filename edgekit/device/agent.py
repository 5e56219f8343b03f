"""The agent: the program that runs on the device, sent over ssh to its Python. It needs the standard library alone.

It answers requests, one JSON line each, with one marked JSON line each (a login shell may print what it likes around them).
The end of its input is the end of the connection: it then ends whatever it started, removes its temporary folder and exits. Files that
arrived stay in the bundle's folder, `<cache>/edgekit/<key>`, so that the same command can go on after a dropped link.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, TextIO

MARK = b"EDGEKIT "
CHUNK = 1 << 16
MOST_OUTPUT = 32_000_000
STALE_SECONDS = 7 * 86_400
"""A bundle's folder that nobody came back to for so long is removed by the next run on the device."""
SILENCE_SECONDS = 120
"""If nothing arrives for so long where something is due, the connection is taken for broken, even if the system has not noticed."""
HANDOVER_SECONDS = 3.0
"""An earlier run whose connection broke gets so long to notice and release the lock."""
PATIENCE = 10.0
"""Seconds that an interrupted runner has to end its own processes."""
FULL = {errno.ENOSPC: "disk full", errno.EDQUOT: "quota used up", errno.EFBIG: "file size limit reached"}
PACKAGES = {
    "numpy": ("numpy",),
    "tokenizers": ("tokenizers",),
    "jinja2": ("jinja2",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-qnn", "onnxruntime-openvino"),
}


class LinkLost(Exception):
    """The other end is gone."""


class Refused(Exception):
    """A request that cannot be met; the other side explains `kind`."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests until the link ends."""
    workspace: Workspace | None = None
    try:
        while line := _read(source.readline):
            request = json.loads(line)
            try:
                if request["do"] == "open":
                    workspace = Workspace(request)
                    answer = workspace.look(request)
                elif workspace is None:
                    raise Refused("protocol", "no folder was opened")
                elif request["do"] == "receive":
                    answer = workspace.receive(request["files"], source)
                elif request["do"] == "run":
                    answer = workspace.run(request, source)
                else:
                    answer = workspace.remove()
            except Refused as fault:
                answer = {"refused": fault.kind, "what": str(fault)}
            except OSError as fault:
                kind = "full" if fault.errno in FULL else "system"
                if kind == "full" and workspace is not None:
                    shutil.rmtree(workspace.folder, ignore_errors=True)  # nothing is left on a full disk
                answer = {
                    "refused": kind,
                    "what": f"{FULL.get(fault.errno or 0, fault.strerror)}: {fault.filename or ''}".strip(": "),
                }
            sink.write(MARK + json.dumps(answer).encode("ascii") + b"\n")
            sink.flush()
            if "refused" in answer and request["do"] == "receive":
                return  # what comes next are bytes of files, not requests
    except (LinkLost, BrokenPipeError):
        pass
    finally:
        if workspace is not None:
            workspace.close()


class Workspace:
    """The bundle's folder on this device, this run's temporary folder, and the lock that keeps other runs away."""

    def __init__(self, request: dict[str, Any]) -> None:
        cache = request["folder"] or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        try:
            self.base: Path = Path(cache).expanduser().absolute() / "edgekit"
        except RuntimeError:
            raise Refused("system", f"no account has the home folder of {cache}") from None
        if not re.fullmatch(r"[0-9a-f]{64}", request["key"]):
            raise Refused("protocol", "the key is no sha256")
        self.base.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = self.base.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o022:
            raise Refused("system", f"{self.base} is not this account's alone")  # what lies there is run
        self.lock = (self.base / "lock").open("w")
        _take(self.lock)
        for other in self.base.iterdir():
            stale = other.stat().st_mtime < time.time() - STALE_SECONDS
            if other.is_dir() and other.name != request["key"] and (stale or other.name.startswith("run-")):
                shutil.rmtree(other, ignore_errors=True)
        self.folder: Path = self.base / request["key"]
        (self.folder / "bundle").mkdir(parents=True, exist_ok=True, mode=0o700)
        os.utime(self.folder)
        self.aside = Path(tempfile.mkdtemp(prefix="run-", dir=self.base))

    def look(self, request: dict[str, Any]) -> dict[str, object]:
        """Facts of this device, what of the files is here already, and the result of an earlier run whose link was lost."""
        kept = self.folder / request["result"]
        have = {}
        for name in request["files"]:
            for path in (self.path(name), self.part(name)):
                if path.is_file() and not path.is_symlink():
                    with path.open("rb") as file:
                        digest = hashlib.file_digest(file, "sha256").hexdigest()
                    have[name] = {"size": path.stat().st_size, "sha256": digest}
                    break
        free = shutil.disk_usage(self.folder).free
        result = kept.read_text(encoding="utf-8") if kept.is_file() else None
        return {"facts": facts(free), "have": have, "result": result}

    def path(self, name: str) -> Path:
        """Where a file of the run lies: the runner, or one plain name in bundle/."""
        if not re.fullmatch(r"runner\.pyz|bundle/[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
            raise Refused("protocol", f"not a file of a run: {name!r}")
        return self.folder / name

    def part(self, name: str) -> Path:
        """Where it lies until it is whole."""
        return self.folder / (name.replace("/", "-") + ".part")

    def receive(self, files: list[dict[str, Any]], source: BinaryIO) -> dict[str, object]:
        """Take the files' bytes, one after the other, each from its offset on; a file counts once its sha256 is right."""
        for wanted in files:
            path, part = self.path(wanted["name"]), self.part(wanted["name"])
            if path.is_file() and wanted["offset"]:
                os.replace(path, part)
            digest = hashlib.sha256()
            with part.open("r+b" if wanted["offset"] else "w+b") as file:
                file.truncate(wanted["offset"])
                while data := file.read(CHUNK):
                    digest.update(data)
                left = wanted["size"] - wanted["offset"]
                while left:
                    data = _read(source.read1, min(left, CHUNK))  # type: ignore[attr-defined]
                    if not data:
                        raise LinkLost
                    file.write(data)
                    digest.update(data)
                    left -= len(data)
                file.flush()
                os.fsync(file.fileno())
            if digest.hexdigest() != wanted["sha256"]:
                part.unlink()
                raise Refused(
                    "corrupt", f"{wanted['name']}: sha256 {digest.hexdigest()[:16]}… instead of {wanted['sha256'][:16]}…"
                )
            os.replace(part, path)
        return {"received": len(files)}

    def run(self, request: dict[str, Any], source: BinaryIO) -> dict[str, object]:
        """Run the runner with the given arguments; its exit code (128 + n after signal n) and what it printed."""
        arguments = [{"{bundle}": str(self.folder / "bundle"), "{result}": str(self.folder / request["result"])}.get(word, word)
                     for word in request["arguments"]]  # fmt: skip
        started = time.monotonic()
        held, mine = os.pipe()  # the end of this process, however it ends, ends the runner: see edgekit.runtime.children
        with (self.aside / "stdout").open("w+b") as output, (self.aside / "stderr").open("w+b") as errors:
            process = subprocess.Popen(
                [sys.executable, str(self.folder / "runner.pyz"), *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                cwd=self.aside, env={**os.environ, "TMPDIR": str(self.aside), "EDGEKIT_ENDS_WITH": str(held)}, pass_fds=(held,),
                start_new_session=True,
            )  # fmt: skip
            os.close(held)
            try:
                late = _wait(process, source, started + request["timeout"])
            finally:
                _end(process)
                os.close(mine)
            output.seek(0)
            errors.seek(0)
            texts = [file.read(MOST_OUTPUT).decode("utf-8", "replace") for file in (output, errors)]
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return {
            "code": code, "late": late, "stdout": texts[0], "stderr": texts[1][-4000:],
            "seconds": round(time.monotonic() - started, 3),
        }  # fmt: skip

    def remove(self) -> dict[str, object]:
        """Remove the bundle's folder with all that arrived."""
        shutil.rmtree(self.folder)
        return {"removed": True}

    def close(self) -> None:
        """Remove the temporary folder and give the device free."""
        shutil.rmtree(self.aside, ignore_errors=True)
        self.lock.close()


def _take(lock: TextIO) -> None:
    """Take the lock that keeps other runs away."""
    until = time.monotonic() + HANDOVER_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > until:
                lock.close()
                raise Refused("busy", f"another run holds {lock.name}") from None
            time.sleep(0.1)


def _read(read: Callable[..., bytes], *arguments: int) -> bytes:
    """What `read` gives, unless nothing comes for SILENCE_SECONDS."""
    signal.alarm(SILENCE_SECONDS)
    try:
        return read(*arguments)
    finally:
        signal.alarm(0)


def _on_silence(number: int, frame: object) -> None:
    raise LinkLost


def _wait(process: subprocess.Popen[bytes], source: BinaryIO, until: float) -> bool:
    """Wait for the process while somebody is there; whether it took too long. Nothing is sent meanwhile: input is its end."""
    while process.poll() is None:
        if time.monotonic() > until:
            return True
        if select.select([source], [], [], 0.05)[0]:
            raise LinkLost
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt what still runs, so that it ends its own processes, and kill it where it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def facts(free: int) -> dict[str, object]:
    """What the other side judges before anything is sent. Bytes; versions as text, None where a package is not there."""
    meminfo = _text("/proc/meminfo")
    available = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "glibc": platform.libc_ver()[1] if platform.libc_ver()[0] == "glibc" else None,
        "cpuinfo": _distinct(_text("/proc/cpuinfo")),
        "memory_available": int(available.group(1)) * 1024 if available else None,
        "disk_free": free,
        "packages": {name: _version(PACKAGES[name]) for name in PACKAGES},
    }


def _distinct(cpuinfo: str) -> str:
    """/proc/cpuinfo with one block for each kind of core: what differs by number, clock or id alone is left out."""
    noise = re.compile(r"^(processor|cpu MHz|core id|apicid|initial apicid|bogomips|BogoMIPS)\s*:.*\n?", re.MULTILINE)
    return "\n\n".join(dict.fromkeys(noise.sub("", block) for block in cpuinfo.strip().split("\n\n")))[:200_000]


def _version(names: tuple[str, ...]) -> str | None:
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start it with this ignored
    signal.signal(signal.SIGALRM, _on_silence)
    sys.path = [folder for folder in sys.path if folder]
    serve(sys.stdin.buffer, sys.stdout.buffer)
