"""The store that machines share: what one made, another takes; whatever the store does, nothing but what was written is used."""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit import shared_store
from edgekit.errors import BadInput, NotPossibleHere
from edgekit.pipeline.execute import run_stages
from edgekit.progress import Show
from edgekit.shared_store import SharedStore, open_shared
from edgekit.store import RECORD, Context, Stage, find, where_in
from tests.conftest import ROOT
from tests.test_store import quiet, writer

fsspec = pytest.importorskip("fsspec")


class Said(Show):
    """Keeps what is shown."""

    def __init__(self) -> None:
        super().__init__(silent=True)
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Address of a server that speaks S3, in this process, with a bucket called "stages"."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    asked = urllib.request.Request(f"http://{host}:{port}/stages", method="PUT")
    with urllib.request.urlopen(asked):
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["file", "memory", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "s3":
        return f"file://{tmp_path}/shared" if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    said = {
        "ENDPOINT_URL": request.getfixturevalue("s3"),
        "ACCESS_KEY_ID": "of",
        "SECRET_ACCESS_KEY": "nobody",
        "DEFAULT_REGION": "us-east-1",
    }
    for name, value in said.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return f"s3://stages/{uuid.uuid4().hex}"


def counted(made: list[str], name: str = "write", **inputs: Stage) -> Stage:
    """A stage that says each time when it is run."""

    def run(context: Context) -> dict[str, Any]:
        made.append(name)
        return dict(writer(name)(context))

    return Stage(name, name, run, settings={"text": name}, inputs=inputs)


def made_on(build: Path, shared: SharedStore | None, stages: list[Stage]) -> Said:
    said = Said()
    run_stages(stages, build, said, shared=shared)
    return said


def test_what_one_machine_made_another_takes(tmp_path: Path, address: str) -> None:
    made: list[str] = []
    first = counted(made, "first")
    stages = [first, counted(made, "second", before=first)]
    made_on(tmp_path / "one", open_shared(address), stages)
    finished = run_stages(stages, tmp_path / "two", Show(silent=True), shared=open_shared(address))
    assert made == ["first", "second"] and finished.made_now == frozenset()
    for stage in stages:
        (one, _), (two, _) = find(tmp_path / "one", stage), find(tmp_path / "two", stage)
        assert one is not None and two is not None and (one.metrics, one.seconds) == (two.metrics, two.seconds)
        names = sorted(str(path.relative_to(one.path)) for path in one.path.rglob("*") if path.is_file())
        assert [(one.path / name).read_bytes() for name in names] == [(two.path / name).read_bytes() for name in names]
    assert not list(tmp_path.rglob("*.partial"))


def test_what_was_made_before_goes_there_too(tmp_path: Path, address: str) -> None:
    made: list[str] = []
    made_on(tmp_path / "one", None, [counted(made)])
    made_on(tmp_path / "one", open_shared(address), [counted(made)])
    made_on(tmp_path / "two", open_shared(address), [counted(made)])
    assert made == ["write"]


def damage(address: str, how: str) -> None:
    """Change what lies in a store."""
    shared = open_shared(address)
    system, root = shared.system, shared.root
    (listed,) = system.find(f"{root}/stages")
    files = json.loads(system.cat_file(listed))
    blob = shared._file(files["files"]["deep/b.bin"]["sha256"])
    if how == "bytes":
        system.pipe_file(blob, b"\1" + system.cat_file(blob)[1:])
    elif how == "shorter":
        system.pipe_file(blob, system.cat_file(blob)[:-1])
    elif how == "endless":
        system.pipe_file(blob, bytes(10_000))
    elif how == "gone":
        system.rm_file(blob)
    elif how == "no list":
        system.pipe_file(listed, b"{}")
    elif how == "another list":
        files["files"]["a.txt"] = files["files"]["deep/b.bin"]
        system.pipe_file(listed, json.dumps(files).encode())
    elif how == "a path that leads out":
        files["files"]["../../out"] = files["files"].pop("a.txt")
        system.pipe_file(listed, json.dumps(files).encode())
    elif how == "another record":
        record = next(path for path in system.find(f"{root}/files") if b'"metrics"' in system.cat_file(path))
        system.pipe_file(record, system.cat_file(record).replace(b'"length": 5', b'"length": 6'))


LIES = ("bytes", "shorter", "endless", "gone", "no list", "another list", "a path that leads out", "another record")


@pytest.mark.parametrize(("address", "how"), [*(("file", how) for how in LIES), ("s3", "bytes")], indirect=["address"])
def test_a_store_that_lies_is_not_believed(tmp_path: Path, address: str, how: str) -> None:
    made: list[str] = []
    made_on(tmp_path / "one", open_shared(address), [counted(made)])
    damage(address, how)
    said = made_on(tmp_path / "two", open_shared(address), [counted(made)])
    assert made == ["write", "write"] and any("not what was written" in line for line in said.lines), said.lines
    again = made_on(tmp_path / "three", open_shared(address), [counted(made)])
    assert made == ["write", "write"] and not any("not what" in line for line in again.lines), "it was written again"
    assert find(tmp_path / "three", counted(made))[0] is not None and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("address", "at"), [("file", "put_file"), ("file", "mv"), ("s3", "mv")], indirect=["address"])
