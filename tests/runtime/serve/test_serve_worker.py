"""The model's thread survives what a request does to it; where it cannot, the server says so, answers who waits with 503, and ends."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.forks import at_exit_here, leave
from edgekit.runtime.serve.message import Refusal
from edgekit.runtime.serve.worker import Worker
from tests.runtime.serve.serving import Server, served
from tests.runtime.test_forks import in_child
from tests.waiting import PATIENCE_SECONDS, wait_for

DRAIN = 1.0
FAULTY = """
import re, sys, threading
from pathlib import Path
from edgekit.runtime.errors import EdgekitError
from edgekit.runtime.serve.command import serve_bundle
from edgekit.runtime.serve.limits import Limits
from edgekit.runtime.serve.transport import serve
from edgekit.runtime.serve.worker import Worker
from edgekit.runtime.tokenise import Tokeniser

whole, work = Tokeniser.text, Worker._work

def text(self, given):
    if given == "waits":
        threading.Event().wait()
    if given == "holds":
        re.match("(a+)+$", "a" * 64 + "b")  # within one call of C, which no other thread interrupts
    return whole(self, given)

def done(self, job):
    if job.steps.gi_frame.f_locals["items"] == ["dies"]:
        raise SystemExit("a fault of the worker's own")
    return work(self, job)

Tokeniser.text, Worker._work = text, done
try:
    limits = Limits(drain_seconds=float(sys.argv[2]), step_seconds=float(sys.argv[3]))
    sys.exit(1 if serve_bundle(Path(sys.argv[1]), serve, port=0, limits=limits) else 0)
except EdgekitError as fault:
    print(fault.text(), file=sys.stderr)
    sys.exit(fault.exit_code)
"""


class Panic(BaseException):
    """As tokenizers raises, where Rust's code fails."""


