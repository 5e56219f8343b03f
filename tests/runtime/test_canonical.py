"""JSON in the one form of RFC 8785, whose examples are here."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import pytest

from edgekit.runtime.canonical import canonical

NUMBERS = {
    "0000000000000000": "0", "8000000000000000": "0", "0000000000000001": "5e-324", "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308", "ffefffffffffffff": "-1.7976931348623157e+308", "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992", "4430000000000000": "295147905179352830000", "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23", "44b52d02c7e14af7": "1.0000000000000001e+23", "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000", "444b1ae4d6e2ef50": "1e+21", "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001", "41b3de4355555553": "333333333.3333332", "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333", "41b3de4355555556": "333333333.3333334", "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333", "43143ff3c1cb0959": "1424953923781206.2",
}  # fmt: skip
"""RFC 8785, appendix B: IEEE 754 bits and the text of a number."""


def double(bits: bytes) -> float:
    number: float = struct.unpack(">d", bits)[0]
    return number


@pytest.mark.parametrize("bits", NUMBERS)
def test_numbers_of_the_rfc(bits: str) -> None:
    assert canonical(double(bytes.fromhex(bits))) == NUMBERS[bits].encode()


def test_every_number_is_read_back_as_it_was() -> None:
    generator = random.Random(0)
    for _ in range(5000):
        number = double(generator.randbytes(8))
        if number - number == 0:
            text = canonical(number)
            assert float(text) == number and canonical(json.loads(text)) == text


def test_the_example_of_the_rfc() -> None:
    given = r"""{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"""
    wanted = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        r'"string":"€$\u000f\nA' + "'" + r'B\"\\\\\"/"}'
    )
    assert canonical(json.loads(given)) == wanted.encode()


def test_keys_are_sorted_by_their_16_bit_units() -> None:
    keys = ["€", "\r", "\ufb33", "1", "\U0001f600", "\x80", "ö"]
    assert list(json.loads(canonical(dict.fromkeys(keys, 0)))) == ["\r", "1", "\x80", "ö", "€", "\U0001f600", "\ufb33"]


def test_no_two_whole_numbers_share_a_text() -> None:
    assert canonical(2**53 + 1) != canonical(2**53) and canonical([True, 1, 1.0]) == b"[true,1,1]"


@pytest.mark.parametrize("value", ["\ud83d", float("nan"), float("inf")])
def test_what_has_no_canonical_text(value: Any) -> None:
    with pytest.raises(ValueError, match=r"surrogates|no JSON number"):
        canonical(value)
