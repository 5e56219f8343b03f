"""Places that nothing can be written to are refused before any work, each with one message."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.runtime import outputs
from edgekit.runtime.bench.lone import bench_bundle
from edgekit.runtime.bench.protocol import Protocol
from edgekit.runtime.errors import BadInput, EdgekitError, NotPossibleHere
from edgekit.runtime.outputs import check_output_file, check_output_folder


@pytest.mark.parametrize(
    ("name", "said"),
    [("folder", "is a folder"), ("none/out.json", "no such folder"), ("file/out.json", "is no folder"), ("~/out.json", "home folder"),
     ("~nobody/out.json", "home folder"), ("pipe", "no plain file"), ("\udcff", "not UTF-8")],
)  # fmt: skip
def test_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match=said) as fault:
        check_output_file(Path(name), "--out")
    assert str(fault.value.where).startswith("--out ") and fault.value.fix
    with pytest.raises(BadInput, match=said):  # before the bundle is so much as looked for
        bench_bundle(tmp_path / "no bundle", threads=None, processes=1, seconds=1.0, out=Path(name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "pipe"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "no folder"),
        ("file/build", "no folder"),
        ("~/build", "home folder"),
        ("gone", "no folder"),
        ("b\udcff/build", "not UTF-8"),
    ],
)
def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=said):
        check_output_folder(Path(name), "--build")


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, NotPossibleHere), (errno.EROFS, NotPossibleHere), (errno.EDQUOT, NotPossibleHere), (errno.EACCES, BadInput)]
)  # fmt: skip
def test_a_disk_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[EdgekitError]
) -> None:
    def refuse(**given: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(outputs.tempfile, "TemporaryFile", refuse)
    for check in (check_output_file, check_output_folder):
        with pytest.raises(kind) as fault:
            check(tmp_path / "out", "--out")
        assert os.strerror(number) in fault.value.text() and fault.value.text().count("\n") == 1


def test_what_can_be_written_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out.json").write_text("old")
    Path("~").mkdir()
    check_output_file(Path("out.json"), "--out")
    check_output_file(Path("~/out.json"), "--out")  # a folder that is really called so
    check_output_folder(Path("a/b/c"), "--build")
    assert Path("out.json").read_text() == "old" and sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "~"]


@pytest.mark.parametrize(
    "wrong",
    [{"processes": 0}, {"processes": -1}, {"processes": 10**9}, {"processes": 1.5}, {"processes": True}, {"seconds": 0}, {"seconds": -1.0},
     {"seconds": float("nan")}, {"seconds": float("inf")}, {"seconds": 1e9}, {"threads": 0}, {"threads": -2}, {"threads": 10**6}, {"seed": -1},
     {"seed": 2**31}, {"seed": 0.5}],
)  # fmt: skip
def test_numbers_that_no_benchmark_can_have(tmp_path: Path, wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(BadInput, match=name):
        Protocol(**{"processes": 1, "seconds": 1.0, "min_runs": 1, "max_warmup_seconds": 1.0, "threads": 1, "seed": 7} | wrong)  # type: ignore[arg-type]
    asked = {"threads": None, "processes": 1, "seconds": 1.0, "seed": 7, "out": None}
    with pytest.raises(BadInput, match=name):
        bench_bundle(tmp_path / "no bundle", **asked | wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_names_that_no_file_can_have(check: Callable[[Path, str], None], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written: File name too long") as told:
        check(tmp_path / ("a" * 300), "--out")
    assert told.value.fix == "give a shorter name"
    with pytest.raises(BadInput, match="holds a null character"):
        check(tmp_path / "a\0b", "--out")