@contextmanager
def faulty(bundle: Path, step_seconds: float = 600.0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own that some texts harm, and its port."""
    words = [sys.executable, "-c", FAULTY, str(bundle), str(DRAIN), str(step_seconds)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        found = re.search(r":(\d+) is open", process.stderr.readline())
        assert found
        assert any("ready: " in line for line in process.stderr)
        yield process, int(found[1])
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def ask(port: int, text: str | None = None) -> tuple[int, Any]:
    """The answer to `text`; None: whether it is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        if text is None:
            connection.request("GET", "/v2/health/ready")
        else:
            tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
            body = json.dumps({"inputs": [tensor]})
            connection.request("POST", "/v2/models/tiny-text-classification/infer", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def jobs(*makes: Any) -> list[Any]:
    """What becomes of several jobs of one worker, in which `makes` are called."""

    def work(make: Any) -> Iterator[Any]:
        yield make()

    async def all_of_them() -> list[Any]:
        submitted = [worker.submit(work(make)) for make in makes]  # type: ignore[arg-type]
        return await asyncio.gather(*(anext(job) for job in submitted), return_exceptions=True)

    worker = Worker(len(makes))
    found = asyncio.run(all_of_them())
    assert worker.broken is None and worker.close(PATIENCE_SECONDS)
    return found


@pytest.mark.parametrize("kind", [Panic, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, RecursionError, OSError])
def test_whatever_a_job_raises_the_next_one_is_done(kind: type[BaseException]) -> None:
    def fails() -> None:
        raise kind("x" * 1000)

    first, second = jobs(fails, lambda: "done")
    assert isinstance(first, kind if issubclass(kind, Exception) else CheckFailed)
    assert len(str(first)) <= 1000 and second == "done"


def test_a_panic_is_an_answer_and_no_end(classifier: Path, transport: str, capfd: pytest.CaptureFixture[str]) -> None:
    with served(classifier, transport) as server, pytest.MonkeyPatch.context() as patch:
        tokenise = server.app.model.reader
        patch.setattr(type(tokenise), "text", lambda self, text: (_ for _ in ()).throw(Panic("retry-limit-in-match over")))
        status, found = server.infer(["is it on"])
        patch.undo()
        assert status == 500 and "retry-limit-in-match" in found["what"]
        assert server.infer(["is it on"])[0] == 200 and server.ask("GET", "/v2/health/ready")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_thread_that_ended_is_not_ready(classifier: Path, transport: str) -> None:
    with served(classifier, transport) as server, ThreadPoolExecutor(3) as pool, pytest.MonkeyPatch.context() as patch:
        begun, dying = threading.Event(), threading.Event()

        def dies(worker: Worker, job: Any) -> None:
            begun.set()
            assert dying.wait(PATIENCE_SECONDS)
            raise MemoryError

        patch.setattr(Worker, "_work", dies)
        waiting = [pool.submit(server.infer, ["is it on"])]
        assert begun.wait(PATIENCE_SECONDS)
        waiting += [pool.submit(server.infer, ["is it on"]) for _ in range(2)]
        wait_for(lambda: server.app.worker.waiting == 2)
        dying.set()
        for one in waiting:
            status, found = one.result(PATIENCE_SECONDS)
            assert status == 503 and "out of order" in found["what"]
        not_ready(server)


def test_a_run_that_does_not_end_is_not_ready(classifier: Path, transport: str) -> None:
    with served(classifier, transport) as server:
        with server.busy():
            server.app.worker.step_seconds = 0.01
            wait_for(lambda: server.app.worker.broken is not None)
            not_ready(server)
        wait_for(lambda: server.ask("GET", "/v2/health/ready")[0] == 200)


def not_ready(server: Server) -> None:
    """`server` refuses everything that needs the model, and lives."""
    for method, path in (("GET", "/v2/health/ready"), ("GET", "/v2/models/tiny-text-classification/ready")):
        status, _, found = server.ask(method, path)
        assert status == 503 and "out of order" in found["what"], found
    assert server.ask("POST", "/v2/models/tiny-text-classification/infer", {})[0] == 503
    assert server.ask("GET", "/v2/health/live")[0] == 200
    assert server.metric("edgekit_ready") == 0


def test_a_server_whose_worker_died_ends(classifier: Path) -> None:
    with faulty(classifier) as (process, port):
        assert ask(port, "is it on")[0] == 200
        status, found = ask(port, "dies")
        assert status == 503 and "a fault of the worker's own" in found["what"]
        assert process.wait(PATIENCE_SECONDS) == 1
        assert process.stderr is not None
        said = process.stderr.read()
        assert "out of order, so it ends" in said and "start it again" in said and "Traceback" not in said


def test_a_server_whose_model_hangs_ends(classifier: Path) -> None:
    with faulty(classifier, step_seconds=0.5) as (process, port), ThreadPoolExecutor(3) as pool:
        (first, why), *others = pool.map(ask, [port] * 3, ["waits", "is it on", "is it on"])
        assert first == 503 and "has not ended within 0.5 s" in why["what"], why
        for status, found in others:  # those that came before it are answered
            assert status == 200 or (status == 503 and "has not ended within 0.5 s" in found["what"]), found
        assert process.wait(PATIENCE_SECONDS) == 1


@pytest.mark.parametrize("text", ["waits", "holds"])
def test_told_to_end_it_does_so_whatever_the_model_does(classifier: Path, text: str) -> None:
    with faulty(classifier) as (process, port), ThreadPoolExecutor(1) as pool:
        began = threading.Event()

        def client() -> object:
            began.set()
            try:
                return ask(port, text)[0]
            except (http.client.HTTPException, OSError) as fault:
                return fault

        asked = pool.submit(client)
        assert began.wait(PATIENCE_SECONDS)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        code = process.wait(PATIENCE_SECONDS)
        assert time.monotonic() - told < 10 * DRAIN
        if text == "waits":  # the server itself lives, and answers
            assert (code, asked.result()) == (1, 503)
        else:
            assert code == -signal.SIGKILL
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_leaving_at_once_does_what_is_to_be_done_at_the_end(tmp_path: Path) -> None:
    held, other = Path(tmp_path / "held"), threading.Event()
    held.mkdir()

    def child() -> bool:
        at_exit_here(other, held.rmdir)
        leave(7)

    assert in_child(child) == 7
    assert not held.exists()


def test_a_refusal_of_a_broken_worker_says_what_to_do() -> None:
    worker = Worker(1)
    worker._fault = "the model's thread has ended: MemoryError: "

    async def submit() -> None:
        worker.submit(iter(()))  # type: ignore[arg-type]

    with pytest.raises(Refusal) as refusal:
        asyncio.run(submit())
    assert refusal.value.status == 503 and "another server" in refusal.value.fault.text()
    worker.close(PATIENCE_SECONDS)
