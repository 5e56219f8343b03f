"""A language model from recipe to answer: trained, lowered, rounded, scored, packed, and run without torch."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import edgekit as ek
from edgekit.data.reference import VERSION, generate
from edgekit.errors import BadInput
from edgekit.runtime.bundle.verify import verify
from tests.short_measure import short_measure

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
test = "last.txt"
[quantize]
format = "int4-weights"
rounding = "gptq"
cache = "int8"
{more}
"""


def write(folder: Path, more: str = "") -> Path:
    """Rows as JSON lines, but for the test split, which is plain text."""
    pieces = generate(7, None)
    for name, split, count in (("rows", "train", 60), ("others", "validation", 8)):
        lines = [json.dumps({"text": row["text"][:200]}) for row in pieces[split][:count]]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    (folder / "last.txt").write_text("\n".join(row["text"][:1500].replace("\n", " ") for row in pieces["test"][:50]))
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(more=more))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    with short_measure(processes=1):
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
    lineage = json.loads((made / "lineage.json").read_text())
    original, bundle = (lineage["variants"][name]["quality"] for name in ("ort-fp32", "bundle"))
    rows = [json.loads(line) for line in (made / lineage["rows"]).read_text().splitlines()]
    assert 8 < len(rows) < 50 and all(set(row) == {"text"} and len(row["text"]) <= 2000 for row in rows)
    assert original["metric"] == "1/perplexity" and original["n"] == len(rows)
    assert 0 < bundle["value"] < 1 and abs(bundle["value"] / original["value"] - 1) < 0.2
    assert "1/perplexity" in (made / "report.html").read_text()


def test_what_it_says_is_held_against_the_original(made: Path) -> None:
    variants = json.loads((made / "lineage.json").read_text())["variants"]
    same, bundle = (variants[name]["quality"]["greedy"] for name in ("ort-fp32", "bundle"))
    assert same["agreement"]["value"] == 1.0 and same["prefix"]["value"] == same["prefix"]["tokens"] == 48
    share, (low, high) = bundle["agreement"]["value"], bundle["agreement"]["ci95"]
    assert 0.3 < low <= share <= high <= 1 and bundle["agreement"]["tokens"] == same["agreement"]["tokens"] > 1000
    assert 0 <= bundle["prefix"]["value"] <= 48 and 8 < bundle["prefix"]["prompts"] <= 16
    manifest = json.loads((made / "bundle" / "manifest.json").read_text())
    assert manifest["edgekit"]["quality"]["greedy"] == bundle and manifest["edgekit"]["quality"]["ratio"]
    card = (made / "bundle" / "README.md").read_text()
    assert "Perplexity on " in card and f"{share:.1%} (95% interval" in card and "1/perplexity" not in card


def test_the_cache_is_as_the_recipe_says(made: Path) -> None:
    bundle = ek.load(made / "bundle")
    assert json.loads((made / "bundle" / "manifest.json").read_text())["edgekit"]["generation"]["cache"] == "int8"
    (stage,) = (one for one in json.loads((made / "lineage.json").read_text())["stages"] if one["stage"] == "quantize-decoder")
    assert stage["metrics"]["cache"] == 1 and stage["metrics"]["cache_bytes_per_token"] == 2 * 32
    assert "takes 64 bytes of memory" in (made / "bundle" / "README.md").read_text()
    assert bundle("The statement")["text"] == bundle("The statement")["text"]


def test_prompts_and_tokens_are_timed_beside_the_memory(made: Path) -> None:
    bench = json.loads((made / "bench.json").read_text())
    assert bench["complete"] and bench["traffic"] == [] and not bench["left_out"]
    language = bench["language"]
    assert language["main_prompt"] == 16 and language["tokens"] == 16 and language["memory_gb_s"]["median"] > 0
    variants = {one["name"]: one for one in bench["variants"]}
    assert set(variants) == set(language["variants"]) == {"eager-fp32", "ort-fp32", "bundle"}
    for name, variant in variants.items():
        times = {one["name"]: one["p50_ms"] for one in variant["scenarios"]}
        assert set(times) == {"real", "first-16", "token-16"} and times["real"] == times["token-16"] > 0
        (prompt,) = language["variants"][name]["prompts"]
        (token,) = (one for one in variant["scenarios"] if one["name"] == "token-16")
        assert prompt["made_per_second"] * statistics.median(token["children_p50_ms"]) == pytest.approx(1000, rel=0.01)
    wide, small = (language["variants"][name] for name in ("ort-fp32", "bundle"))
    assert wide["cache_bytes_per_token"] == 4 * small["cache_bytes_per_token"] == 4 * 2 * 32
    # projections and norms: (4 + 3 * 2) matrices of 32 x 32, three vectors of 32; the table is read whole as the head's
    assert wide["weight_bytes"] == pytest.approx(4 * (10 * 32 * 32 + 3 * 32 + 400 * 32), rel=0.1)
    assert 0.1 < small["weight_bytes"] / wide["weight_bytes"] < 0.35
    assert {one["against"] for one in bench["ratios"]} == {"eager-fp32", "ort-fp32"}
    for page in (made / "report.md", made / "report.html"):
        assert "Prompts and tokens" in page.read_text() and "vs stock" not in page.read_text()


def test_the_runner_times_chosen_prompts(made: Path) -> None:
    asked = [
        sys.executable,
        str(made / "runner.pyz"),
        "bench",
        str(made / "bundle"),
        "--processes",
        "1",
        "--seconds",
        "0.1",
        "--json",
    ]
    done = subprocess.run([*asked, "--prompts", "8,24"], capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert [one["name"] for one in document["variants"][0]["scenarios"]] == [
        "real",
        "first-8",
        "token-8",
        "first-24",
        "token-24",
    ]
    assert document["memory_gb_s"]["median"] > 0
    done = subprocess.run([*asked, "--prompts", "60"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "do not fit in the context of 64" in done.stderr


def test_the_audit_counts_products_in_blocks(made: Path) -> None:
    audit = json.loads((made / "bundle" / "audit.json").read_text())
    assert audit["matmuls_weight_only"] == audit["matmuls_constant"] > 0
    assert audit["fused"]["GroupQueryAttention"] == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('[[compress]]\nmethod = "distill"\nlayers = 1\n', "serves encoders, not language models; use distill-decoder"),
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
