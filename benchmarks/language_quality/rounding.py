"""What weights in 8 and 4 bits cost two trained language models: perplexity and greedy agreement with float32, with intervals.

    python -m benchmarks.language_quality.rounding [--every 4] [--models ../shared/models] [--texts ../shared/data/wikitext2]

Models: stories260k, a Llama of 260,000 parameters trained on children's stories, and the built-in recipe reference-lm, trained here
where build/reference-lm-x86-vnni does not hold it yet. Texts: every n-th row of Wikitext-2's test text, and the test rows of
reference-lm's own text. GPTQ is calibrated on other rows: reference-lm's own training rows, and Wikitext-2's validation text for
stories260k, whose own is not at hand. A score that is there already for the same files, settings, sources and versions is not
computed again, so an interrupted run goes on where it stopped. Writes results.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.language_quality.page import write_page
from edgekit.bench.greedy import CONTINUED, PREDICTED, agreement
from edgekit.bench.score import score_texts
from edgekit.config.quantize import WeightOnly
from edgekit.data.rows import read_rows
from edgekit.exporter.decoder import export_decoder
from edgekit.models.files import digest
from edgekit.progress import Show
from edgekit.quantize.decoder import quantize_decoder
from edgekit.quantize.hessians import hessians_of
from edgekit.quantize.kv_cache import cache_ranges
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.runtime.bundle.names import GENERATION
from edgekit.runtime.items import split_lines
from edgekit.store import sha256_file
from edgekit.tasks import find_task
from edgekit.tasks.decoders.text_generation import mean_probability
from edgekit.tasks.encode import encode

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "language-quality"
SEED = 7
EVIDENCE = "evidence.npy"
FLOAT = "float32"
VARIANTS = {
    "INT8": WeightOnly(format="int8-weights"),
    "INT4, clipped": WeightOnly(format="int4-weights"),
    "INT4, HQQ": WeightOnly(format="int4-weights", rounding="hqq"),
    "INT4, GPTQ": WeightOnly(format="int4-weights", rounding="gptq"),
    "INT4, GPTQ, cache in INT8": WeightOnly(format="int4-weights", rounding="gptq", cache="int8"),
}
"""Blocks of 32, embeddings in INT8, products in integers: what recipes get that say no more."""
LIMITS = {"int8-weights": 0.005, "int4-weights": 0.04}
"""Most that perplexity may grow."""
CALIBRATION_ROWS = 256


@dataclass(frozen=True)
class Subject:
    """A trained model, the rows it is calibrated on, and the texts it is scored on: name -> rows as JSON lines."""

    name: str
    checkpoint: Path
    max_length: int
    calibration: list[dict[str, Any]]
    texts: dict[str, Path]


def main() -> None:
    """Parse, make, score, write."""
    parser = argparse.ArgumentParser(description="Perplexity that rounding costs.")
    parser.add_argument("--every", type=int, default=4, help="of Wikitext-2's rows: each n-th")
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models", help="folder that holds stories260k")
    parser.add_argument(
        "--texts", type=Path, default=ROOT / "../shared/data/wikitext2", help="folder of test.txt and valid.txt"
    )
    asked = parser.parse_args()
    texts: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    show = Show()
    for subject in subjects(asked.models, asked.texts, asked.every):
        texts |= {name: {"rows": _lines(path), "sha256": sha256_file(path)} for name, path in subject.texts.items()}
        found += results_of(subject, show)
    document = {
        "schema_version": 1,
        "command": shlex.join(["python", "-m", "benchmarks.language_quality.rounding", "--every", str(asked.every)]),
        "machine": {"chip": chip(), "arch": platform.machine()},
        "versions": versions(),
        "seed": SEED,
        "limits": LIMITS,
        "texts": texts,
        "results": found,
    }
    (HERE / "results.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    write_page(HERE / "README.md")


def subjects(models: Path, wikitext: Path, every: int) -> list[Subject]:
    """Both models with their texts, which are written to the build folder."""
    BUILD.mkdir(parents=True, exist_ok=True)
    wiki = BUILD / f"wikitext2-every-{every}.jsonl"
    _write_rows(read_rows(str(wikitext / "test.txt"), ("text",))[::every], wiki)
    validation = read_rows(str(wikitext / "valid.txt"), ("text",))
    lineage = ROOT / "build" / "reference-lm-x86-vnni" / "lineage.json"
    if not lineage.is_file():
        subprocess.run(
            [sys.executable, "-m", "edgekit", "export", "reference-lm", "--target", "x86-vnni"], check=True, cwd=ROOT
        )
    places = {
        stage["stage"]: lineage.parent / stage["path"] for stage in json.loads(lineage.read_text(encoding="utf-8"))["stages"]
    }
    own = [json.loads(line) for line in split_lines((places["calibration"] / "calibration.jsonl").read_text(encoding="utf-8"))]
    step = max(1, len(validation) // CALIBRATION_ROWS)
    return [
        Subject("stories260k", (models / "stories260k").resolve(), 512, validation[::step], {"Wikitext-2": wiki}),
        Subject("reference-lm", places["train"], 256, own, {"its own": places["rows"] / "test.jsonl", "Wikitext-2": wiki}),
    ]


def results_of(subject: Subject, show: Show) -> list[dict[str, Any]]:
    """One result for each text and variant of a model."""
    folder = BUILD / subject.name
    whole = made(subject, FLOAT, None, folder / "float32", show)
    found = []
    models = {FLOAT: whole}
    for name, settings in VARIANTS.items():
        models[name] = made(subject, name, settings, folder / name.replace(", ", "-").replace(" ", "-").lower(), show)
    for text, rows in subject.texts.items():
        base = scored(subject, FLOAT, whole, text, rows, show)
        for name, model in models.items():
            found.append(_result(subject, text, name, model, base, scored(subject, name, model, text, rows, show)))
    return found


def made(subject: Subject, name: str, settings: WeightOnly | None, out: Path, show: Show) -> Path:
    """The folder of a variant's graph; `settings` None: float32."""
    key = {"checkpoint": digest(subject.checkpoint), "settings": settings and settings.model_dump(), "rows": _sum(subject.calibration),
           "max_length": subject.max_length, "sources": _sources("exporter", "onnx_graph", "models", "quantize"),
           "versions": versions()}  # fmt: skip
    if _known(out, key):
        return out
    whole = out.parent / "float32"
    out.mkdir(parents=True, exist_ok=True)
    with show.stage(f"{subject.name}: {name}") as progress:
        if settings is None:
            export_decoder(subject.checkpoint, out, max_length=subject.max_length, progress=progress)
        else:
            data = encode(subject.checkpoint, subject.calibration, find_task("text-generation"), subject.max_length)
            ids = [one.ids for one in data.windows]
            hessians = hessians_of(whole, ids, out / "scratch") if settings.rounding == "gptq" else None
            ranges = cache_ranges(whole / "model.onnx", ids) if settings.cache == "int8" else None
            quantize_decoder(whole, out, settings, hessians=hessians, cache=ranges, progress=progress)
            stated = json.loads((whole / GENERATION).read_text(encoding="utf-8"))
            cache = {} if settings.cache == "float32" else {"cache": settings.cache}
            (out / GENERATION).write_text(json.dumps(stated | cache), encoding="utf-8")
    (out / "key.json").write_text(json.dumps(key), encoding="utf-8")
    return out


