"""Records as JSON: what is written is read again, and nothing else is taken."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.records import OMITTED, as_json, matching, read_record, within


@dataclass(frozen=True)
class Part:
    size: int = field(metadata=within(0, 9))
    share: float = 0.5


@dataclass(frozen=True)
class Whole:
    name: str = field(metadata=matching(re.compile("[a-z]+"), "a word"))
    part: Part
    parts: Mapping[str, Part]
    ids: tuple[int, ...] = field(metadata=within(0, 5, different=True))
    span: tuple[float, float]
    axes: tuple[str | int, ...]
    kind: Literal["a", "b"]
    free: JsonObject
    flag: bool
    note: str | None
    more: str | None = field(default=None, metadata=OMITTED)


DOCUMENT: dict[str, Any] = {
    "name": "word", "part": {"size": 3, "share": 0.25}, "parts": {"x": {"size": 0, "share": 1.0}}, "ids": [1, 2], "span": [0.0, 1.5],
    "axes": ["batch", 4], "kind": "a", "free": {"any": [1, {"deep": None}]}, "flag": True, "note": None,
}  # fmt: skip


def test_what_is_written_is_read_again() -> None:
    faults: list[str] = []
    whole = read_record(Whole, json.loads(json.dumps(DOCUMENT)), "", faults)
    assert whole is not None and not faults
    assert whole.part == Part(3, 0.25) and whole.ids == (1, 2) and whole.parts == {"x": Part(0, 1.0)}
    assert as_json(whole) == DOCUMENT, "a field that is OMITTED is left out where it is None"


def test_defaults_let_documents_of_before_be_read() -> None:
    faults: list[str] = []
    assert read_record(Part, {"size": 1}, "", faults) == Part(1, 0.5) and not faults


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"name": 3}, "name: int instead of str"), ({"name": "No"}, "name: 'No' is not a word"), ({"part": []}, "part: list instead of an object"),
        ({"part": {"size": 10}}, "part.size: 10 is not within 0 to 9"), ({"part": {"size": True}}, "part.size: bool instead of int"),
        ({"part": {"size": 1, "share": float("nan")}}, "part.share: float instead of float"),
        ({"parts": {"x": {}}}, "parts.x.size: missing"), ({"parts": 1}, "parts: int instead of an object"),
        ({"ids": [6]}, "ids: (6,) is not within 0 to 5"), ({"ids": [1, 1]}, "ids: (1, 1) holds a number twice"),
        ({"ids": [1, "2"]}, "ids[1]: str instead of int"), ({"ids": 1}, "ids: int instead of list"),
        ({"span": [0.0]}, "span: 1 values instead of 2"), ({"axes": [None]}, "axes[0]: NoneType instead of str or int"),
        ({"kind": "c"}, "kind: str instead of 'a' or 'b'"), ({"free": "x"}, "free: str instead of an object"),
        ({"flag": 1}, "flag: int instead of bool"),
        ({"note": 1}, "note: int instead of str"), ({"surprise": 1}, "surprise: unknown"),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_its_field(change: dict[str, Any], fault: str) -> None:
    faults: list[str] = []
    assert read_record(Whole, {**DOCUMENT, **change}, "top", faults) is None
    assert faults == [f"top.{fault}"]


def test_all_faults_at_once() -> None:
    faults: list[str] = []
    assert read_record(Whole, {"name": 1, "ids": [9], "surprise": 0}, "", faults) is None
    assert len(faults) == 3 + 8, "two wrong, one unknown, eight missing"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_comes_is_read_or_told(document: object) -> None:
    faults: list[str] = []
    assert (read_record(Whole, document, "", faults) is None) == bool(faults)


def test_of_very_many_faults_some_are_found() -> None:
    """A document of a megabyte has no more work in it than it is long."""
    faults: list[str] = []
    document = DOCUMENT | {"parts": {str(number): {} for number in range(100_000)}, "ids": ["x"] * 100_000}
    assert read_record(Whole, document, "", faults) is None
    assert 1000 < len(faults) < 1100


@pytest.mark.parametrize("axes", [["batch", 4, True], ["batch", None], [1.0], [[]], ["a"] * 9999 + [True]])
def test_long_lists_are_read_as_strictly(axes: list[object]) -> None:
    faults: list[str] = []
    assert read_record(Whole, DOCUMENT | {"axes": axes}, "", faults) is None
    assert faults == [f"axes[{len(axes) - 1}]: {type(axes[-1]).__name__} instead of str or int"]
