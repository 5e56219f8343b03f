"""JSON from outside: what is refused, and that no document of a bundle is."""

import json
import re

import pytest

from edgekit.errors import BadInput
from edgekit.runtime.strict_json import DEEPEST, read_json, strict_json

REFUSED = {
    "duplicate": (b'{"a": 1, "b": 2, "a": 1}', "key 'a' is given twice"),
    "duplicate deep inside": (b'[{"x": [{"a": 1, "a": 1}]}]', "key 'a' is given twice"),
    "duplicate by escape": (rb'{"a": 1, "\u0061": 2}', "key 'a' is given twice"),
    "a duplicate key as long as a book": (b'{"' + b"k" * 9999 + b'": 1, "' + b"k" * 9999 + b'": 1}', "given twice"),
    "NaN": (b"[NaN]", "NaN is no JSON number"),
    "-Infinity": (b"[-Infinity]", "-Infinity is no JSON number"),
    "infinite": (b"[1e999]", "'1e999' is beyond the largest float64"),
    "infinite, written out": (b"[-" + b"9" * 400 + b".0]", "is beyond the largest float64"),
    "5,000 digits": (b"[" + b"1" * 5000 + b"]", "an integer of 5000 digits"),
    "22 digits": (b"[-" + b"1" * 22 + b"]", "an integer of 22 digits"),
    "deep": (b"[" * 5000 + b"]" * 5000, "nested deeper than 64"),
    "deep objects": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested deeper than 64"),
    "deep after strings": (rb'["\\", "\"", "[", ' + b"[" * 65, "nested deeper than 64"),
    "never closed": (b"[" * 60, "Expecting value"),
    "half a pair": (rb'["\ud800"]', "half of a surrogate pair"),
    "half a pair as a key": (rb'{"\uDC00x": 1}', "half of a surrogate pair"),
    "surrogates in UTF-8": (b'["\xed\xa0\x80"]', "not UTF-8: byte 2"),
    "latin-1": (b'["\xe9"]', "not UTF-8: byte 2"),
    "UTF-16": ('["a"]'.encode("utf-16"), "not UTF-8"),
    "mark of byte order": (b"\xef\xbb\xbf[]", "BOM"),
    "nothing": (b"", "Expecting value"),
    "two documents": (b"{} {}", "Extra data"),
    "a control character": (b'["a\nb"]', "control character"),
    "single quotes": (b"['a']", "Expecting value"),
    "a comment": (b"[1] // one", "Extra data"),
    "a million lists": (b"[" + b"[]," * 1_000_001 + b"[]]", "more than 1,000,000 lists and objects"),
    "values": (b"[" + b"0," * 4_000_001 + b"0]", "4,000,000 values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """One short message that says what and where."""
    data, what = REFUSED[name]
    with pytest.raises(BadInput, match=re.escape(what)) as fault:
        strict_json(data, "x.json", most=10**8)
    assert str(fault.value).startswith("x.json: ")
    assert len(str(fault.value)) < 400


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -1.5, 1e300, True, None, "ü𝄞", "\\", '"', '\\"', "\\\\", "[[[{{{", "]"], "": {}},
        [2**63, -(2**63), 2**64 - 1],
        "1" * 5000,
        {"\\": "\\\\" * 99, '"': "[" * 999, "[" * 999: "\\\\ud800"},
        0,
    ],
)
def test_read(value: object) -> None:
    """Everything that JSON can hold, marks and digits in strings too, is what `json` reads."""
    for data in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert strict_json(data.encode(), "x") == value


def test_many_keys_take_no_longer_than_their_number() -> None:
    """A hundred thousand keys, looked at once each."""
    document = {f"key-{number}": number for number in range(100_000)}
    assert strict_json(json.dumps(document).encode(), "x") == document


def test_bounds() -> None:
    """The deepest and the largest that is taken, and one more."""
    deepest = b"[" * DEEPEST + b"]" * DEEPEST
    assert strict_json(deepest, "x") is not None
    with pytest.raises(BadInput, match="deeper than 63"):
        strict_json(deepest, "x", deepest=DEEPEST - 1)
    assert strict_json(b'"aaaa"', "x", most=6) == "aaaa"
    with pytest.raises(BadInput, match="larger than 5 bytes"):
        strict_json(b'"aaaa"', "x", most=5)


def test_file(tmp_path) -> None:
    """A file is read up to its limit; one that is not there is told."""
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
    with pytest.raises(BadInput, match="larger than 4 bytes"):
        read_json(path, most=4)
    with pytest.raises(BadInput, match=r"b\.json: no such file"):
        read_json(tmp_path / "b.json")
