"""The page of many texts says what its results say, and these hold what the documentation says of them."""

from __future__ import annotations

import json

from benchmarks.many.page import HERE, page


def test_the_page_is_made_of_its_results() -> None:
    assert (HERE / "README.md").read_text(encoding="utf-8") == page()


def test_memory_is_flat() -> None:
    """From the first tenth of a million texts to their end; a list grows by the answers that it holds."""
    ways = json.loads((HERE / "memory.json").read_text(encoding="utf-8"))["ways"]
    for way in ("jsonl", "each"):
        first, *_, last = ways[way]["resident_mb"][1:]
        assert last - first < 0.05 * first, way
