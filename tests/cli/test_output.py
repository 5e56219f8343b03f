"""What is printed: nothing that a terminal would obey in what comes from outside; JSON is exact."""

from __future__ import annotations

import json

import pytest

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


def test_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    emit([{"label": ESCAPE}], True, [])
    printed = capsys.readouterr().out
    assert json.loads(printed) == [{"label": ESCAPE}]
    assert "\x1b" not in printed


def test_the_table_of_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    stage = {"stage": "rows", "title": ESCAPE, "key": "0" * 64, "state": ESCAPE, "reads": [ESCAPE]}
    target = {"target": ESCAPE, "measured_here": False, "quantize": {"format": {"value": ESCAPE, "from": "recipe"}}}
    found: Explanation = {"recipe": ESCAPE, "task": "[red]", "stages": [stage], "targets": [target], "notes": [ESCAPE]}  # type: ignore[list-item]
    emit({}, False, _explained(found))
    assert not [sign for sign in capsys.readouterr().out if not sign.isprintable() and sign != "\n"]


def test_lines_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    Show().line(f"note: {ESCAPE} [/not markup]")
    printed = capsys.readouterr().err
    assert "[/not markup]" in printed
    assert not [sign for sign in printed if not sign.isprintable() and sign != "\n"]
