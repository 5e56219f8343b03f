"""The pages on decoders are those of the committed results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmarks.decoders.page import page
from benchmarks.language_compression.page import page as compression_page
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


def test_smaller_shapes_of_a_trained_model() -> None:
    folder = BENCHMARKS / "language_compression"
    results, speed = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("results.json", "speed.json"))
    verdict = (folder / "verdict.md").read_text(encoding="utf-8")
    assert compression_page(results, speed, verdict) == (folder / "README.md").read_text(encoding="utf-8")


def test_what_that_verdict_says_is_in_the_numbers() -> None:
    folder = BENCHMARKS / "language_compression"
    results, speed = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("results.json", "speed.json"))
    change = {one["shape"]: one["texts"]["Wikipedia, validation"]["change"]["value"] for one in results["shapes"]}
    blocks, neurons, zeros = "4 of 8 blocks", "half the neurons", "half zeros, SparseGPT"
    assert 0.09 < change[zeros] < 0.11 < 0.49 < change[neurons] < 0.51 < 2.8 < change[blocks] < 3.1
    after = {(one["shape"], one["recovery"], one["step"]["learning_rate"]): one["after"] for one in results["trained"]}
    before = {one["shape"]: one["before"] for one in results["trained"]}
    best = {
        (shape, way): min(value for (one, other, _), value in after.items() if (one, other) == (shape, way))
        for shape, way, _ in after
    }
    teacher, adapters = "half teacher", "LoRA, labels"
    assert best[blocks, teacher] < 0.9 * best[blocks, adapters] and best[neurons, teacher] < 0.97 * best[neurons, adapters]
    assert abs(best[zeros, teacher] / best[zeros, adapters] - 1) < 0.01
    assert all(after[shape, teacher, 2e-3] > before[shape] for shape in (neurons, zeros))
    assert best[blocks, teacher] == after[blocks, teacher, 6e-4] and best[neurons, teacher] == after[neurons, teacher, 2e-4]
    token = {name: one["token_ms"]["median"] for name, one in speed["shapes"].items()}
    assert 1.5 < token["the original"] / token[neurons] < 1.7 and 2.7 < token["the original"] / token[blocks] < 3.0
