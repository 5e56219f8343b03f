"""How an emulated program's end is told, and which instructions it met: with a stand-in for qemu that runs the program itself."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgekit.errors import CheckFailed
from lanes.emulator import EmulatedCPU, Ended, ended_well, run, stop
from tests.waiting import PATIENCE_SECONDS

STAND_IN = """#!/bin/sh
log=
while :; do
  case $1 in
    -cpu|-L|-E|-d) shift 2 ;;
    -D) log=$2; shift 2 ;;
    *) break ;;
  esac
done
if [ -n "$log" ]; then
  printf 'IN: \\n0x7f00:  6e829420  udot     v0.4s, v1.16b, v2.16b\\n0x7f04:  00000000  .byte\\n0x7f08:  4e8294a0  sudot v1\\n' > "$log"
fi
exec "$@"
"""


@pytest.fixture
def chip(tmp_path: Path) -> EmulatedCPU:
    (tmp_path / "qemu").write_text(STAND_IN)
    (tmp_path / "qemu").chmod(0o755)
    return EmulatedCPU("cortex-a76", "aarch64", tmp_path / "qemu", Path(sys.executable), tmp_path, tmp_path / "site")


def test_the_command_is_an_argument_vector(chip: EmulatedCPU) -> None:
    words = chip.command(["-c", "pass"], Path("log"))
    assert words[1:3] == ["-cpu", "cortex-a76"] and words[-2:] == ["-c", "pass"] and "in_asm" in words
    assert f"PYTHONPATH={chip.site}" in words


def test_lines_come_and_instructions_are_counted(chip: EmulatedCPU) -> None:
    lines: list[str] = []
    ended = run(chip, ["-c", "print(1); print(2)"], watch=True, line=lines.append)
    assert lines == ["1\n", "2\n"] and ended == Ended(0, "1\n2\n", "", {"udot": 1})
    assert ended_well(ended, chip) is ended


def test_nobody_watches_unasked(chip: EmulatedCPU) -> None:
    assert run(chip, ["-c", "pass"]).met == {}


def test_a_program_that_never_starts_is_no_trap(chip: EmulatedCPU) -> None:
    chip.emulator.write_text("#!/bin/sh\necho no such CPU >&2\nexit 1\n")
    ended = run(chip, ["-c", "pass"], watch=True)
    assert ended.code == 1 and ended.met == {}
    with pytest.raises(CheckFailed, match="ended with 1 instead of 0\n  - no such CPU"):
        ended_well(ended, chip)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os.kill(os.getpid(), 4)", "met an instruction that it does not have"),
        ("raise SystemExit(132)", "met an instruction that it does not have"),  # as qemu says it
        ("import os; os.kill(os.getpid(), 9)", "killed, by lack of memory"),
        ("raise SystemExit(3)", "ended with 3 instead of 0"),
    ],
)
def test_ends_are_told_in_words(chip: EmulatedCPU, code: str, says: str) -> None:
    with pytest.raises(CheckFailed, match=says):
        ended_well(run(chip, ["-c", code]), chip)


def test_an_expected_refusal_is_fine(chip: EmulatedCPU) -> None:
    assert ended_well(run(chip, ["-c", "raise SystemExit(3)"]), chip, 3).code == 3


def test_what_runs_can_be_stopped_from_another_thread(chip: EmulatedCPU) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run, chip, ["-c", "import time; print(1, flush=True); time.sleep(600)"], line=lambda text: stop())
        assert waiting.result(timeout=PATIENCE_SECONDS).code == 137
