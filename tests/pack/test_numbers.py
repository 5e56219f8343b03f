"""Numbers out of range end each command with one message and exit code 2, on the command line and in Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import edgekit as ek
from edgekit.cli.app import app
from edgekit.errors import BadInput
from edgekit.runtime.main import main

TEXT = "turn on the red light in the hall"


def exit_of(arguments: list[str]) -> int:
    """The exit code of `edgekit` with these arguments, whose faults are edgekit's own."""
    done = CliRunner().invoke(app, arguments)
    if isinstance(done.exception, ek.EdgekitError):
        return done.exception.exit_code
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code


@pytest.mark.parametrize(
    "flags",
    [["--seed", "-1"], ["--seed", str(2**31)], ["--seed", "x"], ["--processes", "0"], ["--processes", "-1"], ["--seconds", "0"], ["--seconds", "nan"],
     ["--seconds", "inf"], ["--seconds", "1e9"], ["--threads", "0"], ["--threads", "-1"], ["--threads", "99999"], ["--prompts", "0"],
     ["--prompts", "-1"], ["--prompts", "1,,2"]],
)  # fmt: skip
def test_bench(bundle: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(["bench", str(bundle), *flags]) == 2
    assert exit_of(["bench", str(bundle), "--device", "nobody@nowhere.invalid", *flags]) == 2
    try:
        code = main(["bench", str(bundle), *flags])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("top_k", ["0", "-1", "x", "1.5"])
def test_run(bundle: Path, top_k: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(["run", str(bundle), TEXT, "--top-k", top_k]) == 2
    try:
        code = main(["run", str(bundle), TEXT, "--top-k", top_k])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True, "2"])
def test_python(bundle: Path, top_k: object) -> None:
    model = ek.load(bundle)
    with pytest.raises(BadInput, match="top_k"):
        model(TEXT, top_k=top_k)  # type: ignore[call-overload]
    for threads in (0, -1, 1.5):
        with pytest.raises(BadInput, match="threads"):
            ek.load(bundle, threads=threads)  # type: ignore[arg-type]
