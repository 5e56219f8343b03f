"""The store: same key, not run again; a kill leaves whole results or none; corrupt entries are seen."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.config.quantize import Quantize, WeightOnly
from edgekit.errors import CheckFailed, NotPossibleHere
from edgekit.pipeline.execute import run_stages
from edgekit.progress import Show
from edgekit.runtime.digest import digest_line
from edgekit.runtime.outputs import write_atomically
from edgekit.store import Context, KeyPart, Stage, being_made, find, in_key, produce, sweep
from tests.waiting import PATIENCE_SECONDS, files_at, wait_for


def quiet(done: float, total: float, text: str) -> None:
    """No progress."""


def writer(text: str) -> Any:
    def run(context: Context) -> dict[str, Any]:
        (context.out / "a.txt").write_text(text)
        (context.out / "deep").mkdir()
        (context.out / "deep" / "b.bin").write_bytes(b"\0" * 100)
        return {"length": len(text)}

    return run


def stage(text: str = "hello", **changes: Any) -> Stage:
    return Stage("write", "write", writer(text), settings={"text": text}, **changes)


def test_a_result_is_found_again(tmp_path: Path) -> None:
    made = produce(tmp_path, stage(), {}, quiet)
    found, corrupt = find(tmp_path, stage())
    assert corrupt is None
    assert found is not None and found.path == made.path
    assert found.metrics == {"length": 5}
    assert not list(made.path.parent.glob("*.partial"))


def test_everything_that_matters_is_in_the_key() -> None:
    base = stage()
    keys = {
        base.key,
        stage("other").key,
        stage(version=2).key,
        stage(inputs={"up": stage("up")}).key,
        stage(external={"data": "abc"}).key,
        stage(target_fields={"threads": 2}).key,
        stage(tools=("numpy",)).key,
    }
    assert len(keys) == 7
    assert stage().key == base.key


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(path.read_text())
    change(document)
    return json.dumps(document).encode()


def written(path: Path, data: bytes) -> None:
    """Write `data` with the digest that one who means it writes."""
    path.write_bytes(data)
    path.with_name(f"{path.name}.sha256").write_bytes(digest_line(path.name, data))


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


RECORD, FILE = Path("stage.json"), Path("deep", "b.bin")
SPOIL: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda at: (at / FILE).write_bytes(b"\0" * 99 + b"\1"),
    "a file is gone": lambda at: (at / FILE).unlink(),
    "a file more": lambda at: (at / "more").write_text("x"),
    "a pipe more": lambda at: os.mkfifo(at / "more"),
    "a file is a pipe": lambda at: piped(at / FILE),
    "a file is a folder": lambda at: ((at / FILE).unlink(), (at / FILE).mkdir()),
    "metrics": lambda at: (at / RECORD).write_bytes(edited(at / RECORD, lambda record: record["metrics"].update(length=6))),
    "identity": lambda at: written(at / RECORD, edited(at / RECORD, lambda record: record["identity"].update(settings={"text": "another"}))),
    "seconds": lambda at: (at / "timing.json").write_text('{"seconds": 1e9}'),
    "seconds below nought": lambda at: written(at / "timing.json", b'{"seconds": -1}'),
    "no digest": lambda at: (at / "stage.json.sha256").unlink(),
    "another digest": lambda at: (at / "stage.json.sha256").write_text(f"{'0' * 64}  stage.json\n"),
    "half a record": lambda at: written(at / RECORD, b"{"),
    "no record": lambda at: (at / RECORD).unlink(),
    "an empty record": lambda at: (at / RECORD).write_text(""),
    "not UTF-8": lambda at: written(at / RECORD, b"\xff"),
    "files are a list": lambda at: written(at / RECORD, edited(at / RECORD, lambda record: record.update(files=["deep/b.bin"]))),
    "a size is a text": lambda at: written(at / RECORD, edited(at / RECORD, lambda record: record["files"]["a.txt"].update(size="5"))),
    "metrics are a list": lambda at: written(at / RECORD, edited(at / RECORD, lambda record: record.update(metrics=[]))),
    "a field more": lambda at: written(at / RECORD, edited(at / RECORD, lambda record: record.update(more=1))),
    "a record of before": lambda at: written(at / RECORD, edited(at / RECORD, lambda record: record.update(schema_version=1))),
    "too deep": lambda at: written(at / RECORD, b"[" * 100_000),
    "the record is a pipe": lambda at: piped(at / RECORD),
    "the record is a folder": lambda at: ((at / RECORD).unlink(), (at / RECORD).mkdir()),
    "the record is a device": lambda at: ((at / RECORD).unlink(), (at / RECORD).symlink_to("/dev/zero")),
    "the record is sparse": lambda at: os.truncate(at / RECORD, 1 << 40),
    "all of it is a file": lambda at: (shutil.rmtree(at), at.write_text("x")),
    "all of it is a link to nothing": lambda at: (shutil.rmtree(at), at.symlink_to("nothing")),
    "all of it is a pipe": lambda at: (shutil.rmtree(at), os.mkfifo(at)),
}  # fmt: skip


@pytest.mark.parametrize("spoil", SPOIL)
def test_a_corrupt_entry_is_told_in_one_line_and_made_again(
    tmp_path: Path, spoil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = produce(tmp_path, stage(), {}, quiet)
    SPOIL[spoil](made.path)
    found, corrupt = find(tmp_path, stage())
    assert found is None and corrupt
    again = run_stages([stage()], tmp_path, Show()).artifacts[stage().key]
    told = capsys.readouterr().err.splitlines()
    assert (
        len(told) == 2 and told[0].startswith("  corrupt entry of stage write (") and told[0].endswith("; it is made again")
    ), told
    assert again.metrics == {"length": 5} and (again.path / FILE).read_bytes() == b"\0" * 100
    assert find(tmp_path, stage()) == (again, None)


def test_every_bit_of_a_record_matters(tmp_path: Path) -> None:
    made = produce(tmp_path, stage(), {}, quiet)
    generator = random.Random(0)
    for path in [path for path in made.path.rglob("*") if path.is_file()]:
        data = path.read_bytes()
        for place in generator.sample(range(8 * len(data)), min(60, 8 * len(data))):
            flipped = bytearray(data)
            flipped[place // 8] ^= 1 << place % 8
            path.write_bytes(flipped)
            assert find(tmp_path, stage())[0] is None, f"bit {place} of {path.name}"
        path.write_bytes(data)
    assert find(tmp_path, stage())[0] is not None


LEFT: dict[str, Callable[[Path], object]] = {
    "no text": lambda at: (at / "spent.json").write_text(""),
    "no object": lambda at: (at / "spent.json").write_text("3.5"),
    "not a number": lambda at: (at / "spent.json").write_text('{"seconds": "3"}'),
    "a pipe": lambda at: piped(at / "spent.json"),
}


@pytest.mark.parametrize("left", LEFT)
def test_a_try_whose_own_record_is_corrupt_is_begun_again(
    tmp_path: Path, left: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(context: Context) -> dict[str, Any]:
        before = len(list(context.scratch.iterdir()))
        (context.scratch / f"try-{before}").write_text("x")
        if not (tmp_path / "go").exists():
            raise RuntimeError("not yet")
        return {"tries before": before}

    broken = Stage("fail", "fail", run)
    with pytest.raises(RuntimeError):
        produce(tmp_path, broken, {}, quiet)
    LEFT[left](next((tmp_path / "store" / "fail").glob("*.partial")))
    (tmp_path / "go").touch()
    assert run_stages([broken], tmp_path, Show()).artifacts[broken.key].metrics == {"tries before": 0}
    assert capsys.readouterr().err.startswith("  corrupt entry of stage fail (")


@pytest.mark.parametrize("name", ["", "lock", "out", "scratch"])
@pytest.mark.parametrize("kind", ["file", "pipe", "link"])
def test_what_stands_where_a_run_works_is_put_aside(tmp_path: Path, name: str, kind: str) -> None:
    folder = tmp_path / "store" / "write" / f"{stage().key[:32]}.partial"
    (folder if name else folder.parent).mkdir(parents=True)
    place = folder / name
    {"file": place.touch, "pipe": lambda: os.mkfifo(place), "link": lambda: place.symlink_to(tmp_path / "nothing")}[kind]()
    assert not being_made(tmp_path, stage())
    assert produce(tmp_path, stage(), {}, quiet).metrics == {"length": 5}
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", 10**30])
def test_figures_that_cannot_be_read_again_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(CheckFailed, match="cannot be kept"):
        produce(tmp_path, Stage("odd", "odd", lambda context: {"figure": value}), {}, quiet)


def test_a_failure_is_not_kept_but_its_scratch_is(tmp_path: Path) -> None:
    def failing(context: Context) -> dict[str, Any]:
        count = len(list(context.scratch.iterdir()))
        (context.scratch / f"try-{count}").write_text("x")
        if count < 2:
            raise RuntimeError("not yet")
        return {"tries": count + 1}

    broken = Stage("fail", "fail", failing)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            produce(tmp_path, broken, {}, quiet)
        assert find(tmp_path, broken) == (None, None)
    assert produce(tmp_path, broken, {}, quiet).metrics == {"tries": 3}


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    def full(context: Context) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(NotPossibleHere, match="no space left on the disk") as fault:
        produce(tmp_path, Stage("full", "full", full), {}, quiet)
    assert fault.value.exit_code == 3


SLOW = """
import sys, time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from edgekit.store import Stage, produce

