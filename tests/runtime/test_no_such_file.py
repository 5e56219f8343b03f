"""A file that is not there is told with what to do about it, whoever asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import BadInput
from edgekit.runtime.files import read_utf8


@pytest.mark.parametrize(("asked", "said"), [
    ("tikets.csv", "did you mean "), ("other/config.json", "there is no folder "), ("zzz.toml", "has no zzz.toml"),
])  # fmt: skip
def test_what_is_not_there_says_how_to_mend_it(tmp_path: Path, asked: str, said: str) -> None:
    (tmp_path / "tickets.csv").write_text("text,label\n")
    with pytest.raises(BadInput) as fault:
        read_utf8(tmp_path / asked, 100)
    assert fault.value.what == "no such file" and said in str(fault.value.fix)
    if said == "did you mean ":
        assert str(tmp_path / "tickets.csv") in str(fault.value.fix)
