"""What is printed: nothing that a terminal would obey in what comes from outside; JSON is exact."""

from __future__ import annotations

import json
import re
import threading

import pytest
from typer.testing import CliRunner

from edgekit.cli.app import COMMANDS, app
from edgekit.cli.make import _explained
from edgekit.cli.output import emit
from edgekit.pipeline.explain import Explanation
from edgekit.progress import Show

ESCAPE = "\x1b]0;owned\x07\x1b[31mlabel\x1b[0m\x9b2J\u202e"


def test_a_terminal_obeys_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    emit([{"label": ESCAPE}], False, [f"{ESCAPE}  0.998"])
    printed = capsys.readouterr().out
    assert not [sign for sign in printed if not sign.isprintable() and sign != "\n"]
    assert r"\x1b[31mlabel" in printed


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_plain_at_80_columns(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = CliRunner().invoke(app, [*command.split(), "--help"]).stdout
    assert "--help" in told
    assert not re.findall(r"<\w+[^>]*>|list\[|\btext\b *\[|…", told), "a type of Python's, or something that is cut"
    assert max(map(len, told.splitlines())) <= 80


def test_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    emit([{"label": ESCAPE}], True, [])
    printed = capsys.readouterr().out
    assert json.loads(printed) == [{"label": ESCAPE}]
    assert "\x1b" not in printed


def test_the_table_of_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    stage = {"stage": "rows", "title": ESCAPE, "key": "0" * 64, "state": ESCAPE, "reads": [ESCAPE]}
    target = {"target": ESCAPE, "measured_here": False, "quantize": {"format": {"value": ESCAPE, "from": "recipe"}}}
    found: Explanation = {
        "recipe": ESCAPE,
        "task": "[red]",
        "stages": [stage],
        "targets": [target],
        "notes": [ESCAPE],
        "needs": [{"what": ESCAPE, "name": ESCAPE, "origin": ESCAPE, "size": None, "stands_in": ESCAPE}],
    }  # type: ignore[list-item]
    emit({}, False, _explained(found))
    assert not [sign for sign in capsys.readouterr().out if not sign.isprintable() and sign != "\n"]


def test_lines_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    Show().line(f"note: {ESCAPE} [/not markup]")
    printed = capsys.readouterr().err
    assert "[/not markup]" in printed
    assert not [sign for sign in printed if not sign.isprintable() and sign != "\n"]


def test_a_log_hears_of_a_stage_that_says_nothing_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO

    from rich.console import Console

    from edgekit import progress

    class Heard(StringIO):
        """Sets `told` once there is a line."""

        def write(self, text: str) -> int:
            written = super().write(text)
            if "export a model" in self.getvalue():
                told.set()
            return written

    told, log = threading.Event(), Heard()
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.001)
    monkeypatch.setattr(progress, "err", Console(file=log, highlight=False))
    with Show().stage("export a model") as update:
        assert told.wait(60), "no line came of a stage that never says how far it is"
        update(1, 4, f"epoch 1 {ESCAPE}")
        told.clear()
        assert told.wait(60)
    lines = log.getvalue().splitlines()
    assert lines[0].startswith("     ... export a model, ") and not [
        sign for sign in log.getvalue() if not sign.isprintable() and sign != "\n"
    ]
    after = len(lines)
    assert len(log.getvalue().splitlines()) == after, "and nothing once it has ended"


def test_a_log_of_short_stages_has_no_such_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO

    from rich.console import Console

    from edgekit import progress

    log = StringIO()
    monkeypatch.setattr(progress, "err", Console(file=log))
    for _ in range(3):
        with Show().stage("short") as update:
            update(1, 2, "half")
    assert log.getvalue() == ""


@pytest.mark.parametrize(("seconds", "shown"), [(7.4, "7 s"), (60, "1 min 0 s"), (130, "2 min 10 s"), (7500, "2 h 5 min")])
def test_times_for_people(seconds: float, shown: str) -> None:
    from edgekit.progress import spent

    assert spent(seconds) == shown


COMMANDS = [["doctor"], ["ls", "targets"], ["ls", "methods"], ["ls", "tasks"], ["docs"]]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_tables_fit_the_terminal_and_cut_nothing(command: list[str], width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = CliRunner().invoke(app, command).output
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    printed = re.sub(r"\x1b\[[0-9;]*m", "", CliRunner().invoke(app, command).output)
    assert max(map(len, printed.splitlines())) <= width
    assert "…" not in printed
    if width < 120:
        assert len(printed.splitlines()) > len(whole.splitlines()) or max(map(len, whole.splitlines())) <= width


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_lines_are_whole_where_there_is_no_terminal(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = CliRunner().invoke(app, command).output.splitlines()
    rows = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert all(line == line.rstrip() for line in lines)
    if command[0] == "ls":
        assert lines == [
            f"{row['name']:<{len(lines[0]) - len(lines[0].split('  ', 1)[1].lstrip())}}{row['title']}" for row in rows
        ]
    if command[0] == "doctor":
        assert [line.split()[0] for line in lines if line][-len(rows["targets"]) :] == [row["name"] for row in rows["targets"]]


def test_a_plan_is_a_line_a_stage_where_there_is_no_terminal() -> None:
    lines = CliRunner().invoke(app, ["plan", "intents", "-t", "x86-vnni"]).output.splitlines()
    stages = json.loads(CliRunner().invoke(app, ["plan", "intents", "-t", "x86-vnni", "--json"]).output)["stages"]
    assert all(any(line.startswith(stage["title"]) and stage["key"][:12] in line for line in lines) for stage in stages)