def run(context):
    done = sorted(path.name for path in context.scratch.iterdir())
    for number in range(len(done), 20):
        time.sleep(0.01)
        (context.out / "whole").write_text(str(number * number))
        (context.out / "whole").rename(context.scratch / f"{number:02}")  # a kill while it is written leaves no empty file there
        (context.out / f"part-{number:02}").write_text("unfinished")
    for path in list(context.out.iterdir()):
        path.unlink()
    (context.out / "result").write_text(",".join(path.read_text() for path in sorted(context.scratch.iterdir())))
    return {}

produce(Path(sys.argv[1]), Stage("slow", "slow", run), {}, lambda *_: None)
"""


def test_killed_at_any_moment_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    slow = Stage("slow", "slow", lambda context: {})
    for attempt in range(12):
        process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)])
        wait_for(lambda: process.poll() is not None or len(files_at(f"{tmp_path}/store/slow/*/scratch/*")) > 2 * attempt)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        process.wait()
        found, corrupt = find(tmp_path, slow)
        assert corrupt is None, "a kill never leaves half a result in sight"
        if found is not None:
            break
    subprocess.run([sys.executable, "-c", SLOW, str(tmp_path)], check=True)
    found, _ = find(tmp_path, slow)
    assert found is not None
    assert (found.path / "result").read_text() == ",".join(str(number * number) for number in range(20))
    assert sorted(path.name for path in found.path.iterdir()) == [
        "result",
        "stage.json",
        "stage.json.sha256",
        "timing.json",
        "timing.json.sha256",
    ]


def counted(root: str, tally: str) -> None:
    def run(context: Context) -> dict[str, Any]:
        with Path(tally).open("a") as file:
            file.write("ran\n")
        time.sleep(0.3)
        (context.out / "x").write_text("x")
        return {}

    produce(Path(root), Stage("counted", "counted", run), {}, quiet)


def test_two_runs_at_once_do_the_work_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    tally = tmp_path / "tally"
    runs = [context.Process(target=counted, args=(str(tmp_path), str(tally))) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
        assert run.exitcode == 0
    assert tally.read_text() == "ran\n"


def held(root: str, started: Any, go: Any) -> None:
    def run(context: Context) -> dict[str, Any]:
        started.set()
        go.wait(PATIENCE_SECONDS)
        (context.out / "a.txt").write_text("slow")
        return {"by": "the other"}

    produce(Path(root), Stage("slow", "slow", run), {}, quiet)


def test_what_another_run_is_making_is_put_off(tmp_path: Path) -> None:
    order: list[str] = []

    def noted(name: str) -> Any:
        def run(context: Context) -> dict[str, Any]:
            order.append(name)
            if name == "quick":
                go.set()
            return {"by": "this one"}

        return run

    slow = Stage("slow", "slow", noted("slow"))
    quick = Stage("quick", "quick", noted("quick"))
    last = Stage("last", "last", noted("last"), inputs={"slow": slow, "quick": quick})
    assert not being_made(tmp_path, slow)
    context = multiprocessing.get_context("fork")
    started, go = context.Event(), context.Event()
    other = context.Process(target=held, args=(str(tmp_path), started, go))
    other.start()
    assert started.wait(PATIENCE_SECONDS)
    assert being_made(tmp_path, slow)
    finished = run_stages([slow, quick, last], tmp_path, Show(silent=True))
    done, fresh = finished.artifacts, finished.made_now
    other.join(PATIENCE_SECONDS)
    assert order == ["quick", "last"]  # had it waited for the first, `go` would never have been set
    assert done[slow.key].metrics == {"by": "the other"}
    assert fresh >= {quick.key, last.key}
    assert not being_made(tmp_path, slow)


def test_atomic_write_leaves_no_litter(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", "1")
    write_atomically(tmp_path / "a.json", "2")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "2"


@dataclass(frozen=True)
class Settings:
    """Settings of a stage, as plans write them."""

    rows: int
    quantize: Quantize
    names: tuple[str, ...] = ()
    drop: float | None = None


def test_settings_stand_in_the_key_field_by_field() -> None:
    def key(settings: KeyPart) -> str:
        return Stage("typed", "typed", writer(""), settings=settings).key

    base = Settings(3, WeightOnly(format="int8-weights"))
    changed = [
        replace(base, rows=4),
        replace(base, quantize=WeightOnly(format="int8-weights", block=64)),
        replace(base, names=("a",)),
        replace(base, drop=0.0),
    ]
    assert len({key(settings) for settings in (base, *changed)}) == 5
    assert key(base) == key(Settings(3, WeightOnly(format="int8-weights", block=32))), (
        "a default that is written out is the same setting"
    )
    document = in_key(base)
    assert isinstance(document, dict) and set(document) == {"rows", "quantize", "names", "drop"}
    assert document["quantize"] == WeightOnly(format="int8-weights").model_dump(), (
        "defaults stand in the key, so that a changed default changes it"
    )
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize("value", [{1, 2}, Path("x"), b"x", object()])
def test_what_has_no_json_of_its_own_cannot_stand_in_a_key(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot stand in a stage's key"):
        in_key({"field": [value]})


def test_what_a_run_left_beside_a_finished_result_is_removed_by_the_next(tmp_path: Path) -> None:
    """It was killed between the rename and the removal of what it worked in."""
    made = produce(tmp_path, stage(), {}, quiet).path
    left = made.with_name(made.name + ".partial")
    left.mkdir()
    with (left / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep(tmp_path, stage())
        assert left.is_dir(), "another run is at it"
    sweep(tmp_path, stage())
    assert not left.exists() and find(tmp_path, stage())[1] is None
    sweep(tmp_path, stage())
