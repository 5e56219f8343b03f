"""Messages: short, and safe to print, whatever they repeat."""

from __future__ import annotations

import pytest

from edgekit.errors import BadInput
from edgekit.runtime.shown import shown, visible


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\rb\x00\x7f\x9b", "a\\rb\\x00\\x7f\\x9b"),
        ("\u202etxt.exe\u2028", "\\u202etxt.exe\\u2028"),
        ("\ud800", "\\ud800"),
        ("one\n\ttwo\r\nthree", "one\n\ttwo\nthree"),
        ("grün 日本語 🙂 שלום", "grün 日本語 🙂 שלום"),
        ("", ""),
    ],
)
def test_visible(text: str, seen: str) -> None:
    assert visible(text) == seen
    assert visible(seen) == seen
    seen.encode("utf-8")


def test_shown() -> None:
    """The beginning, the end, and how much is missing."""
    assert shown("abc", 3) == "abc"
    cut = shown("b" + "a" * 1_000_000 + "e", 100)
    assert len(cut) == 100
    assert cut.startswith("baa")
    assert cut.endswith("aae")
    assert "999,902 characters" in cut
    assert len(shown("\x1b" * 30, 100)) == 100
    assert "\x1b" not in shown("\x1b" * 30, 100)


def test_a_message_is_bounded() -> None:
    """A document of 1 MB that is repeated in each part, many times over."""
    long = "\x1b" * 1_000_000
    fault = BadInput(long, where=long, fix=long, faults=[long] * 1000)
    assert len(fault.text()) < 60_000
    assert "\x1b" not in fault.text()
    assert fault.faults[-1] == "and 960 more"
    again = BadInput(fault.what, where=fault.where, fix=fault.fix, faults=fault.faults)
    assert again.text() == fault.text()
