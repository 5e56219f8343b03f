"""What an answer to an image costs, from its file on: bundles beside PyTorch, ONNX Runtime and its own dynamic INT8, interleaved in one process.

    python -m benchmarks.images.times build/cifar10-x86-vnni --rounds 400

It takes the folders that `edgekit export` made of the recipes here, that of cifar10 first, writes times.json, and README.md from it. One thread; each
round asks every contender about the same image, in another order; preprocessing is the runtime's for all but PyTorch, which has transformers'.
Results of recipes that differ in their seed alone are trainings of one: the first is timed, and quality is the mean.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import numpy as np

from edgekit.host import detect
from edgekit.runtime.model import load
from edgekit.runtime.providers.session import open_session

HERE = Path(__file__).parent
ROUNDS, WARM = 400, 20
FILES = 200
"""Test rows that are asked about."""
NAMES = {
    "eager-fp32": "PyTorch eager fp32, transformers' image processor",
    "ort-fp32": "ONNX Runtime fp32",
    "ort-int8-stock": "`quantize_dynamic` off the shelf",
}
Answer = Callable[[bytes], Any]


def main() -> None:
    """Measure, and write both files."""
    written(__doc__, HERE, ROUNDS, measured, page)


def written(
    about: str,
    here: Path,
    rounds: int,
    measure: Callable[[list[Path], int], dict[str, Any]],
    show: Callable[[dict[str, Any]], str],
) -> None:
    """The command line that times results, if any are named, and writes times.json and README.md in `here`."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("results", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--note", action="append", default=[], help="what the page says below the table; again for more")
    asked = parser.parse_args()
    if asked.results:
        document = {**measure(asked.results, asked.rounds), "notes": asked.note}
        (here / "times.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (here / "README.md").write_text(show(json.loads((here / "times.json").read_text(encoding="utf-8"))), encoding="utf-8")


def measured(
    results: list[Path],
    rounds: int,
    module: str = "images",
    column: str = "image",
    original: Callable[[Path], Answer] | None = None,
) -> dict[str, Any]:
    """Milliseconds of every contender, and what the lineage says of its quality and size.

    `module`: that of `benchmarks` in the command; `column`: where a row has the bytes of its file, in base64; `original`: folder -> how
    transformers answers a file with its checkpoint, by default an image's.
    """
    lineage = json.loads((results[0] / "lineage.json").read_text(encoding="utf-8"))
    eager = results[0] / lineage["variants"]["eager-fp32"]["folder"]
    contenders: dict[str, Answer] = {"eager-fp32": (original or by_transformers)(eager)}
    contenders |= {name: answer_of(results[0], lineage["variants"][name]["folder"]) for name in NAMES if name != "eager-fp32"}
    facts: dict[str, dict[str, Any]] = {name: facts_of(results[0], name) for name in NAMES}
    for first, *others in trainings(results):
        contenders[first.name] = load(first / "bundle", threads=1)
        facts[first.name] = {**facts_of(first, "bundle"), "trainings": [training_of(result) for result in (first, *others)]}
    rows = [json.loads(line) for line in (results[0] / lineage["rows"]).read_text(encoding="utf-8").splitlines()[:FILES]]
    files = [base64.b64decode(row[column]) for row in rows]
    order = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(WARM + rounds):
        for name in order.permutation(list(contenders)):
            begun = perf_counter()
            contenders[name](files[number % len(files)])
            if number >= WARM:
                times[name].append((perf_counter() - begun) * 1000)
    host = detect()
    return {
        "command": f"python -m benchmarks.{module}.times {' '.join(f'build/{result.name}' for result in results)} --rounds {rounds}",
        "machine": {"isa": sorted(host.isa), "cores": host.cores_usable, "onnxruntime": host.onnxruntime},
        "rounds": rounds,
        "contenders": {name: {**facts[name], **spread(times[name])} for name in contenders},
    }


def trainings(results: list[Path]) -> list[list[Path]]:
    """The results, those of recipes that differ in their seed and name alone together, in their order."""
    groups: dict[str, list[Path]] = {}
    for result in results:
        recipe = json.loads((result / "lineage.json").read_text(encoding="utf-8"))["recipe"]
        groups.setdefault(json.dumps({**recipe, "seed": None, "name": None}, sort_keys=True), []).append(result)
    return list(groups.values())


def training_of(result: Path) -> dict[str, Any]:
    """Seed and accuracy of one."""
    lineage = json.loads((result / "lineage.json").read_text(encoding="utf-8"))
    quality = lineage["variants"]["bundle"]["quality"]
    return {"seed": lineage["recipe"]["seed"], "accuracy": quality["value"], "difference": quality["difference"]}


def by_transformers(folder: Path) -> Answer:
    """How transformers answers the bytes of an image's file with the checkpoint in `folder`, in float32 on one thread."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForImageClassification
    from transformers.image_utils import load_image

    torch.set_num_threads(1)
    reader = AutoImageProcessor.from_pretrained(folder, backend="pil")
    network = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def ask(data: bytes) -> Any:
        with Image.open(io.BytesIO(data)) as image, torch.inference_mode():
            return network(**reader(load_image(image), return_tensors="pt")).logits.softmax(-1).max(-1)

    return ask


def answer_of(result: Path, folder: str) -> Answer:
    """How the graph in `folder` of a result answers the bytes of a file, with the bundle's reader before it."""
    model = load(result / "bundle", threads=1)
    session = open_session(result / folder / "model.onnx", threads=1)
    return type(model)(model.bundle, session, model.reader)


def facts_of(result: Path, name: str) -> dict[str, Any]:
    """Accuracy on all test rows, with the paired difference from the original, and MB."""
    lineage = json.loads((result / "lineage.json").read_text(encoding="utf-8"))
    variant = lineage["variants"][name]
    folder, quality = result / variant["folder"], variant["quality"]
    model = folder / variant.get("file", "model.onnx")
    return {
        "accuracy": quality["value"],
        "difference": quality.get("difference", 0.0),
        "ci95": quality.get("ci95", [0.0, 0.0]),
        "n": quality["n"],
        "mb": model.stat().st_size / 1e6,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
    }


def spread(times: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = np.percentile(times, [25, 50, 75])
    return {"p25_ms": round(low, 3), "p50_ms": round(middle, 3), "p75_ms": round(high, 3)}


def page(document: dict[str, Any]) -> str:
    """The README of this folder."""
    stock, eager = (document["contenders"][name]["p50_ms"] for name in ("ort-int8-stock", "eager-fp32"))
    lines = [
        "# Images",
        "",
        "What an answer to an image of CIFAR-10 costs from its file on (`cifar10-vit`, 6.35 M weights, 32 x 32 pixels), written by",
        f"`times.py` from `times.json`: {document['rounds']} rounds in one process, in which every contender answers the same image, one thread.",
        f"Accuracy is of all {document['contenders']['ort-fp32']['n']:,} test rows. The recipes stand beside this page. Regenerate with",
        "",
        f"    {document['command']}",
        "",
        "| contender | file to answer, median (quartiles) | to PyTorch | to off-the-shelf INT8 | accuracy | points (95%, or of all seeds) | model |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    return "\n".join(
        [*lines, *(line_of(document, name, stock, eager) for name in document["contenders"]), *notes(document), ""]
    )


def line_of(document: dict[str, Any], name: str, stock: float, eager: float) -> str:
    """A contender's line of the table."""
    one = document["contenders"][name]
    accuracy, change = quality_shown(one)
    return (
        f"| {NAMES.get(name, f'**bundle of `{name}`**')} | {one['p50_ms']:.2f} ms ({one['p25_ms']:.2f} to {one['p75_ms']:.2f}) | "
        f"{eager / one['p50_ms']:.2f}x | {stock / one['p50_ms']:.2f}x | {accuracy} | {change} | {one['mb']:.1f} MB |"
    )


def quality_shown(one: dict[str, Any]) -> tuple[str, str]:
    """Accuracy and its change, of several trainings their mean with the lowest and the highest."""
    several = one.get("trainings", [])
    if len(several) > 1:
        values, changes = ([100 * training[name] for training in several] for name in ("accuracy", "difference"))
        return (
            f"{fmean(values):.2f}% ({min(values):.2f} to {max(values):.2f}, {len(several)} seeds)",
            f"{fmean(changes):+.2f} ({min(changes):+.2f} to {max(changes):+.2f})",
        )
    low, high = (100 * end for end in one["ci95"])
    change = f"{100 * one['difference']:+.2f} ({low:+.2f} to {high:+.2f})" if one["difference"] or high else ""
    return f"{100 * one['accuracy']:.2f}%", change


def notes(document: dict[str, Any]) -> list[str]:
    """What has to be known of how the bundles came to be."""
    return ["", *(f"- {note}" for note in document["notes"])] if document.get("notes") else []


if __name__ == "__main__":
    main()
