"""README.md from results.json: the tables, and in words what they show, worked out from the numbers."""

from __future__ import annotations

from typing import Any

from benchmarks.commands import command_today

OURS, EAGER = "edgekit", "PyTorch eager"
COMPILED = ("torch.compile, reduce-overhead", "torch.compile, max-autotune")
INT4, HALF = "edgekit INT4, blocks of 32", "edgekit float16"
INT8 = "-tensorrt"
ON_GPU = ", logits left on the GPU"
STATIC = "torch.compile, reduce-overhead, static cache"


def page(document: dict[str, Any]) -> str:
    """The whole page."""
    return (
        "\n".join(
            [
                *_head(document),
                *_checks(document),
                *_encoders(document),
                *_decoder(document),
                *_tensorrt(document),
                *_distilled(document),
                *_not_run(document),
                *_carry(),
            ]
        )
        + "\n"
    )


def _head(document: dict[str, Any]) -> list[str]:
    machine = document["machine"]
    ceilings, tools = machine["ceilings"], ", ".join(f"{name} {version}" for name, version in machine["tools"].items())
    return [
        "# Target `cuda` on an NVIDIA GPU", "",
        (f"{machine['gpu']}, driver {machine['state']['driver_version']}, CUDA {machine['cuda']}, cuDNN {machine['cudnn']}; {tools}. "
        f"On this card a large copy moves {ceilings['copy_gb_per_s']:,.0f} GB/s, bytes read and written counted (the data sheet says 4,800), and "
        f"a large float16 product of random numbers runs at {ceilings['matmul_tflop_per_s']:,.0f} TFLOP/s. [The numbers](results.json)."), "",
        ("Every variant is given token ids in the machine's memory and gives its output there, so copies and synchronisation are part of "
        "every time. All variants of a shape are timed in turn in one process; medians over rounds. PyTorch runs the bundle's architecture in "
        "float16 with random weights. Regenerate with `make test-cuda`, which runs"), "",
        f"    {command_today(document['command'])}", "",
        *[f"- {note}" for note in document.get("notes", [])], "",
    ]  # fmt: skip


