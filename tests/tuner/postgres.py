"""A real PostgreSQL for the time of a test, from Debian's packages, reached by a socket in its own folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import PATIENCE_SECONDS

__all__ = ["postgres_folder", "running_postgres"]

OWNER = "postgres"


def postgres_folder() -> Path | None:
    """Where its programs are; None where it is not installed, or nobody but root could run it, which it refuses."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    runs = os.getuid() != 0 or any(user.pw_name == OWNER for user in pwd.getpwall())
    return found[-1].parent if found and runs else None


@contextmanager
def running_postgres(programs: Path) -> Iterator[str]:
    """Address of its database; all of it is gone afterwards."""
    user = OWNER if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="edgekit-pg-", dir="/tmp"))  # a socket's path has to be short
    try:
        if user is not None:
            shutil.chown(folder, user)
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "tuner", "--no-sync"], check=True, capture_output=True, cwd=folder,
            user=user,
        )  # fmt: skip
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"], cwd=folder, user=user,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until = time.monotonic() + PATIENCE_SECONDS
            while subprocess.run([programs / "pg_isready", "-h", folder, "-q"], check=False).returncode:
                assert server.poll() is None and time.monotonic() < until, "PostgreSQL did not start"
                time.sleep(0.05)
            yield f"postgresql://tuner@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)  # with connections or without
            try:
                server.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:  # one of its processes stands still
                server.kill()
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
