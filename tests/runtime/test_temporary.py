"""Where no temporary folder can be written: said with what to do, in every command that needs one, and nothing before it is lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.runtime.bench.lone import bench_bundle
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.main import main
from edgekit.runtime.temporary import new_folder, temporary_folder
from tests.runtime.serve.serving import make_bundle
from tests.runtime.test_forks import archive  # noqa: F401  (a fixture)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """No temporary folder there is can be written, as on a read-only system."""
    gone = tmp_path / "gone"
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(gone)])
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield gone
    monkeypatch.undo()


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("command", [["run", "the inn"], ["verify"], ["info"], ["bench", "--processes", "1"]])
def test_an_archive_is_not_possible_here(archive: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    assert main([command[0], str(archive), *command[1:]]) == 3
    said = capsys.readouterr().err
    assert "no folder for temporary files can be written" in said and "set TMPDIR" in said and str(archive) in said


@pytest.mark.usefixtures("nowhere")
def test_a_folder_answers_and_is_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_bundle(tmp_path, "text-classification")
    assert main(["run", str(bundle), "turn on the light"]) == main(["verify", str(bundle)]) == 0
    capsys.readouterr()
    assert main(["bench", str(bundle), "--processes", "1"]) == 3
    assert "bench: no folder for temporary files can be written" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_fills_up_on_the_way(number: int) -> None:
    with pytest.raises(NotPossibleHere, match="set TMPDIR") as caught, temporary_folder("bench") as folder:
        (folder / "a").write_text("a")
        raise OSError(number, os.strerror(number), str(folder / "b"))
    assert os.strerror(number) in caught.value.text() and not folder.exists()
    with pytest.raises(PermissionError), temporary_folder("bench"):
        raise PermissionError(errno.EACCES, "another matter")


def test_folders_are_of_their_own(tmp_path: Path) -> None:
    first, second = new_folder("a"), new_folder("a")
    assert first != second and not list(first.iterdir())
    first.rmdir()
    second.rmdir()


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("none/x.json", "there is no such folder for it"),
        ("", "is a folder, and a file is written"),
        ("file/x.json", "file is no folder"),
    ],
)
def test_a_place_for_the_result_that_is_none_is_said_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, says: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("edgekit.runtime.bench.lone.checked", lambda path: pytest.fail("it began"))
    with pytest.raises(BadInput, match=rf"--out [^\0]*{says}[^\0]*fix: ") as caught:
        bench_bundle(tmp_path, threads=1, processes=1, seconds=0.1, out=tmp_path / place)
    assert str(tmp_path / place) in caught.value.text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "x.json"
    out.write_text(json.dumps({"earlier": 1}))
    with pytest.raises(BadInput, match="no bundle here"):
        bench_bundle(tmp_path / "none", threads=1, processes=1, seconds=0.1, out=out)
    assert json.loads(out.read_text()) == {"earlier": 1} and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(BadInput):
        open_bundle(tmp_path)


def test_what_a_killed_process_left_is_removed_by_the_next_that_needs_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        (new_folder("killed") / "weights").write_bytes(b"1")
        os.write(tell, b"1")
        signal.pause()
    os.read(told, 1)
    foreign = tmp_path / "edgekit-of-an-earlier-release"
    foreign.mkdir()
    with temporary_folder("another") as mine:
        assert len(set(tmp_path.iterdir()) - {mine, foreign}) == 1, "a folder of a process that lives is left alone"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with temporary_folder("the next") as mine:
        assert set(tmp_path.iterdir()) == {mine, foreign}
        with temporary_folder("within") as inner:
            assert mine.is_dir() and inner.is_dir()
    assert list(tmp_path.iterdir()) == [foreign]
