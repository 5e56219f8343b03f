"""What callers hand over by mistake is refused by name: arrays that are no list, lengths that are none, paths that no system takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.runtime.errors import BadInput
from edgekit.runtime.model import load
from tests.device.loopback import make_bundle


class Texts:
    """Texts that say of their number what is none."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[str]:
        return iter(["turn it on"])

    def __len__(self) -> int:
        return self.length


def test_lists_of_texts(tmp_path: Path) -> None:
    model = load(make_bundle(tmp_path))
    alone = model("turn it on")
    for texts in (np.array(["turn it on"]), Texts(1), Texts(-1), Texts(10**30), (text for text in ["turn it on"])):
        assert model(texts) == [alone]
    with pytest.raises(BadInput, match="no input where several are wanted"):
        model(np.array("turn it on"))


@pytest.mark.parametrize("path", ["x" * 5000, "x/" * 3000, "\0", "~nobody-there/bundle"])
def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(BadInput):
        load(path)
