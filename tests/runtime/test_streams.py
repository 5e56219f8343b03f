"""Standard streams that are closed, full or no longer read: a command says so or carries on, and ends with the exit code that it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer

from edgekit.pack.runner import MAIN
from tests.conftest import PYTHONPATH

RUNNER = "import sys; from edgekit.runtime.main import main; sys.exit(main())"
PROGRAMS = {"edgekit": ["-m", "edgekit"], "runner": ["-c", RUNNER]}
WORDS = "standard output is closed, and the result goes there"


def shell(program: str, rest: str, cwd: Path) -> tuple[int, str]:
    """(exit code, what went to the shell's own streams) of a command with its redirections."""
    command = " ".join(f"'{part}'" for part in [sys.executable, *PROGRAMS[program]])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} {rest}"], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": PYTHONPATH}, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("rest", "code", "says"),
    [
        ("verify nothing >&-", 2, WORDS),
        ("--help >/dev/full", 3, "standard output: cannot be written: No space left on device"),
        ("verify nothing --json >/dev/full", 2, "nothing: no bundle here"),
        ("--help | true", 0, ""),
        ("verify nothing 2>/dev/full", 2, ""),
        ("verify nothing >&- 2>&- <&-", 2, ""),
        ("--help > shown.txt 2>&-", 0, ""),
    ],
)  # fmt: skip
def test_streams_that_cannot_be_written(program: str, rest: str, code: int, says: str, tmp_path: Path) -> None:
    ended, said = shell(program, rest, tmp_path)
    assert ended == code and says in said and "Traceback" not in said
    assert says or not said


@pytest.mark.parametrize("program", PROGRAMS)
def test_messages_stay_out_of_a_document(program: str, tmp_path: Path) -> None:
    """Without standard error, print writes to standard output."""
    code, said = shell(program, "verify nothing --json 2>&-", tmp_path)
    assert code == 2 and said.startswith('{"error": ') and said.count("\n") == 1


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library prints to standard error would be written into it."""
    code = (
        "import os; from edgekit.runtime.streams import settle; settle(prints=False)\n"
        "with open('model.onnx', 'w') as file: assert file.fileno() > 2; os.write(2, b'warning')"
    )
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -c \"{code}\" <&- >&- 2>&-"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": PYTHONPATH},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0 and (tmp_path / "model.onnx").read_bytes() == b""


def test_letters_that_the_terminal_lacks_are_escapes(tmp_path: Path) -> None:
    code = "from edgekit.runtime.streams import settle; settle(prints=True); print('n\\u00f6')"
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "PYTHONIOENCODING": "ascii"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout == b"n\\xf6\n"


class Interrupted(ModuleType):
    """A module whose import Ctrl-C meets."""

    def __getattr__(self, name: str) -> object:
        raise KeyboardInterrupt


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_while_modules_are_imported(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit.__main__ import main

    for name in ("edgekit.runtime.main", "edgekit.cli.app"):
        monkeypatch.setitem(sys.modules, name, Interrupted(name))
    with pytest.raises(SystemExit) as ended:
        main() if program == "edgekit" else exec(MAIN, {})
    assert ended.value.code == 130 and capsys.readouterr().err == f"{program}: interrupted\n"


def test_ctrl_c_in_a_command_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Typer ends in silence there."""
    from edgekit.cli import app

    def doctor() -> None:
        raise KeyboardInterrupt

    interrupted = typer.Typer()
    interrupted.command()(doctor)
    monkeypatch.setattr(app, "_group", lambda: typer.main.get_command(interrupted))
    monkeypatch.setattr(sys, "argv", ["edgekit"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 130 and capsys.readouterr().err == "edgekit: interrupted\n"
