"""A language model from recipe to answer: trained, lowered, rounded, scored, packed, and run without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgekit as ek
from edgekit.data.reference import VERSION, generate
from edgekit.errors import BadInput
from edgekit.runtime.verify import verify

RECIPE = """schema = 1
task = "text-generation"
[model]
max_length = 64
[model.new]
layers = 1
width = 32
heads = 2
neurons = 64
vocabulary = 400
epochs = 1
batch = 8
[data]
train = "rows.jsonl"
validation = "others.jsonl"
test = "last.jsonl"
[quantize]
format = "int4-weights"
rounding = "gptq"
{more}
"""


def write(folder: Path, more: str = "") -> Path:
    pieces = generate(7, None)
    for name, split, count in (("rows", "train", 60), ("others", "validation", 8), ("last", "test", 12)):
        lines = [json.dumps({"text": row["text"][:200]}) for row in pieces[split][:count]]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(more=more))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    return ek.export(str(write(folder)), target="x86-avx2", build=folder / "build").path


def test_the_bundle_answers_and_verifies(made: Path) -> None:
    assert verify(made / "bundle")["ok"]
    answer = ek.load(made / "bundle")("The statement")
    assert answer["text"] and answer["ended"] in {"length", "context", "stop"}


def test_the_runner_streams_the_same_text(made: Path) -> None:
    asked = [
        sys.executable,
        str(made / "runner.pyz"),
        "run",
        str(made / "bundle"),
        "The statement",
        "--max-new-tokens",
        "8",
        "--json",
    ]
    first, second = (subprocess.run(asked, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == second and json.loads(first)


def test_quality_is_the_same_metric_for_both(made: Path) -> None:
    variants = json.loads((made / "lineage.json").read_text())["variants"]
    original, bundle = variants["ort-fp32"]["quality"], variants["bundle"]["quality"]
    assert original["metric"] == "1/perplexity" and original["n"] == 12
    assert 0 < bundle["value"] < 1 and abs(bundle["value"] / original["value"] - 1) < 0.2
    assert "1/perplexity" in (made / "report.html").read_text()


def test_the_audit_counts_products_in_blocks(made: Path) -> None:
    audit = json.loads((made / "bundle" / "audit.json").read_text())
    assert audit["matmuls_weight_only"] == audit["matmuls_constant"] > 0
    assert audit["fused"]["GroupQueryAttention"] == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('[[compress]]\nmethod = "distill"\nlayers = 1\n', "compression steps serve encoders"),
        ("[accept]\nmin_speedup = 2.0\n", "could never be judged"),
    ],
)
def test_what_cannot_be_asked_for(more: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as fault:
        ek.export(str(write(tmp_path, more)), target="x86-avx2", build=tmp_path / "build")
    assert says in fault.value.text()


def test_the_reference_is_split_without_overlap() -> None:
    pieces = generate(7, None)
    texts = [row["text"] for split in pieces.values() for row in split]
    assert len(set(texts)) == len(texts) and len(pieces["train"]) > 5 * len(pieces["test"]) > 100
    assert pieces == generate(8, None) and VERSION.startswith("1-")
    with pytest.raises(BadInput, match="length of its own"):
        generate(7, 500)
