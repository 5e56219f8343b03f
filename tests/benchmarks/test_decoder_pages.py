"""The pages on decoders are those of the committed results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmarks.decoders.page import page
from benchmarks.language_distillation.page import write_page
from benchmarks.speculation.page import page as speculation_page

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_beside_its_peers() -> None:
    folder = BENCHMARKS / "decoders"
    text = page(json.loads((folder / "results.json").read_text(encoding="utf-8")))
    assert text == (folder / "README.md").read_text(encoding="utf-8")
    assert "## Where the time of a token goes" in text and "MatMulNBits, vocabulary" in text


def test_speculation() -> None:
    folder = BENCHMARKS / "speculation"
    names = ("results.json", "code.json", "drafted.json")
    looked_up, code, drafted = (json.loads((folder / name).read_text(encoding="utf-8")) for name in names)
    assert speculation_page(looked_up, code, drafted) == (folder / "README.md").read_text(encoding="utf-8")
    assert looked_up["fault"] is code["fault"] is None and not any(run["fault"] for run in drafted["runs"].values())


def test_distilled(tmp_path: Path) -> None:
    folder = BENCHMARKS / "language_distillation"
    for name in ("results.json", "verdict.md"):
        shutil.copyfile(folder / name, tmp_path / name)
    write_page(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == (folder / "README.md").read_text(encoding="utf-8")


def test_what_the_verdict_says_is_in_the_numbers() -> None:
    document = json.loads((BENCHMARKS / "language_distillation" / "results.json").read_text(encoding="utf-8"))
    found = {arm["name"]: arm["perplexity_fp32"] for arm in document["arms"]}
    half, labels = found["2 blocks, rows: half teacher, half labels"], found["2 blocks, labels of the rows alone"]
    original = found["the original, 4 blocks"]
    assert abs(half / original - 1) < 0.02 < labels / original - 1
    assert found["control: 2 blocks from nothing, as many steps"] > 2 * half
    assert min(found["2 blocks, the teacher's texts"], found["2 blocks, its own texts"]) > half
    assert (
        found["half the neurons, then rows"] < found["half the neurons, then rows, LoRA of rank 8"] < found["half the neurons"]
    )
