"""The page of what the servers hold says what its results say."""

from __future__ import annotations

from benchmarks.serve.page import HERE, page, read


def test_the_page_is_made_of_its_results() -> None:
    assert (HERE / "README.md").read_text(encoding="utf-8") == page()


def test_nothing_was_wrong_or_lost_or_different() -> None:
    soak, threads = read("soak"), read("threads")
    assert soak["wrong"] == 0 and sum(cell["lost"] for cell in soak["cells"]) == soak["lost"]
    assert all(len(cell["examples"]) == cell["lost"] for cell in soak["cells"])
    assert not [one for cell in soak["cells"] for one in cell["examples"] if one.startswith("sound")], (
        "a sound request was lost"
    )
    assert soak["lost"] == 0 or str(soak["lost"]) in soak["note"], "the page says what was lost"
    assert all(cell["exit_code"] == 0 and not cell["tracebacks"] for cell in soak["cells"])
    assert threads["differences"] == 0 and threads["switch_interval_s"] == 1e-5
    assert all(cell["calls"] >= 20_000 for cell in threads["cells"])
