"""Several runs at one result at once, and readers beside them: each finds a whole result, the earlier or the later one."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgekit.errors import CheckFailed
from edgekit.pipeline.folder import alone, lay_out
from edgekit.progress import Show
from edgekit.runtime import outputs
from edgekit.runtime.bundle import open as opening
from edgekit.runtime.bundle.open import TRIES, open_bundle
from edgekit.runtime.model import load
from edgekit.runtime.outputs import put_in_place
from tests.runtime.serve.serving import make_bundle
from tests.tiny_manifest import rewrite_manifest
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """What the pack stage leaves of two recipes that differ in one file."""
    monkeypatch.setenv("EDGEKIT_PROOF", "never")
    first, second = tmp_path / "first", tmp_path / "second"
    make_bundle(first, "text-classification")
    shutil.rmtree(first / "source")
    for name in ("bundle.tar.gz", "runner.pyz"):
        (first / name).write_text(name)
    shutil.copytree(first, second)
    (second / "bundle" / "README.md").write_text("another")
    rewrite_manifest(second / "bundle")
    return first, second


def test_writers_and_readers_at_once(two: tuple[Path, Path], tmp_path: Path) -> None:
    result, over = tmp_path / "result", threading.Event()
    lay_out(two[0], result)
    wanted = {open_bundle(one).digest for one in two}

    def write(number: int) -> None:
        for count in range(30):
            with alone(result, Show(silent=True)):
                lay_out(two[(number + count) % 2], result)
                assert open_bundle(result).digest == open_bundle(two[(number + count) % 2]).digest

    def read() -> int:
        count = 0
        while not over.is_set():
            assert open_bundle(result).digest in wanted
            count += 1
        return count

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(read)
        try:
            for done in [pool.submit(write, number) for number in range(2)]:
                done.result()
        finally:
            over.set()
        assert reading.result()
    assert sorted(path.name for path in result.iterdir()) == ["bundle", "bundle.tar.gz", "runner.pyz"]


@pytest.mark.parametrize("use", [open_bundle, lambda path: load(path).bundle])
def test_a_bundle_that_is_replaced_while_it_is_read(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, use: Callable[[Path], opening.Bundle]
) -> None:
    """The manifest was the first one's, the files are the second one's."""
    checked, swapped = opening._check_files, []

    def swap(*arguments: object) -> None:
        if len(swapped) < most:
            put_in_place(two[1] / "bundle", two[0] / "bundle")
            swapped.append(1)
        checked(*arguments)  # type: ignore[arg-type]

    most = 1
    wanted = open_bundle(two[1]).digest
    monkeypatch.setattr(opening, "_check_files", swap)
    assert use(two[0]).digest == wanted and swapped == [1]
    most = TRIES + 1
    with pytest.raises(CheckFailed, match=f"replaced {TRIES} times"):
        open_bundle(two[0])


def test_what_is_not_whole_is_read_once(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[object] = []
    checked = opening._check_files
    monkeypatch.setattr(opening, "_check_files", lambda *given: (tries.append(given), checked(*given)))
    (two[0] / "bundle" / "model.onnx").write_bytes(b"")
    with pytest.raises(CheckFailed, match="not what the manifest says"):
        open_bundle(two[0])
    assert len(tries) == 1


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_takes_anothers_place(tmp_path: Path, exchanges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchanges:
        monkeypatch.setattr(outputs, "_exchange", lambda one, other: False)
    target = tmp_path / "target"
    for number in range(3):
        work = tmp_path / ".work.tmp"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        (work / "file").write_text(str(number))
        put_in_place(work, target)
        assert (target / "file").read_text() == str(number)
    (tmp_path / "one").write_text("1")
    put_in_place(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").read_text() == "1" and not (tmp_path / "one").exists()


def test_what_was_there_comes_back_where_it_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_exchange", lambda one, other: False)
    for name in ("work.tmp", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda one, other: fail() if Path(one).name == "work.tmp" else replace(one, other))

    def fail() -> None:
        raise PermissionError(1, "no")

    with pytest.raises(PermissionError):
        put_in_place(tmp_path / "work.tmp", tmp_path / "target")
    assert (tmp_path / "target" / "target").exists() and not (tmp_path / "work.old").exists()


def test_another_run_is_waited_for(tmp_path: Path) -> None:
    order: list[str] = []
    inside, told = threading.Event(), threading.Event()

    class Telling(Show):
        def line(self, text: str) -> None:
            order.append(text.strip())
            told.set()

    def second() -> None:
        inside.wait(PATIENCE_SECONDS)
        with alone(tmp_path / "result", Telling()):
            order.append("second")

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(second)
        with alone(tmp_path / "result", Show(silent=True)):
            inside.set()
            told.wait(PATIENCE_SECONDS)
            order.append("first")
        waiting.result()
    assert order == [f"waiting for another run that writes {tmp_path / 'result'}", "first", "second"]
