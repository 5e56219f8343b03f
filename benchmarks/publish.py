"""Take measured results from build/ into benchmarks/results/, and write the tables from them: one line a result in README.md, all of it in
benchmarks/README.md.

    python -m benchmarks.publish build/clinc150-x86-vnni build/intents-x86-vnni    # take results, then write the tables
    python -m benchmarks.publish                                                  # write the tables again from what is committed

Samples and paths of the measuring machine are left out; everything else of bench.json is kept.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks import seeds
from benchmarks.headline import lead as lead_of
from benchmarks.headline import rise, summary, timed
from benchmarks.pages import write_results
from edgekit.report.format import plural
from edgekit.report.plots import write_picture
from edgekit.runtime.bench.words import GRAPH, TEXT

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- results: written by benchmarks/publish.py -->", "<!-- end of results -->"


def take(folder: Path) -> None:
    """Write benchmarks/results/NAME.json from a result folder, and its picture beside it."""
    bench = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
    lineage = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    manifest = json.loads((folder / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    audit = json.loads((folder / "bundle" / "audit.json").read_text(encoding="utf-8"))
    stages = [
        {"title": stage["title"], "seconds": round(stage["seconds"], 1), "parameters": stage["metrics"].get("parameters")}
        for stage in lineage["stages"]
    ]
    block = manifest["edgekit"]
    document = {
        "command": f"edgekit export {bench['recipe']} --target {bench['target']['requested']} && {_command(bench)}",
        "bench": {**bench, "command": _command(bench)},
        "quality": block["quality"],
        "audit": {
            name: audit[name]
            for name in (
                "matmuls_constant",
                "matmuls_integer",
                "matmuls_weight_only",
                "fallbacks",
                "stray_qdq",
                "casts",
                "fused",
                "ok",
            )
        },
        "data": block["data"],
        "recipe": block["recipe"],
        "stages": stages,
        "seconds": round(sum(stage["seconds"] for stage in stages), 1),
        "tools": block["tools"],
        "bundle_files": {name: asset["size"] for name, asset in manifest["assets"].items()},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{manifest['name']}.json"
    write_results(path, document)
    write_picture(folder, RESULTS / f"{manifest['name']}.png")


def _command(bench: dict[str, Any]) -> str:
    quick = " --quick" if bench["protocol"]["quick"] else ""
    return f"edgekit bench build/{bench['recipe']}-{bench['target']['requested']}{quick}"


def table(document: dict[str, Any]) -> list[str]:
    """The Markdown table of one result, with a line on how it was measured."""
    bench, quality = document["bench"], document["quality"]
    against = {(item["against"], item["scenario"]): item for item in bench["ratios"]}
    speaks, lead = "language" in bench, lead_of(bench)
    lines = [
        (
            f"| variant | {'a token' if speaks else 'text to answer' if lead == TEXT else 'the graph'} p50 (95% interval) "
            f"{'| the graph ' if lead == TEXT else ''}| bundle is faster by | {'perplexity' if speaks else quality['metric']} | model + tokenizer |"
        ),
        f"|---|{'---:|' if lead == TEXT else ''}---:|---:|---:|---:|",
    ]
    order = ["eager-fp32", "ort-fp32", "ort-int8-stock", "after-0-none"]
    for variant in sorted(
        bench["variants"], key=lambda item: order.index(item["name"]) if item["name"] in order else len(order)
    ):
        if variant["name"].startswith("after-") and variant["name"] != "after-0-none":
            continue
        answer, graph = timed(variant, lead), timed(variant, GRAPH)
        beside = f"| {graph['p50_ms']:.3f} ms " if lead == TEXT else ""
        ratio = against.get((variant["name"], lead))
        faster = f"{ratio['speedup']:.1f}x ({ratio['ci95'][0]:.1f} to {ratio['ci95'][1]:.1f})" if ratio else ""
        title = TITLES.get(variant["name"], variant["title"])
        name = f"**{title}**" if variant["name"] == "bundle" else title
        low, high = answer["ci95_ms"]
        value = variant["quality"]["value"]
        shown = f"{1 / value:.2f}" if speaks else f"{100 * value:.2f}%"
        lines.append(
            f"| {name} | {answer['p50_ms']:.3f} ms ({low:.3f} to {high:.3f}) "
            f"{beside}| {faster} | {shown} "
            f"| {variant['total_mb']:.1f} MB |"
        )
    low, high = (100 * value for value in quality["ci95"])
    detected = bench["target"]["detected"]
    audit = document["audit"]
    bundle = next(variant for variant in bench["variants"] if variant["name"] == "bundle")
    differs = f"{quality['metric']} differs from the original's by {100 * quality['difference']:+.2f} points"
    differs = f"{differs} (paired 95% interval {low:+.2f} to {high:+.2f})"
    if speaks:
        lines += ["", *_prompts(bench)]
        differs = f"perplexity differs from the original's by {100 / quality['ratio']['value'] - 100:+.2f}% (95% interval {rise(quality)})"
    rows = "a token after a prompt" if speaks else "test rows at their real lengths"
    lines += [
        "",
        f"{quality['n']:,} test rows; the bundle's {differs}. {_matmuls(audit)}. From the start of a process to its first answer the bundle takes "
        f"{bundle['phases']['first_answer_ms'] / 1000:.2f} s. Batch 1, {plural(bench['protocol']['threads'], 'thread')} for every variant, {rows}, "
        f"{bench['protocol']['processes']} fresh processes a variant, interleaved; {detected['cpu']}, onnxruntime {detected['onnxruntime']}"
        + (
            ""
            if bench["validity"]["stable"]
            else f"; **not stable**, as processes of some variants differ by up to {_worst(bench)}"
        )
        + f". All stages together took {document['seconds']:.0f} s on {detected['cores_usable']} cores.",
    ]
    return lines


def _matmuls(audit: dict[str, Any]) -> str:
    """How the MatMuls with a constant weight are computed."""
    every, unpacked = audit["matmuls_constant"], audit.get("matmuls_weight_only", 0)
    if unpacked:
        return f"{unpacked} of {every} MatMuls unpack small weights inside their kernel"
    return f"{audit['matmuls_integer']} of {every} MatMuls with a constant weight ran in integer kernels"


def _prompts(bench: dict[str, Any]) -> list[str]:
    """A language model's table of prompts and tokens."""
    block = bench["language"]
    lines = [
        "| variant | prompt | first token | prompt tokens/s | a token | tokens/s | of memory speed |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for variant in bench["variants"]:
        times = {item["name"]: item["p50_ms"] for item in variant["scenarios"]}
        for one in block["variants"][variant["name"]]["prompts"]:
            first, token = times[f"first-{one['tokens']}"], times[f"token-{one['tokens']}"]
            share = f"{100 * one['share']:.0f}%" if "share" in one else ""
            lines.append(
                f"| {TITLES.get(variant['name'], variant['title'])} | {one['tokens']} | {first:.2f} ms | {one['read_per_second']:,.0f} "
                f"| {token:.3f} ms | {one['made_per_second']:,.0f} | {share} |"
            )
    return [*lines, "", f"Memory was read at {block['memory_gb_s']['median']:.1f} GB/s in the same run."]


def _worst(bench: dict[str, Any]) -> str:
    """The largest disagreement among the reasons of an unstable result."""
    shares = [int(share) for reason in bench["validity"]["reasons"] for share in re.findall(r"differ by (\d+)%", reason)]
    return f"{max(shares)}%" if shares else "an unknown share"


TITLES = {
    "eager-fp32": "PyTorch eager fp32, original",
    "ort-fp32": "ONNX Runtime fp32, original",
    "ort-int8-stock": "`quantize_dynamic` off the shelf, original",
    "after-0-none": "edgekit INT8, original not compressed",
    "bundle": "edgekit bundle",
}


NO_HEADLINE = {"squad"}
"""Recipes whose result stands in benchmarks/README.md alone: squad's original was trained for three epochs, and learns more in six."""


def write_tables(root: Path = ROOT) -> None:
    """Put the tables between the markers of README.md and benchmarks/README.md of the checkout `root`."""
    lines: list[str] = []
    documents = []
    results = root / "benchmarks" / "results"
    for path in sorted(results.glob("*.json")):
        documents.append(json.loads(path.read_text(encoding="utf-8")))
        lines += [
            f"`{path.stem}`, by `{documents[-1]['command']}` ([JSON](results/{path.name})):",
            "",
            *table(documents[-1]),
            "",
        ]
    headlines = [document for document in documents if document["bench"]["recipe"] not in NO_HEADLINE]
    trainings = seeds.read_seeds(results / "seeds")
    lines += seeds.table(trainings, seeds.read_original(results / "seeds"), documents)
    beside = json.loads((root / "benchmarks" / "text_to_answer" / "results.json").read_text(encoding="utf-8"))
    shown = summary(headlines, trainings, beside)
    for page, body in ((root / "README.md", shown), (root / "benchmarks" / "README.md", lines)):
        text = page.read_text(encoding="utf-8")
        head, _, rest = text.partition(BEGIN)
        _, _, tail = rest.partition(END)
        page.write_text(f"{head}{BEGIN}\n\n" + "\n".join(body) + f"\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        take(Path(argument))
    write_tables()
