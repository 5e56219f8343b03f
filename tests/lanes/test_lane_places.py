"""A lane's folders are whole or absent, and a lane's end is an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import CheckFailed, EdgekitError, NotPossibleHere
from lanes import __main__ as command
from lanes import arm64, userland
from lanes.rows import SPLITS, rows_of

WISH = {"suite": "trixie"}


def quiet(text: str) -> None:
    """Says nothing."""


def test_a_folder_is_filled_once_and_again_for_another_wish(tmp_path: Path) -> None:
    filled = []

    def fill(folder: Path, scratch: Path) -> list[dict[str, str]]:
        filled.append(folder)
        (folder / "program").write_text(str(len(filled)))
        return [{"package": "a", "version": "1", "architecture": "arm64", "sha256": "0"}]

    first = userland._place(tmp_path / "qemu", WISH, fill, quiet)
    again = userland._place(tmp_path / "qemu", WISH, fill, quiet)
    assert first == again and len(filled) == 1 and again.record["packages"][0]["package"] == "a"
    userland._place(tmp_path / "qemu", {"suite": "forky"}, fill, quiet)
    assert (tmp_path / "qemu/program").read_text() == "2"
    (tmp_path / "qemu/record.json").write_text("{")
    userland._place(tmp_path / "qemu", WISH, fill, quiet)
    assert len(filled) == 3 and sorted(path.name for path in tmp_path.iterdir()) == ["qemu"]


def test_a_fetch_that_broke_off_goes_on(tmp_path: Path) -> None:
    def broken(folder: Path, scratch: Path) -> list[dict[str, str]]:
        (scratch / "part").write_text("half")
        (folder / "program").write_text("torn")
        raise NotPossibleHere("the mirror is away")

    def whole(folder: Path, scratch: Path) -> list[dict[str, str]]:
        assert (scratch / "part").read_text() == "half" and not list(folder.iterdir())
        return []

    with pytest.raises(NotPossibleHere):
        userland._place(tmp_path / "qemu", WISH, broken, quiet)
    assert not (tmp_path / "qemu").exists()
    userland._place(tmp_path / "qemu", WISH, whole, quiet)
    assert json.loads((tmp_path / "qemu/record.json").read_text())["wish"] == WISH


@pytest.mark.parametrize(
    ("machine", "system"), [("aarch64", "ID=debian\n"), ("x86_64", "ID=fedora\nPRETTY_NAME=Fedora\n"), ("x86_64", "")]
)
def test_elsewhere_nothing_is_fetched(machine: str, system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(userland, "_text", lambda path: system)
    monkeypatch.setattr(userland.apt, "run", lambda *words, **more: pytest.fail("something was run"))
    with pytest.raises(NotPossibleHere, match="x86-64 Debian"):
        userland.emulators(tmp_path, quiet)


@pytest.mark.parametrize(
    ("fault", "code"), [(NotPossibleHere("no mirror in reach"), 3), (CheckFailed("wrong sums"), 1), (KeyboardInterrupt(), 130)]
)
@pytest.mark.parametrize("lane", ["arm64", "avx2"])
def test_exit_codes(
    lane: str,
    fault: BaseException,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def end(*words: Any) -> None:
        raise fault

    monkeypatch.setattr(command, "emulators", end)
    assert command.main([lane, "--build", str(tmp_path)]) == code
    told = capsys.readouterr().err
    assert (fault.text() if isinstance(fault, EdgekitError) else "interrupted") in told
    assert not list(tmp_path.iterdir())


def test_an_unknown_lane_is_bad_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["riscv"])
    assert ended.value.code == 2


def test_a_cpu_must_refuse_what_it_lacks(tmp_path: Path) -> None:
    refused = {"exit_code": 3, "text": "bundle: this chip lacks i8mm"}
    assert arm64._faults(refused, "cortex-a72", "arm64-i8mm", tmp_path) == []
    assert arm64._faults({"exit_code": 0}, "cortex-a72", "arm64-i8mm", tmp_path) == ["not refused: verified"]
    assert arm64._faults(refused, "max", "arm64-i8mm", tmp_path) == [refused["text"]]


def test_kernels_must_be_the_audits(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/audit.json").write_text('{"kernels_run": {"QGemm": 3}}')
    assert arm64._faults({"exit_code": 0, "kernels_run": {"QGemm": 3}}, "max", "arm64-neon", tmp_path) == []
    (fault,) = arm64._faults({"exit_code": 0, "kernels_run": {"Gemm": 3}}, "max", "arm64-neon", tmp_path)
    assert "instead of the audit's" in fault


def test_instructions_must_be_the_cpus() -> None:
    assert arm64._kernel_faults("cortex-a76", {"udot": 40}) == []
    assert arm64._kernel_faults("cortex-a76", {"udot": 40, "ummla": 2}) == ["ummla came up, which this CPU lacks"]
    assert arm64._kernel_faults("cortex-a72", {}) == ["no sadalp came up"]


@pytest.mark.parametrize(
    "task",
    [
        "text-classification",
        "token-classification",
        "question-answering",
        "feature-extraction",
        "text-generation",
        "image-classification",
        "audio-classification",
    ],
)
def test_rows_are_distinct_and_split(task: str) -> None:
    rows = [json.dumps(row, sort_keys=True) for row in rows_of(task)]
    assert len(set(rows)) == len(rows) == 144
    parts = [set(rows[which]) for which in SPLITS.values()]
    assert (
        all(len(part) >= 20 for part in parts)
        and not parts[0] & parts[1]
        and not parts[1] & parts[2]
        and not parts[0] & parts[2]
    )
