"""The servers as people start and end them: `edgekit serve` and `runner.pyz serve` in processes of their own, and draining."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import NotPossibleHere
from edgekit.pack.runner import write_runner
from edgekit.runtime.serve.command import listen
from tests.conftest import PYTHONPATH
from tests.runtime.serve.serving import LIMITS, served
from tests.tiny_manifest import rewrite_manifest
from tests.waiting import PATIENCE_SECONDS, wait_for


@pytest.fixture(scope="module", params=["edgekit", "runner.pyz"])
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if request.param == "edgekit":
        return [sys.executable, "-c", "from edgekit.cli.app import main; main()"]
    runner = tmp_path_factory.mktemp("runner") / "runner.pyz"
    write_runner(runner)
    return [sys.executable, str(runner)]


@contextmanager
def started(command: list[str], bundle: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server's process, ready, and its port."""
    words = [*command, "serve", str(bundle), "--port", "0", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment, cwd="/")
    assert process.stderr is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:(\d+) is open", process.stderr.readline())
        assert found
        for line in process.stderr:
            if "ready: " in line:
                break
        yield process, int(found[1])
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def ask(port: int, path: str, document: object = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        if document is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_ends_when_told(command: list[str], classifier: Path, number: signal.Signals) -> None:
    with started(command, classifier) as (process, port):
        assert ask(port, "/v2/health/ready") == 200
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stderr is not None
        said = process.stderr.read()
        assert "shutting down" in said
        assert "Traceback" not in said


def test_told_under_load_it_answers_whatever_it_took(command: list[str], writer: Path) -> None:
    asked = {"model": "tiny-text-generation", "prompt": "the end", "max_tokens": 100}
    with started(command, writer) as (process, port):
        told = threading.Event()
        found: list[int] = []

        def client() -> None:
            for _ in range(200):
                try:
                    found.append(ask(port, "/v1/completions", asked))
                except ConnectionError:  # refused or reset before it was taken: nothing is lost that was promised
                    assert told.is_set()
                    return

        with ThreadPoolExecutor(4) as pool:
            work = [pool.submit(client) for _ in range(4)]
            wait_for(lambda: found.count(200) > 4)
            told.set()
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
            for one in work:
                one.result(PATIENCE_SECONDS)
        assert set(found) <= {200, 503}
        assert process.stderr is not None
        assert "aborted" not in process.stderr.read()


def test_another_answer_than_the_golden_one_is_never_ready(command: list[str], classifier: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(classifier, bundle)
    text = (bundle / "golden.json").read_text()
    golden = json.loads(text)
    golden["rows"][0]["outputs"][0][0] += 1.0
    wrong = json.dumps(golden)
    (bundle / "golden.json").write_text(wrong)
    rewrite_manifest(bundle)
    done = subprocess.run(
        [*command, "serve", str(bundle), "--port", "0"], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 1
    assert "golden inputs are not right" in done.stderr
    assert "ready: " not in done.stderr


def test_a_port_that_is_taken(command: list[str], classifier: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [*command, "serve", str(classifier), "--port", port],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert done.returncode == 3
    assert f"127.0.0.1:{port}: the port is taken" in done.stderr
    assert "another --port" in done.stderr


@pytest.mark.parametrize(("options", "words"), [(["--host", "x" * 70], "no address"), (["--max-batch", "0"], "batch")])
def test_what_cannot_be_served(command: list[str], classifier: Path, options: list[str], words: str) -> None:
    done = subprocess.run(
        [*command, "serve", str(classifier), "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr


def test_another_address_is_named_as_open_to_all(command: list[str], classifier: Path) -> None:
    with started(command, classifier, "--max-body", "100") as (_, port):
        assert ask(port, "/v2/models/tiny-text-classification/infer", {"id": "x" * 200}) == 413
    words = [*command, "serve", str(classifier), "--port", "0", "--host", "0.0.0.0"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = [process.stderr.readline(), process.stderr.readline()]
    process.send_signal(signal.SIGTERM)  # while it loads
    said.append(process.stderr.read())
    assert process.wait(PATIENCE_SECONDS) == 0, said
    process.stderr.close()
    assert "no password, no encryption" in said[1]


def test_draining_finishes_what_waits_and_takes_nothing_new(classifier: Path, transport: str) -> None:
    with served(classifier, transport) as server, ThreadPoolExecutor(2) as pool:
        with server.busy():
            kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
            kept.request("GET", "/v2")
            kept.getresponse().read()
            waits = pool.submit(server.infer, ["is it on"])
            wait_for(lambda: server.app.worker.waiting == 1)
            ends = pool.submit(server.running.end)
            wait_for(lambda: not _listening(server.port))
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS)
            assert not waits.done()
        assert waits.result(PATIENCE_SECONDS)[0] == 200
        assert ends.result(PATIENCE_SECONDS) == 0
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            kept.request("GET", "/v2")
            kept.getresponse()
        kept.close()


def test_what_does_not_end_is_cut_off_and_counted(classifier: Path, transport: str) -> None:
    with served(classifier, transport, replace(LIMITS, drain_seconds=1.0)) as server, ThreadPoolExecutor(1) as pool:
        with server.busy():
            waits = pool.submit(server.infer, ["is it on"])
            wait_for(lambda: server.app.worker.waiting == 1)
            began = time.monotonic()
            assert server.running.end() == 1
            assert time.monotonic() - began > 0.9
        status, found = waits.result(PATIENCE_SECONDS)
        assert (status, found["what"]) == (503, "the server shut down before the answer was complete")


def test_without_the_extra_it_says_what_to_install(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.cli import app as cli

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "edgekit.serve.asgi", raising=False)
    with pytest.raises(NotPossibleHere, match=r"pip install 'edgekit\[serve\]'"):
        cli.serve(classifier)


def test_small_writes_are_sent_at_once() -> None:
    with listen("localhost", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def _listening(port: int) -> bool:
    """Whether a socket of this machine listens at `port`; trying to connect would leave a connection that is never served."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


WATCHED = """
import os, signal, sys, time
from edgekit.runtime.serve.last_resort import last_resort
signal.signal(signal.SIGTERM, lambda *_: None)
with last_resort(60):
    (child,) = map(int, open(f"/proc/self/task/{os.getpid()}/children").read().split())
    def ignored():
        return int(open(f"/proc/{child}/status").read().partition("SigIgn:")[2].split()[0], 16) >> (signal.SIGTERM - 1) & 1
    while not ignored():
        time.sleep(0.01)
    os.kill(child, signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    assert os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None, "told with the server, it goes on"
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").is_file(), reason="this kernel does not list children")
def test_whoever_ends_the_whole_group_sees_no_traceback() -> None:
    """systemd signals the process that watches the server as well."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
