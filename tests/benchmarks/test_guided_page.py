"""The page of what a form costs is made from its results, which keep what they promise."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from benchmarks.guided import page
from benchmarks.guided.page import write_page

RESULTS = Path(page.__file__).parent / "results.json"


def test_the_page_is_made_from_the_results(tmp_path: Path) -> None:
    write_page(RESULTS.parent, tmp_path / "README.md")
    assert (tmp_path / "README.md").read_bytes() == (RESULTS.parent / "README.md").read_bytes()


@pytest.mark.parametrize("name", page.TITLES)
def test_every_finished_answer_is_a_document_of_its_schema(name: str) -> None:
    document = json.loads((RESULTS.parent / name).read_text(encoding="utf-8"))
    schemas = json.loads((RESULTS.parent / "asked.json").read_text(encoding="utf-8"))["schemas"]
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    finished = [pair for pair in document["pairs"] if pair["ended"] == "stop"]
    for pair in finished:
        jsonschema.Draft202012Validator(schemas[pair["schema"]], format_checker=checker).validate(json.loads(pair["text"]))
    totals = document["totals"]
    assert totals["finished"] == totals["valid"] == len(finished) and totals["answers"] == len(document["pairs"])
