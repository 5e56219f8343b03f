"""The README's figures are those of the committed results."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks.publish import NO_HEADLINE, write_tables

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
BESIDE = "benchmarks/text_to_answer/results.json"
PAGES = ("README.md", "benchmarks/README.md")


def checkout(folder: Path) -> Path:
    """A copy of what the tables are made of and stand in."""
    (folder / "benchmarks").mkdir(parents=True)
    for name in PAGES:
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "benchmarks" / "results", folder / "benchmarks" / "results")
    (folder / "benchmarks" / "text_to_answer").mkdir()
    shutil.copy(ROOT / BESIDE, folder / BESIDE)
    return folder


def test_the_tables_are_written_from_the_committed_results(tmp_path: Path) -> None:
    copy = checkout(tmp_path / "copy")
    write_tables(copy)
    for name in PAGES:
        assert (copy / name).read_text() == (ROOT / name).read_text(), (
            f"run python -m benchmarks.publish: {name} is out of date"
        )


@pytest.mark.parametrize("result", RESULTS, ids=lambda path: path.stem)
def test_every_result_reaches_both_pages(result: Path, tmp_path: Path) -> None:
    """Its recipe has a row, and another figure in it is another figure on the pages, on the README where it is a headline."""
    copy = checkout(tmp_path / "copy")
    document = json.loads(result.read_text())
    headline = document["bench"]["recipe"] not in NO_HEADLINE
    row = re.search(rf"^\| `{document['bench']['recipe']}` \|", (ROOT / "README.md").read_text(), flags=re.M)
    assert (row is not None) == headline
    for variant in document["bench"]["variants"]:
        variant["total_mb"] += 100
    (copy / "benchmarks" / "results" / result.name).write_text(json.dumps(document))
    write_tables(copy)
    assert all(((copy / name).read_text() != (ROOT / name).read_text()) == (headline or name != "README.md") for name in PAGES)


def test_the_headline_is_three_trainings_and_text_to_answer(tmp_path: Path) -> None:
    """Each figure comes from its file: another one there is another one in the table."""
    copy = checkout(tmp_path / "copy")
    seeds = json.loads((copy / "benchmarks/results/seeds/stsb.json").read_text())
    beside = json.loads((copy / BESIDE).read_text())
    (cell,) = (cell for cell in beside["cells"] if cell["bundle"] == "stsb-x86-vnni")
    for number, training in enumerate(seeds["trainings"]):
        training["quality"] = 0.5 + number / 100
    cell["median_ms"] |= {"edgekit": 1.234, "graph": 0.987}
    cell["faster_than"]["pipeline"] |= {"speedup": 77.7}
    cell["of"] |= {"epochs": [1, 1]}
    (copy / "benchmarks/results/seeds/stsb.json").write_text(json.dumps(seeds))
    (copy / BESIDE).write_text(json.dumps(beside))
    write_tables(copy)
    (line,) = re.findall(r"^\| `stsb` \|.*$", (copy / "README.md").read_text(), flags=re.M)
    for wanted in ("→ 51.00 (50.00 to 52.00)", "| 1.234 ms | 0.987 ms |", "**77.7x**"):
        assert wanted in line
    (note,) = re.findall(r"Of ([^.]*) what was timed has the recipe's shape", (copy / "README.md").read_text())
    assert "`stsb`" in note, "its epochs are fewer than the recipe's"


@pytest.mark.parametrize("result", RESULTS, ids=lambda path: path.stem)
def test_a_result_names_its_command_and_no_path_of_a_machine(result: Path) -> None:
    document = json.loads(result.read_text())
    recipe, target = document["bench"]["recipe"], document["bench"]["target"]["requested"]
    assert document["command"].startswith(f"edgekit export {recipe} --target {target} && edgekit bench ")
    assert re.fullmatch(r"[0-9a-f]{64}", document["bench"]["artifact_sha256"])
    assert not re.search(r'"/|/home/|/tmp/|/root/', result.read_text())
    assert result.with_suffix(".png").is_file()


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert len(links) > 8
    for link in links:
        assert link.startswith("http") or (ROOT / link).exists(), link
