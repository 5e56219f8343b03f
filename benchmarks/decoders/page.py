"""README.md of this folder, from results.json and rows.json."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.commands import command_today
from benchmarks.decoders.subject import FILLED, HERE, PROFILED
from benchmarks.pages import row

__all__ = ["of_rows", "page", "section"]

ROWS = HERE / "rows.json"


def page(document: dict[str, Any]) -> str:
    """README.md from the results."""
    tools = ", ".join(f"{name} {version}" for name, version in document["tools"].items())
    head = f"""# A decoder of half a billion parameters, beside its peers

Shapes of Qwen2.5-0.5B, random weights, {document["threads"]} threads of an {document["chip"]}; a prompt of {document["prompt"]} tokens,
then {document["tokens"]} tokens one by one; {document["rounds"]} rounds, each variant in its own process, asked in turn. Medians with 95%
intervals over rounds. Memory was read at {document["read_gb_per_s"]:.0f} GB/s in the best of as many readings between the rounds (dot
products of arrays far beyond the caches; the worst was {min(document["read_gb_per_s_all"]):.0f}, so the machine was not quiet); the share is
that of the weights' bytes at each token. "INT4" is edgekit's with blocks of 32. Tools: {tools}.
[The numbers](results.json). Regenerate with

    {command_today(document["command"])}

| variant | weights | time per token | share of bandwidth | INT4 is faster by | prompt tokens/s | INT4 reads faster by |
|---|---:|---:|---:|---:|---:|---:|
"""
    table = "".join(f"{row(_cells(variant))}\n" for variant in document["variants"])
    parts = [*(section(document) if document.get("where") else []), *(of_rows(json.loads(ROWS.read_text(encoding="utf-8"))))]
    return head + table + "\n".join(["", *parts, ""])


def _cells(row: dict[str, Any]) -> list[str]:
    low, high = row["token_ms_ci95"]
    slow, fast = row["int4_is_faster_by_ci95"]
    less, more = row["int4_reads_faster_by_ci95"]
    return [
        row["name"],
        f"{row['weights_mb']:.0f} MB",
        f"{row['token_ms']:.1f} ms ({low:.1f} to {high:.1f})",
        f"{row['bandwidth_share']:.0%}",
        f"{row['int4_is_faster_by']:.2f}x ({slow:.2f} to {fast:.2f})",
        f"{row['prompt_tokens_per_s']:.0f}",
        f"{row['int4_reads_faster_by']:.2f}x ({less:.2f} to {more:.2f})",
    ]


def section(document: dict[str, Any]) -> list[str]:
    """The page's part: a table a bundle, and what they say."""
    found, read = document["where"], document["read_gb_per_s"]
    alone, both = (
        sum(row["bytes"] for row in rows.values()) / sum(row["ms"] for row in rows.values() if row["bytes"]) / 1e6
        for rows in (found[f"edgekit INT4, blocks of 32, {threads}"] for threads in ("1 thread", "2 threads"))
    )
    lines = [
        "## Where the time of a token goes", "",
        f"Kernels of a profiled session over a cache of {FILLED} tokens, medians over {PROFILED} tokens; percent of the {read:.0f} GB/s at which two",
        f"threads read memory. One thread's INT4 products read {alone:.0f} GB/s, two threads' {both:.0f}: "
        + ("they nearly double with the cores, so unpacking" if both > 1.5 * alone else "memory holds them back more than unpacking"),
        *(["and multiplying is what takes the time and not the memory, on a machine whose neighbours leave the memory free. More threads, or a"]
          if both > 1.5 * alone else ["does. A"]),
        "kernel that does more a clock tick on blocks of 32 (the vocabulary's product, which is large, does better), would change it; less to read",
        "would not. Attention's share grows with what is in the cache.", "",
    ]  # fmt: skip
    for name, rows in found.items():
        total = sum(kernel["ms"] for kernel in rows.values())
        lines += [f"### {name}", "", "| kernels | nodes | ms a token | share | reads weights at |", "|---|---:|---:|---:|---:|"]
        small = [kernel for kernel in rows.values() if kernel["ms"] < 0.01 * total]
        for kind, kernel in sorted(rows.items(), key=lambda item: -item[1]["ms"]):
            if kernel not in small:
                speed = kernel["bytes"] / kernel["ms"] / 1e6
                rate = f"{speed:.0f} GB/s ({speed / read:.0%})" if kernel["bytes"] else ""
                lines.append(f"| {kind} | {kernel['nodes']} | {kernel['ms']:.2f} | {kernel['ms'] / total:.0%} | {rate} |")
        rest = sum(kernel["ms"] for kernel in small)
        lines += [f"| all others | {sum(kernel['nodes'] for kernel in small)} | {rest:.2f} | {rest / total:.0%} | |", ""]
    return lines


def of_rows(document: dict[str, Any]) -> list[str]:
    """The page's part on prompts: what a product costs by its rows, and what that says of blocks."""
    rows, work = document["rows"], document["inside"] * document["outside"] * 2e-6
    speeds = {one["name"]: {row: work * row / one["ms"][str(row)] for row in rows} for one in document["kernels"]}
    most = rows[-1]
    small, large, exact, whole = (
        speeds[f"{bits} bits, blocks of {block}, accuracy_level {level}"][most]
        for bits, block, level in ((4, 32, 4), (4, 128, 4), (4, 32, 0), (8, 32, 4))
    )
    column = next(by_row[most] for name, by_row in speeds.items() if "by column" in name)
    return [
        "## Where the time of a prompt goes", "",
        f"One product of {document['inside']} x {document['outside']}, as its MLP has, over so many rows at once; GFLOP/s of one thread of an",
        f"{document['chip']}, medians of {document['rounds']} rounds in which all are asked in turn (onnxruntime",
        f"{document['tools']['onnxruntime']}). [The numbers](rows.json); regenerate with",
        f"`{document['command']}`.", "",
        row(["weights", *(f"{count} rows" if count > 1 else "1 row" for count in rows)]),
        f"|---|{'---:|' * len(rows)}",
        *(row([name, *(f"{by_row[count]:.0f}" for count in rows)]) for name, by_row in speeds.items()), "",
        f"- A prompt is slow where blocks are small: over {most} rows the integer kernel makes {small:.0f} GFLOP/s with blocks of 32 and {large:.0f}",
        f"  with blocks of 128 ({large / small:.2f} times as many), where one scale a column leaves {column:.0f}. Unpacking is not what takes",
        f"  the time, as 8 bits, which need none, make {whole:.0f} with blocks of 32; nor are too few rows at once: from 128 on more change little.",
        f"- Unpacking to float32 once for many rows, which `accuracy_level = 0` does, is {'no way out' if exact < small else 'faster'}:",
        f"  {exact:.0f} GFLOP/s, as the float32 product itself makes {speeds['float32'][most]:.0f}.",
        "- With `accuracy_level = 0` and 8 bits one row is read at a tenth of the speed or less: this kernel has no path for single",
        "  tokens, and edgekit's targets for CPUs set 4.",
        "- So the block is what there is to choose, and what each costs in perplexity is [measured](../language_quality/README.md).",
    ]  # fmt: skip
