"""What a lane found, as a JSON document, and the page that is written from the committed ones."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

from lanes.userland import Place

__all__ = ["FOLDER", "document", "page", "record", "summary"]

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "lanes"
SCHEMA = 1
HEAD = """# Bundles on instruction sets that are not here

Written by `make test-arm64 RECORD=1` and `make test-avx2 RECORD=1` into [results.json](results.json), which holds every figure of
this page. Each lane makes a small bundle of every task whose graph is another by the recipes' own way and verifies it with the runner on CPUs
that qemu-user emulates: right results and the choice of kernels are real, times of a model are not and none is reported.

A golden input passes where its outputs are within the bundle's tolerance, a share of the outputs' own spread that the target
sets; "largest" is the largest difference found, as a share of that tolerance. "Refused" counts bundles that ask for instructions
which the CPU lacks and were refused for it. The operators' kernels that ran are those of the bundle's audit wherever one
was verified, or the lane fails; so it does where a CPU's own instructions do not come up or newer ones do: sadalp and
uadalp are NEON's, sdot and udot dot product's, smmla and ummla i8mm's, bfmmla bf16's, smopa SME's; vpmaddubsw is what x86 has
without VNNI.
"""


def document(
    lane: str, cpus: list[dict[str, Any]], seconds: dict[str, float], places: list[Place], **more: Any
) -> dict[str, Any]:
    """The result of one lane: versions and sha256 sums of all it ran on, seconds by step, and a cell for each bundle."""
    return {
        "schema_version": SCHEMA,
        "lane": lane,
        "versions": {name: metadata.version(name) for name in ("edgekit", "numpy", "onnxruntime", "tokenizers")},
        "packages": [package for place in places for package in place.record["packages"]],
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "cpus": [
            {name: value for name, value in one.items() if name != "faults"} for one in cpus
        ],
        **more,
    }  # fmt: skip


def summary(found: dict[str, Any]) -> list[str]:
    """Lines of a table: golden inputs passed by CPU and task, with the largest difference."""
    lines = [
        "| CPU | task | bundles for | golden inputs passed | largest | refused |",
        "|---|---|---|---:|---:|---:|",
    ]
    for one in found["cpus"]:
        for case in dict.fromkeys(cell["case"] for cell in one["cells"]):
            cells = [cell for cell in one["cells"] if cell["case"] == case]
            passed = [cell for cell in cells if not cell["exit_code"]]
            names = ", ".join(cell["target"] for cell in passed) or "none"
            golden = sum(cell["golden"] for cell in passed)
            largest = max((cell["difference"] / cell["tolerance"] for cell in passed), default=0.0)
            lines.append(
                f"| {one['cpu']} | {case} | {names} | {golden} of {golden} | {largest:.1%} | {len(cells) - len(passed)} |"
            )
    return lines


def page(every: dict[str, Any]) -> str:
    """The page of all lanes' documents."""
    parts = [HEAD]
    for name, found in every.items():
        golden = sum(cell["golden"] for one in found["cpus"] for cell in one["cells"] if not cell["exit_code"])
        cases = {cell["case"] for one in found["cpus"] for cell in one["cells"]}
        seconds = ", ".join(f"{step} {value:.0f} s" for step, value in found["seconds"].items() if step != "cpu")
        busy = f"; {found['seconds']['cpu']:.0f} s of CPU time" if "cpu" in found["seconds"] else ""
        versions = ", ".join(f"{tool} {version}" for tool, version in found["versions"].items())
        qemu = next(item["version"] for item in found["packages"] if item["package"] == "qemu-user")
        parts += [
            (f"\n## {name}\n\n{golden} golden inputs passed: {len(cases)} models on {len(found['cpus'])} CPUs. "
            f"Time on this machine, which others share: {seconds}{busy}. {versions}, qemu-user {qemu}.\n\n"),
            "\n".join(summary(found)),
            "\n\n| CPU | instructions of byte products met in the code that ran |\n|---|---|",
            *(f"\n| {one['cpu']} | {', '.join(f'{item} {count}' for item, count in one['instructions'].items())} |" for one in found["cpus"]),
            "\n",
        ]  # fmt: skip
        for one in found["cpus"]:
            parts += _saturation(one)
    return "".join(parts)


def _saturation(one: dict[str, Any]) -> list[str]:
    if "product" not in one:
        return []
    lines = [
        f"\nOne product of uint8 by int8 near the ends of their ranges on {one['cpu']}, against the exact sums:\n",
        "\n| stored as | sums | wrong | largest error |\n|---|---:|---:|---:|",
        *(
            f"\n| {name} | {item['sums']} | {item['wrong']} | {item['largest_error']:.0%} |"
            for name, item in one["product"].items()
        ),
        "\n",
    ]
    if "reason" not in one["classifier"]:
        lines += [
            "\nA classifier whose weights are near the ends of their range, on its golden inputs:\n",
            "\n| made for | golden inputs | wrong | worst difference, in tolerances |\n|---|---:|---:|---:|",
            *(
                f"\n| {name} | {item['golden']} | {item['wrong']} | {item['worst']:.2f} |"
                for name, item in one["classifier"].items()
            ),
            "\n",
        ]
    return lines


def record(found: dict[str, Any], folder: Path = FOLDER) -> None:
    """Put a lane's document into results.json beside the other's, and write the page again."""
    path = folder / "results.json"
    folder.mkdir(parents=True, exist_ok=True)
    every = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    every = dict(sorted({**every, found["lane"]: found}.items()))
    for target, text in ((path, json.dumps(every, indent=1) + "\n"), (folder / "README.md", page(every))):
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(target)
