"""The page of the browser's figures is what its results say."""

from __future__ import annotations

from pathlib import Path

from benchmarks.web.page import HERE, write_page


def test_the_page_is_made_of_its_results(tmp_path: Path) -> None:
    write_page(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_bytes() == (HERE / "README.md").read_bytes()
