"""The edge of a command: whatever is raised is one message and an exit code; a traceback only in the file that is asked for."""

from __future__ import annotations

import errno
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli import app as command_line
from edgekit.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.runtime import main as runner
from edgekit.runtime.edge import TRACEBACK, told


class PanicException(BaseException):
    """As pyo3 names what a panic in Rust raises, which is no Exception."""


RAISED: dict[str, tuple[BaseException, int, str]] = {
    "a check": (CheckFailed("off", where="x"), 1, "x: off"), "an input": (BadInput("bad"), 2, "bad"), "a machine": (NotPossibleHere("no"), 3, "no"),
    "a panic": (PanicException("index out of bounds: the len is 0\nstack"), 1, "unforeseen PanicException: index out of bounds: the len is 0"),
    "a bug": (KeyError("rows"), 1, "unforeseen KeyError: 'rows'"), "without words": (AssertionError(), 1, "unforeseen AssertionError"),
    "no memory": (MemoryError(), 3, "not enough memory"), "too deep": (RecursionError("deep"), 1, "unforeseen RecursionError: deep"),
    "a library's own": (type("Fail", (RuntimeError,), {})("[ONNXRuntimeError] : 1 " + "x" * 9000), 1, "unforeseen Fail: [ONNXRuntimeError]"),
    "a full disk": (OSError(errno.ENOSPC, "No space left on device", "f"), 3, "f: No space left"),
    "a file that is not there": (FileNotFoundError(errno.ENOENT, "No such file or directory", "f"), 2, "f: No such file"),
    "a read-only disk": (OSError(errno.EROFS, "Read-only file system"), 3, "Read-only"), "control characters": (ValueError("a\x1b[31mb"), 1,
    "a\\x1b[31mb"),
}  # fmt: skip


@pytest.mark.parametrize("name", RAISED)
def test_both_commands(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The same message and code of `edgekit` and of the runner, in words and in JSON; `edgekit` alone names a page of the documentation, which
    ships with it."""
    raised, code, words = RAISED[name]

    def fail(*_: Any, **__: Any) -> None:
        try:
            raise ValueError("what it came of")
        except ValueError:
            raise raised from None

    monkeypatch.delenv(TRACEBACK, raising=False)
    monkeypatch.setattr(command_line, "_group", lambda: fail)
    monkeypatch.setattr(runner, "_do", fail)
    for flags in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["edgekit", "verify", "x", *flags])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        assert ended.value.code == code
        found = capsys.readouterr()
        assert (
            found.err.startswith("edgekit: ") and words in found.err and "Traceback" not in found.err and len(found.err) < 2000
        )
        assert runner.main(["verify", "x", *flags]) == code
        other = capsys.readouterr()
        message, see, page = found.err.rstrip("\n").partition("\n  see: ")
        assert other.err.rstrip("\n") == message.replace("edgekit: ", "runner: ", 1)
        if flags:
            document = {"error": message[len("edgekit: ") :], "exit_code": code}
            assert json.loads(other.out) == document and json.loads(found.out) == {**document, **({"see": page} if see else {})}
    monkeypatch.setenv(TRACEBACK, str(tmp_path / "trace.txt"))
    assert runner.main(["verify", "x"]) == code
    assert "Traceback" not in capsys.readouterr().err
    trace = (tmp_path / "trace.txt").read_text()
    assert trace.startswith("Traceback") and "what it came of" in trace and type(raised).__name__ in trace


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3)])
def test_what_is_no_fault(raised: BaseException) -> None:
    with pytest.raises(type(raised)):
        told(raised)


def test_a_place_that_cannot_be_written_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for place in (tmp_path / "no" / "folder", tmp_path, "a\0b"):
        if "\0" not in str(place):
            monkeypatch.setenv(TRACEBACK, str(place))
        assert told(BadInput("bad")).text() == "bad"


@pytest.mark.parametrize(
    ("module", "brings"),
    [
        ("safetensors", "edgekit[export]"),
        ("model_signing.verify", "edgekit[sign]"),
        ("uvicorn", "edgekit[serve]"),
        ("no_such", "no_such"),
    ],
)
def test_what_is_not_installed_is_told_with_what_brings_it(module: str, brings: str) -> None:
    fault = told(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert isinstance(fault, NotPossibleHere) and fault.fix == f"pip install '{brings}'"
    assert fault.see == "something-is-not-installed"


def test_a_distribution_that_is_not_there_is_told_so_too() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        version("torch-that-nobody-has")
    assert told(caught.value).what == "torch-that-nobody-has is not installed"


def test_a_module_of_our_own_that_is_not_there_is_a_bug() -> None:
    fault = told(ModuleNotFoundError("No module named 'edgekit.nowhere'", name="edgekit.nowhere"))
    assert isinstance(fault, CheckFailed) and fault.see == "ended-by-something-unforeseen"