def scored(subject: Subject, name: str, model: Path, text: str, rows: Path, show: Show) -> Path:
    """The folder of a variant's scores over the rows of a text."""
    out = model / f"score-{text.replace(' ', '-').lower()}"
    made_with = json.loads((model / "key.json").read_text(encoding="utf-8"))
    key = {"model": made_with, "rows": sha256_file(rows), "sources": _sources("bench", "runtime/generate")}
    if not _known(out, key):
        out.mkdir(exist_ok=True)
        with show.stage(f"{subject.name}, {name}: {text}") as progress:
            found = score_texts(model, subject.checkpoint, rows, progress=progress)
        for file, array in ((EVIDENCE, found.evidence), (PREDICTED, found.predicted), (CONTINUED, found.continued)):
            np.save(out / file, array, allow_pickle=False)
        (out / "key.json").write_text(json.dumps(key), encoding="utf-8")
    return out


def _result(subject: Subject, text: str, name: str, model: Path, base: Path, other: Path) -> dict[str, Any]:
    before, after = (np.load(folder / EVIDENCE, allow_pickle=False) for folder in (base, other))
    ratio = paired_difference(before, after, SEED, mean_probability)["ratio"]
    low, high = ratio["ci95"]
    change = {"value": 1 / ratio["value"] - 1, "ci95": [1 / high - 1, 1 / low - 1]}
    settings = VARIANTS.get(name)
    limit = LIMITS[settings.format] if settings else None
    return {
        "model": subject.name, "text": text, "variant": name, "tokens": int(after[:, 1].sum()), "texts": len(after),
        "megabytes": sum((model / file).stat().st_size for file in ("model.onnx", "model.onnx.data")) / 1e6,
        "perplexity": 1 / mean_probability(after), "change": change, "limit": limit,
        "verdict": None if limit is None else _verdict(change["ci95"], limit),
        **agreement(base, other, EVIDENCE, SEED),
    }  # fmt: skip


def _verdict(interval: list[float], limit: float) -> str:
    if interval[1] <= limit:
        return "met"
    return "not met" if interval[0] > limit else "not told apart"


def _known(folder: Path, key: dict[str, Any]) -> bool:
    try:
        return bool(json.loads((folder / "key.json").read_text(encoding="utf-8")) == key)
    except (OSError, ValueError):
        return False


def _write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _sum(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _sources(*rooms: str) -> str:
    files = [path for room in rooms for path in sorted((ROOT / "edgekit" / room).rglob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def versions() -> dict[str, str]:
    """What results depend on."""
    names = ("edgekit", "onnxruntime", "torch", "transformers", "tokenizers", "numpy")
    return {name: metadata.version(name) for name in names} | {"python": platform.python_version()}


def chip() -> str:
    """This machine's."""
    from edgekit.host import detect

    return detect().cpu


def _lines(path: Path) -> int:
    return len(split_lines(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
