"""The page of what `edgekit diff` names is made from its results, which keep what is promised: 19 of 20 faults."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.diff import page
from benchmarks.diff.page import write_page

RESULTS = Path(page.__file__).parent / "results.json"


def test_the_page_is_made_from_the_results(tmp_path: Path) -> None:
    write_page(RESULTS, tmp_path / "README.md")
    assert (tmp_path / "README.md").read_bytes() == (RESULTS.parent / "README.md").read_bytes()


def test_it_names_19_of_20_faults_and_none_of_sound_models() -> None:
    document = json.loads(RESULTS.read_text(encoding="utf-8"))
    for name, formats in (("rounded", ("int8", "int4")), ("float32", ("float32",))):
        faulty = [one for one in document["results"] if one["fault"] is not None and one["format"] in formats]
        right = sum(one["named"] in one["right_answer"].split(" or ") for one in faulty)
        assert document["totals"][name]["right"] == right and document["totals"][name]["of"] == len(faulty)
        assert right >= 0.95 * len(faulty)
    assert document["totals"]["rounded"]["of"] >= 20
    assert not [one for one in document["results"] if one["fault"] is None and one["named"] is not None]
