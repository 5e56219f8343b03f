"""The pages on decoders are those of the committed results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.decoders.page import page
from benchmarks.decoders.peers import write_measured
from benchmarks.language_compression.page import page as compression_page
from benchmarks.language_distillation.page import write_page
from benchmarks.speculation.page import page as speculation_page

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_beside_its_peers() -> None:
    folder = BENCHMARKS / "decoders"
    text = page(json.loads((folder / "results.json").read_text(encoding="utf-8")))
    assert text == (folder / "README.md").read_text(encoding="utf-8")
    assert "## Where the time of a token goes" in text and "MatMulNBits, vocabulary" in text


def test_measuring_peers_again_keeps_the_kernels(tmp_path: Path) -> None:
    folder = BENCHMARKS / "decoders"
    document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    shutil.copyfile(folder / "results.json", tmp_path / "results.json")
    write_measured(tmp_path, {name: part for name, part in document.items() if name != "where"})
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == (folder / "README.md").read_text(encoding="utf-8")


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


def _compression() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    folder = BENCHMARKS / "language_compression"
    results, speed, tried = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("results.json", "speed.json", "tried.json")
    )
    return results, speed, tried


def test_smaller_shapes_of_a_trained_model() -> None:
    folder = BENCHMARKS / "language_compression"
    verdict = (folder / "verdict.md").read_text(encoding="utf-8")
    assert compression_page(*_compression(), verdict) == (folder / "README.md").read_text(encoding="utf-8")


def test_what_that_verdict_says_is_in_the_numbers() -> None:
    results, speed, tried = _compression()
    own, other = "Wikipedia, validation", "Wikitext-2, test"
    change = {one["shape"]: one["texts"][own]["change"]["value"] for one in results["shapes"]}
    blocks, neurons, sparsegpt, wanda = "4 of 8 blocks", "half the neurons", "half zeros, SparseGPT", "half zeros, Wanda"
    assert (
        0.08 < change[sparsegpt] < 0.1 < 0.17 < change[wanda] < 0.19 < 0.48 < change[neurons] < 0.5 < 2.8 < change[blocks] < 3.1
    )
    trained = {(one["shape"], one["recovery"]): one for one in results["trained"]}
    after = {name: {way: one["texts"][way]["perplexity"] for way in (own, other)} for name, one in trained.items()}
    untrained = {one["shape"]: one["texts"][other]["perplexity"] for one in results["shapes"]}
    teacher, adapters = "half teacher", "LoRA, labels"
    for shape in (blocks, neurons, wanda):
        assert len(trained[shape, teacher]["seeds"]) == len(trained[shape, adapters]["seeds"]) == 3
        taught, adapted = (trained[shape, way]["texts"][own]["by_seed"] for way in (teacher, adapters))
        assert max(taught) < min(adapted) and max(taught) - min(taught) < 0.25
        assert trained[shape, adapters]["step"]["rows"] >= 2 * trained[shape, teacher]["step"]["rows"]
    assert after[blocks, teacher][other] < 0.6 * untrained[blocks] and after[neurons, teacher][other] < untrained[neurons]
    assert after[sparsegpt, teacher][other] > 1.1 * untrained[sparsegpt]
    assert after[wanda, adapters][other] < after[wanda, teacher][other] < 1.01 * untrained[wanda]
    reached = {(one["shape"], one["recovery"], one["learning_rate"]): one["after"] for one in tried["tried"]}
    before = {one["shape"]: one["before"] for one in tried["tried"]}
    best = {
        (shape, way): min((value, rate) for (one, by, rate), value in reached.items() if (one, by) == (shape, way))[1]
        for shape, way, _ in reached
    }
    assert best[blocks, teacher] == 6e-4 and best[neurons, teacher] == 2e-4
    assert all(reached[shape, teacher, 2e-3] > before[shape] for shape in (neurons, sparsegpt))
    assert all(step["learning_rate"] == (2e-3 if way == adapters else 6e-4 if shape == blocks else 2e-4)
               for (shape, way), step in ((name, one["step"]) for name, one in trained.items()) if way in (teacher, adapters))  # fmt: skip
    token = {name: one["token_ms"]["median"] for name, one in speed["shapes"].items()}
    assert 1.5 < token["the original"] / token[neurons] < 1.7 and 2.7 < token["the original"] / token[blocks] < 3.0