def _checks(document: dict[str, Any]) -> list[str]:
    lines = [
        "## Bundles checked on the GPU", "",
        "Golden inputs were made on a CPU. Quality is that of the test rows, one by one, on the GPU and on the CPU where the bundle was made.", "",
        "| bundle | golden inputs | largest rms difference (allowed) | metric | on the GPU | where made | rows |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for name, check in sorted(document["checks"].items()):
        made = check["quality_where_made"]
        lines.append(
            f"| {name} | {check['golden']} | {check['difference']:.2g} ({check['tolerance']:.2g}) | {made['metric']} | {check['quality']:.4f} | "
            f"{made['bundle']:.4f} | {check['rows']:,} |"
        )
    return [*lines, ""]


def _encoders(document: dict[str, Any]) -> list[str]:
    matrix = document["machine"]["ceilings"]["matmul_tflop_per_s"]
    copied = document["machine"]["ceilings"]["copy_gb_per_s"]
    measured = {name: cells for name, cells in document["encoders"].items() if not name.endswith(INT8)}
    alone = [cell for cells in measured.values() for cell in cells if cell["batch"] == 1]
    eager = min(cell["variants"][EAGER]["times_ours"] for cell in alone)
    best = min(_best(cell) for cell in alone)
    slower = [
        cell for cells in measured.values() for cell in cells if min(_best(cell), cell["variants"][EAGER]["times_ours"]) < 0.99
    ]
    total = sum(len(cells) for cells in measured.values())
    lines = [
        "## Encoders", "",
        (f"At batch 1 PyTorch eager takes at least {eager:.1f} times as long as edgekit, and the better of the compiled forms at least {best:.2f} "
        f"times: a recording launches all kernels at once. In {len(slower)} of {total} shapes, the larger ones, a form of PyTorch is the faster "
        "one; why was not profiled. Sequence 512 is beyond the bundles' own limit of 128 tokens: the table of positions was filled up for "
        "it, for times alone."), "",
        ("The last column is edgekit's share of the card: of its matrix rate, and of its bandwidth if each weight is read once a run. "
        "Memory is what the session took from the card (for PyTorch, its own count of the most it held)."), "",
    ]  # fmt: skip
    for name, cells in sorted(measured.items()):
        lines += [
            f"### {name}", "",
            ("| batch x tokens | edgekit ms (95%) | texts/s | eager takes | compiled takes | MB, edgekit / eager / compiled "
            "| of the matrix rate, of bandwidth |"),
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]  # fmt: skip
        for cell in sorted(cells, key=lambda one: (one["sequence"], one["batch"])):
            ours, other = cell["variants"][OURS], cell["variants"][EAGER]
            compiled = [cell["variants"][kind] for kind in COMPILED if kind in cell["variants"]]
            quick = min(compiled, key=lambda one: one["ms"])
            low, high = ours["ms_ci95"]
            lines.append(
                f"| {cell['batch']} x {cell['sequence']} | {ours['ms']:.3f} ({low:.3f} to {high:.3f}) | {ours['texts_per_s']:,.0f} | "
                f"{_times(other)} | {_times(quick)} | {ours['memory_mb']:,.0f} / {other['memory_mb']:,.0f} / {quick['memory_mb']:,.0f} | "
                f"{ours['tflop_per_s'] / matrix:.1%}, {ours['weights_gb_per_s'] / copied:.1%} |"
            )
        lines.append("")
    return lines


def _decoder(document: dict[str, Any]) -> list[str]:
    copied = document["machine"]["ceilings"]["copy_gb_per_s"]
    lines = ["## A decoder of half a billion parameters", ""]
    for cell in document["decoder"]["cells"]:
        variants, near = cell["variants"], cell["agreement"]
        ratio = variants[STATIC]["ms"] / variants[HALF]["ms"]
        lines += [
            (f"Batch {cell['batch']}, after a prompt of {cell['prompt']} tokens. `torch.compile` with a static cache takes {ratio:.2f} times as long "
            f"as edgekit's float16 graph of the same weights, whose logits are {near[HALF]['difference']:.2%} of their spread from "
            f"PyTorch eager's (compiled: {near[STATIC]['difference']:.2%}); recorded steps and "
                f"plain ones differ by {near['recorded and not']['difference']:.2%}. "
            "Weights are random, so INT4's logits say nothing about quality."), "",
            "| variant | ms a step (95%) | tokens/s | weights read a step | share of bandwidth | prompt ms | MB |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]  # fmt: skip
        for name in sorted(variants, key=lambda one: variants[one]["ms"]):
            one = variants[name]
            low, high = one["ms_ci95"]
            lines.append(
                f"| {name} | {one['ms']:.2f} ({low:.2f} to {high:.2f}) | {one['tokens_per_s']:,.0f} | {one['bytes_per_token_mb']:,.0f} MB | "
                f"{one['gb_per_s'] / copied:.0%} | {one['prompt_ms']:.1f} | {one['memory_mb']:,.0f} |"
            )
        lines.append("")
    return [
        *lines,
        ("No variant comes near the card's bandwidth: a step is some 270 small kernels, one after the other. INT4 reads a third of the bytes "
        "and gains little by it, and at batch 8 it is slower than float16. Prompts are read row by row, where PyTorch reads all rows at once. "
        "PyTorch's times at small shapes are those of its host code and move with the processor: "
        + "; ".join(_earlier(one) for one in document["decoder"].get("earlier", [])) + "."), "",
    ]  # fmt: skip


def _earlier(run: dict[str, Any]) -> str:
    batch, compiled, ours = run["batch"], run["ms"][STATIC], run["ms"][HALF]
    return f"in an earlier run at batch {batch} the compiled decoder took {compiled:.2f} ms a step, edgekit's float16 graph {ours:.2f}"


def _tensorrt(document: dict[str, Any]) -> list[str]:
    """Latency of the INT8 bundle beside PyTorch's; nothing where it was not measured."""
    found = {name: cells for name, cells in document["encoders"].items() if name.endswith(INT8)}
    lines = ["## Target `tensorrt`", ""] if found else []
    for name, cells in sorted(found.items()):
        lines += [
            f"### {name}",
            "",
            "| batch x tokens | edgekit ms (95%) | texts/s | eager takes |",
            "| --- | --- | --- | --- |",
        ]
        for cell in sorted(cells, key=lambda one: (one["sequence"], one["batch"])):
            ours = cell["variants"][OURS]
            low, high = ours["ms_ci95"]
            lines.append(
                f"| {cell['batch']} x {cell['sequence']} | {ours['ms']:.3f} ({low:.3f} to {high:.3f}) | {ours['texts_per_s']:,.0f} | "
                f"{_times(cell['variants'][EAGER])} |"
            )
        lines.append("")
    return lines


def _distilled(document: dict[str, Any]) -> list[str]:
    """One process against two; nothing where it was not measured."""
    found = document.get("distill")
    if found is None:
        return []
    low, high = found["difference"]["ci95"]
    lines = [
        "## Distillation through `accelerate launch`", "",
        (f"{found['recipe']}: the student of two processes differs from that of one by {found['difference']['difference']:+.4f} in "
        f"{found['metric']} on {found['rows']:,} test rows (paired 95% interval {low:+.4f} to {high:+.4f})."), "",
        "| processes | batch | rows/s | of one process at this batch | test |", "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    alone = {one["batch"]: one["rows_per_s"] for one in found["runs"] if one["processes"] == 1}
    lines += [
        f"| {one['processes']} | {one['batch']} | {one['rows_per_s']:,.0f} | {one['rows_per_s'] / alone[one['batch']]:.2f}x | {one['test']:.4f} |"
        for one in found["runs"]
    ]
    return [*lines, ""]


def _not_run(document: dict[str, Any]) -> list[str]:
    """What this machine could not do, and what has been on no machine yet."""
    missing = []
    if not any(name.endswith(INT8) for name in document["checks"]):
        missing.append(
            "- Target `tensorrt`: not run; TensorRT's libraries were not on this machine. Its files are held against what TensorRT's "
            "documentation asks for, and scored with the CPU's kernels."
        )
    if "distill" not in document:
        missing.append(
            "- Distillation through `accelerate launch` on two GPUs: not run; there was one. On two CPU processes the student is that of "
            "one to within float rounding (tests/train/test_spread.py)."
        )
    if not document.get("pipeline"):
        missing.append(
            "- `edgekit export reference-lm --target cuda`: its bundle has not been on a GPU. reference-lm and stories260k above were "
            "converted from CPU bundles by the float16 conversion that the pipeline uses now."
        )
    return ["## Not run", "", *missing, ""] if missing else []


def _carry() -> list[str]:
    return [
        "## A GPU without a package registry", "",
        "`make test-cuda` installs what it needs; where nothing can be installed, carry it and call the script by itself:", "",
        "```",
        "# where there is a registry: the bundles, and the wheel (255 MB, for CUDA 13) in pieces",
        "python -m benchmarks.cuda.lane prepare",
        "pip download onnxruntime-gpu==1.31.1 --no-deps --dest wheel",
        "cd wheel && sha256sum *.whl > sums && split --bytes=48M *.whl piece.",
        "# on the machine with the GPU: the checkout with build/cuda in it; in its folder wheel the pieces and sums",
        "cd wheel && cat piece.* > \"$(cut --fields=3 --delimiter=' ' sums)\" && sha256sum --check sums",
        "python -m zipfile --extract *.whl gpu && cd ..",
        "PYTHONPATH=wheel/gpu python -m benchmarks.cuda.lane all",
        "```", "",
        ("The wheel is of the Python that runs there (`pip download --python-version 3.12 --only-binary :all:` for another). "
        "It is put first on the path, not installed beside onnxruntime: both are the module `onnxruntime`. CUDA's and cuDNN's "
        "libraries are found where PyTorch brought them. Rehearse on a CPU first: `make test-cuda FLAGS=--dry-run` ends with 0, and without "
        "the flag the script says what is missing and ends with 3."),
    ]  # fmt: skip


def _best(cell: dict[str, Any]) -> float:
    return min(float(cell["variants"][kind]["times_ours"]) for kind in COMPILED if kind in cell["variants"])


def _times(variant: dict[str, Any]) -> str:
    low, high = variant["times_ours_ci95"]
    return f"{variant['times_ours']:.2f}x ({low:.2f} to {high:.2f})"
