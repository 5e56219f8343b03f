"""The page of text in, answer out says what its results say."""

from __future__ import annotations

from benchmarks.text_to_answer.page import HERE, page


def test_the_page_is_made_of_its_results() -> None:
    assert (HERE / "README.md").read_text(encoding="utf-8") == page()
