"""One public file by https: resumed where it broke off, under a limit, compared with its sha256, and in its place only when it is whole."""

from __future__ import annotations

import errno
import fcntl
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from edgekit.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.fetch.mirror import MIRROR
from edgekit.progress import Progress
from edgekit.runtime.files import cache_folder
from edgekit.store import sha256_file

__all__ = ["cached_file", "download", "size_of"]

LARGEST = 2 * 1024**3
"""Bytes of a file that is fetched, as of a file of rows."""
BLOCK = 1 << 18
TRIES = 4
PATIENCE, GLANCE = 30.0, 5.0
"""Seconds that a server may say nothing, while a file is fetched and while a plan asks for its size."""
ELSEWHERE = f"check the connection, or get the file elsewhere and name a folder that has it in {MIRROR} (edgekit mirror FOLDER)"


def cached_file(sha256: str) -> Path:
    """Where a fetched file is kept."""
    return cache_folder() / "files" / sha256


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """A redirect may lead elsewhere, and never to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if not newurl.startswith("https://"):
            raise urllib.error.URLError(f"it leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, headers: dict[str, str], patience: float, method: str = "GET") -> http.client.HTTPResponse:
    request = urllib.request.Request(
        url, headers={"User-Agent": "edgekit", "Accept-Encoding": "identity", **headers}, method=method
    )
    return urllib.request.build_opener(_HttpsOnly).open(request, timeout=patience)  # type: ignore[no-any-return]


def size_of(url: str) -> int | None:
    """Bytes of the file at `url`, as its server says; None where it does not, or does not answer."""
    try:
        with _open(url, {}, GLANCE, "HEAD") as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, http.client.HTTPException, TypeError, ValueError):
        return None


def download(url: str, sha256: str, progress: Progress, pause: Callable[[float], None] = time.sleep) -> Path:
    """The file at `url` in the cache, fetched where it is not there. `pause`: waits between tries.

    Raises:
        CheckFailed: what came has another sha256; it is not kept.
        NotPossibleHere: the server does not give it, or the disk is full.
        BadInput: larger than `LARGEST`.
    """
    path = cached_file(sha256)
    partial = path.with_name(f"{sha256}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another run that fetches it ends first
            if path.is_file():
                return path
            _fetch(url, file, progress, pause)
            file.flush()
            os.fsync(file.fileno())
            found = sha256_file(partial)
            if found != sha256:
                file.truncate(0)
                raise CheckFailed(
                    f"what came has sha256 {found}, and the recipe says {sha256}", where=url,
                    fix="the file has changed or was changed on the way: use one that is what the recipe means, or correct the recipe",
                )  # fmt: skip
            os.replace(partial, path)
        return path
    except OSError as fault:
        if fault.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NotPossibleHere(
                "no space left on the disk", where=str(partial), fix="free some space, or set XDG_CACHE_HOME to another disk"
            ) from None
        raise


def _fetch(url: str, file: IO[bytes], progress: Progress, pause: Callable[[float], None]) -> None:
    """Append to `file` what is missing of the file at `url`."""
    for number in range(TRIES):
        try:
            _append(url, file, progress)
            return
        except urllib.error.HTTPError as fault:
            if (
                fault.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE
            ):  # what is there is whole, or longer than it: begin again
                file.truncate(0)
            elif fault.code < 500 and fault.code != http.client.TOO_MANY_REQUESTS:
                raise NotPossibleHere(f"its server answers {fault.code} {fault.reason}", where=url, fix=ELSEWHERE) from None
            reason = f"{fault.code} {fault.reason}"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as fault:
            reason = str(getattr(fault, "reason", fault)) or type(fault).__name__
        if number + 1 < TRIES:
            pause(2.0**number)
    raise NotPossibleHere(f"its server does not give it: {reason}", where=url, fix=ELSEWHERE)


def _append(url: str, file: IO[bytes], progress: Progress) -> None:
    have = file.seek(0, os.SEEK_END)
    with _open(url, {"Range": f"bytes={have}-"} if have else {}, PATIENCE) as answer:
        if have and answer.status != http.client.PARTIAL_CONTENT:
            file.truncate(0)
            have = 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else 0
        _check(max(have, total), url)
        while data := answer.read(BLOCK):
            file.write(data)
            have += len(data)
            _check(have, url)
            progress(
                have, total, f"{url.rpartition('/')[2]}: {have / 1e6:,.1f} MB" + (f" of {total / 1e6:,.1f}" if total else "")
            )
        if total and have < total:
            raise http.client.IncompleteRead(b"", total - have)


def _check(size: int, url: str) -> None:
    if size > LARGEST:
        raise BadInput(
            f"larger than {LARGEST / 1024**3:.3g} GiB", where=url, fix="name a smaller file, or fetch it yourself and sample it"
        )
