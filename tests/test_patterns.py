"""The patterns by which edgekit reads what comes from outside take time in proportion to it, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from edgekit.config.toml import _lines_of
from edgekit.data.answers import misplaced, span_of
from edgekit.data.columns import usable_value
from edgekit.device.faults import ended
from edgekit.draft.fit import _joined
from edgekit.markdown import escape_markdown
from edgekit.runtime.generate.talk import COMMAND
from edgekit.runtime.serve.message import Refusal
from edgekit.runtime.serve.wire import _split_target
from tests.bounded import grows_in_line

READERS: dict[str, Callable[[int], Callable[[], object]]] = {
    "request target": lambda size: lambda: _target("http://" + "a" * size + "#"),
    "line of a talk": lambda size: lambda: COMMAND.fullmatch(("/a" + " " * size + "\x00\n\x00").rstrip()),
    "header of a TOML file": lambda size: lambda: _lines_of("[" * size),
    "number in a row": lambda size: lambda: usable_value("score", "1" * size + "x"),
    "number with a point": lambda size: lambda: usable_value("score", "1" * size + "." + "1" * size + "x"),
    "answer in a context": lambda size: (
        lambda: misplaced({"text": ["a " * size + "b"], "answer_start": [0]}, "a " * (2 * size))
    ),
    "what ssh says": lambda size: lambda: ended("device", "connect", 255, "Load key " * size),
    "labels in one text": lambda size: lambda: _joined([{"a": "x" + " " * size + "x"}], {"a": 1}, "labels", ["x"]),
    "Markdown": lambda size: lambda: escape_markdown("=" + " " * size + "x"),
}


def _target(target: str) -> None:
    with suppress(Refusal):
        _split_target(target)


@pytest.mark.parametrize("reader", READERS)
def test_time_grows_with_the_length(reader: str) -> None:
    grows_in_line(READERS[reader], 1000)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("http://host", ("/", "host")), ("http://host/a?b", ("/a", "host")), ("HTTPS://host?b", ("/", "host")), ("http://host/a#b", None),
        ("http://host#b", None), ("http:///a", ("/a", "")), ("ftp://host/a", None),
    ],
)  # fmt: skip
def test_request_targets(target: str, found: tuple[str, str] | None) -> None:
    if found is None:
        with pytest.raises(Refusal):
            _split_target(target)
    else:
        assert _split_target(target) == found


@pytest.mark.parametrize(
    ("answer", "context", "words"),
    [
        ("b c", "a  b\n c d", "begins at 3"), ("c", "  a bc", "begins at 5"), ("a", "xa", "begins at 1"), ("b  c", "b d c", "nowhere else"),
        ("c d", "\t b c d", "begins at 4"),
    ],
)  # fmt: skip
def test_where_an_answer_is(answer: str, context: str, words: str) -> None:
    assert span_of(answer, 0, context) is None
    assert words in str(misplaced({"text": [answer], "answer_start": [0]}, context))


@pytest.mark.parametrize(("text", "number"), [("1", 1.0), ("1.", 1.0), (".5", 0.5), (" -1.5e3 ", -1500.0), ("1.5", 1.5)])
def test_numbers_are_read_as_before(text: str, number: float) -> None:
    assert usable_value("score", text) == (number, None)
