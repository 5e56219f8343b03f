"""The page of images is written from its committed result."""

from __future__ import annotations

import json

from benchmarks.images.times import HERE, page


def test_the_page_is_of_the_result() -> None:
    document = json.loads((HERE / "times.json").read_text())
    assert (HERE / "README.md").read_text() == page(document), "run python -m benchmarks.images.times"
    document["contenders"]["ort-fp32"]["p50_ms"] += 10
    assert page(document) != (HERE / "README.md").read_text()