def test_an_upload_that_is_broken_off_is_not_taken(
    tmp_path: Path, address: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    shared = open_shared(address)
    done = getattr(shared.system, at)

    def broken(source: str, target: str) -> None:
        done(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shared.system, at, broken)
        made_on(tmp_path / "one", shared, [counted(made)])
    assert open_shared(address).take(tmp_path / "two", counted(made), quiet) == (None, None)
    made_on(tmp_path / "one", open_shared(address), [counted(made)])
    made_on(tmp_path / "two", open_shared(address), [counted(made)])
    assert made == ["write"] and not shared.system.find(f"{shared.root}/parts")


def test_a_result_of_another_stage_is_not_taken(tmp_path: Path) -> None:
    root, made = tmp_path / "shared", list[str]()
    one, other = counted(made, "one"), counted(made, "other")
    made_on(tmp_path / "one", open_shared(f"file://{root}"), [one])
    place = root / "stages" / f"{where_in(other)}.json"
    place.parent.mkdir(parents=True)
    shutil.copy(root / "stages" / f"{where_in(one)}.json", place)
    said = made_on(tmp_path / "two", open_shared(f"file://{root}"), [other])
    assert made == ["one", "other"] and "its record is of another stage" in said.lines[0]


@pytest.mark.parametrize("at", ["open", "mv", "exists", "put_file"])
def test_a_store_that_goes_away_stops_nothing(tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root, made = tmp_path / "shared", list[str]()
    stages = [counted(made, name) for name in ("first", "second", "third")]
    shared = open_shared(f"file://{root}")
    now = [0.0]
    monkeypatch.setattr("edgekit.shared_store.time.monotonic", lambda: now[0])

    def gone(*given: Any, **named: Any) -> Any:
        raise ConnectionResetError("the other side is gone")

    with monkeypatch.context() as patch:
        patch.setattr(shared.system, at, gone)
        said = made_on(tmp_path / "one", shared, stages)
    assert made == ["first", "second", "third"] and not list(root.rglob("parts/*"))
    assert sum("(the other side is gone)" in line for line in said.lines) == 1, "it is said once"
    made_on(tmp_path / "one", shared, stages)
    assert not list(root.glob("stages/*")), "it is left alone for a while"
    now[0] = shared_store.ASKED_AGAIN_SECONDS + 1
    made_on(tmp_path / "one", shared, stages)
    made_on(tmp_path / "two", open_shared(f"file://{root}"), stages)
    assert len(made) == 3, "what was made meanwhile is there"


def test_a_store_that_may_be_read_alone_gives_all_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, made = f"file://{tmp_path}/shared", list[str]()
    mine, theirs = counted(made, "mine"), [counted(made, name) for name in ("one", "two")]
    made_on(tmp_path / "one", open_shared(address), theirs)
    shared = open_shared(address)

    def refused(*given: Any, **named: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    for name in ("makedirs", "put_file", "pipe_file", "mv"):
        monkeypatch.setattr(shared.system, name, refused)
    said = made_on(tmp_path / "two", shared, [mine, *theirs])
    assert made == ["one", "two", "mine"] and sum("takes nothing" in line for line in said.lines) == 1, said.lines


def test_a_connection_that_was_lost_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sshfs keeps a connection that is gone, and would not answer for as long as a search takes."""
    address, made, now = f"file://{tmp_path}/shared", list[str](), [0.0]
    monkeypatch.setattr("edgekit.shared_store.time.monotonic", lambda: now[0])
    made_on(tmp_path / "one", open_shared(address), [counted(made)])
    shared = open_shared(address)
    lost = shared.system

    def gone(*given: Any, **named: Any) -> Any:
        raise RuntimeError("Connection not open")  # no OSError: libraries have errors of their own

    monkeypatch.setattr(lost, "open", gone)
    assert "does not answer (Connection not open)" in str(shared.take(tmp_path / "two", counted(made), quiet)[1])
    now[0] = shared_store.ASKED_AGAIN_SECONDS + 1
    assert shared.take(tmp_path / "two", counted(made), quiet)[0] is not None and shared.system is not lost


def test_a_bucket_that_is_not_there_is_not_made(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ENDPOINT_URL": s3,
        "ACCESS_KEY_ID": "of",
        "SECRET_ACCESS_KEY": "nobody",
        "DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(NotPossibleHere, match="bucket does not exist"):
        open_shared("s3://stagess/folder")


def test_a_kill_amid_an_upload_leaves_nothing_that_is_taken(tmp_path: Path) -> None:
    """At every change of the store: before or after any of them the process is gone."""
    made: list[str] = []
    for moment in range(1, 40):
        root = tmp_path / str(moment)
        child = os.fork()
        if child == 0:
            shared, left = open_shared(f"file://{root}"), [moment]

            def killing(do: Callable[..., Any], left: list[int] = left) -> Callable[..., Any]:
                def changing(*given: Any, **named: Any) -> Any:
                    left[0] -= 1
                    if left[0] == 0:
                        os._exit(9)
                    return do(*given, **named)

                return changing

            for name in ("makedirs", "put_file", "mv", "pipe_file"):
                setattr(shared.system, name, killing(getattr(shared.system, name)))
            made_on(root / "one", shared, [counted(made)])
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        shared = open_shared(f"file://{root}")
        artifact, fault = shared.take(root / "two", counted(made), quiet)
        assert fault is None and (artifact is not None) == ended
        if ended:
            return
    pytest.fail("it never came to its end")


WORKER = """
import sys
from pathlib import Path
from tests.test_shared_store import counted, made_on
from edgekit.shared_store import open_shared
made_on(Path(sys.argv[1]), open_shared(sys.argv[2]), [counted([], name) for name in ("a", "b", "c", "d")])
"""


def test_two_processes_at_once(tmp_path: Path) -> None:
    address, made = f"file://{tmp_path}/shared", list[str]()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path / name, address], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        for name in ("one", "two")
    ]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    shared = open_shared(address)
    said = made_on(tmp_path / "three", shared, [counted(made, name) for name in ("a", "b", "c", "d")])
    assert made == [] and all(line.endswith(f"from {address}") for line in said.lines)
    assert not shared.system.find(f"{shared.root}/parts")


def test_each_file_lies_there_once(tmp_path: Path) -> None:
    made: list[str] = []
    made_on(tmp_path / "one", open_shared(f"file://{tmp_path}/shared"), [counted(made, name) for name in ("a", "b")])
    sizes = [path.stat().st_size for path in (tmp_path / "shared" / "files").rglob("*") if path.is_file()]
    assert sizes.count(100) == 1, "both have a file of the same bytes"


def test_a_run_in_progress_keeps_what_it_has(tmp_path: Path) -> None:
    """Taking in a spoiled result leaves the scratch of a training that was cut off here."""
    root, made = tmp_path / "shared", list[str]()
    made_on(tmp_path / "one", open_shared(f"file://{root}"), [counted(made)])
    damage(f"file://{root}", "bytes")
    scratch = tmp_path / "two" / "store" / f"{where_in(counted(made))}.partial" / "scratch"
    scratch.mkdir(parents=True)
    (scratch / "epoch").write_text("3")
    assert open_shared(f"file://{root}").take(tmp_path / "two", counted(made), quiet)[0] is None
    assert (scratch / "epoch").read_text() == "3"


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("build/shared", BadInput, "no address of a store"),
        ("zip://a::file://b", BadInput, "no address of a store"),
        ("file://", BadInput, "no address of a store"),
        ("nothing://bucket", BadInput, "no store of this kind: nothing"),
        ("file:///proc/shared", NotPossibleHere, "does not answer"),
        ("file://mnt/shared", BadInput, "begins with /, and mnt/shared is one of wherever"),
        ("s3://bucket/a?b", BadInput, r"\? in its name"),
        ("ssh://host/x[1]*", BadInput, r"\* \[ in its name"),
        ("reference://x", NotPossibleHere, "does not answer"),
    ],
)
def test_addresses_of_no_store(address: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        open_shared(address)


def test_something_else_lies_there(tmp_path: Path) -> None:
    (tmp_path / shared_store.MARK).write_text('{"schema_version": 99}')
    with pytest.raises(BadInput, match=r"no store of this edgekit: edgekit-store\.json"):
        open_shared(f"file://{tmp_path}")


def test_a_password_is_not_shown() -> None:
    with pytest.raises(BadInput) as fault:
        open_shared("nothing://somebody:secret@host/folder")
    assert "secret" not in str(fault.value) + str(fault.value.where) and "somebody:***@host" in str(fault.value.where)


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(NotPossibleHere, match="library for s3") as fault:
        open_shared("s3://bucket/folder")
    assert "edgekit[store-s3]" in str(fault.value.fix)


def test_a_stage_that_trains_together_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, made = f"file://{tmp_path}/shared", list[str]()
    spread = replace(counted(made), spread=True)
    made_on(tmp_path / "one", open_shared(address), [spread])
    monkeypatch.setenv("RANK", "0")
    made_on(tmp_path / "two", open_shared(address), [spread])
    assert len(made) == 2 and (find(tmp_path / "two", spread)[0] or pytest.fail()).path.joinpath(RECORD).is_file()


def test_a_store_is_begun_in_a_folder_that_is_there_alone(tmp_path: Path) -> None:
    """A slip of the pen made one at the root of the disk, and filled it."""
    with pytest.raises(BadInput, match="there is no folder"):
        open_shared(f"file://{tmp_path}/nosuch/store")
    assert not (tmp_path / "nosuch").exists()
    assert open_shared(f"file://{tmp_path}/store").begun and not open_shared(f"file://{tmp_path}/store").begun
