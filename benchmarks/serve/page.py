"""README.md of this folder, made of its results.

python -m benchmarks.serve.page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.commands import command_today

__all__ = ["CLIENTS", "HERE", "NEW_TOKENS", "PAUSE", "STEP", "page", "write_page"]

HERE = Path(__file__).resolve().parent
STEP = 1.25
"""From one rate of the load test to the next."""
PAUSE = 0.05
"""Seconds before each request to an idle server."""
CLIENTS = 96
"""At saturation: more than wait in the queue, so that some are refused."""
NEW_TOKENS = 16
"""Of a language model's answer."""
ABOUT = (
    "`edgekit` is `edgekit serve` (uvicorn), `runner.pyz` the runner's own server. Idle: the median latency of single requests with "
    f"the golden input of median length, {PAUSE * 1000:.0f} ms apart, and their p99. Held: the highest rate of Poisson arrivals of that "
    f"request, rising by {STEP - 1:.0%} a step, whose p99 stays under twice the idle p99 (or, harder, under twice the idle median), counted "
    "from when each request was meant to be sent. "
    f"Saturation: {CLIENTS} clients that ask all golden inputs in turn and again at once; who is refused (503) waits as told. Nothing "
    "lost: every request was answered 200 or 503, and both sides count the same. Language models answer with "
    f"{NEW_TOKENS} tokens. [The numbers](results.json). Regenerate with"
)
PINNED = (
    "Bundles of the shapes of the recipes, trained for a moment only, which changes no time; at real-time priority (`chrt -r 1`), since others "
    "worked on the same two cores."
)
SOAK = (
    "sound requests, whose answers are compared with those that they got alone, amid slow, silent, deaf, half-closed and killed clients, bad "
    "requests and floods of connections."
)
TOGETHER = (
    "Tokens a second are those of all streams, medians with the least and the most of a round; between two tokens of a stream, as its client sees "
    "them, the median and the 99th percentile."
)
WAITING = (
    "Why the servers join no requests to encoders, second. Static INT8 would allow it where texts are of one length, as padding changes the sums. Of "
    "test rows that wait together, the share that finds as many of its length as a run holds, {size} in all; what a run of them gains is in "
    "[many](../many/README.md). [The numbers](waiting.json). Regenerate with"
)
BATCHING = (
    "Why the servers join no requests to encoders, first: texts of one length, whose outputs in a batch differ in any bit from those alone. With "
    "dynamic INT8 all do, "
    "with fp32 it depends on the model; with static INT8 none did. Times beside other work on the same cores; what joining texts gains is "
    "measured in [many](../many/README.md)."
)


def write_page() -> None:
    """Write it."""
    (HERE / "README.md").write_text(page(), encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    """A result."""
    document: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return document


def page() -> str:
    """README.md of this folder's results."""
    document = read("results")
    busy = max(cell["load_before"] for cell in document["cells"])
    lines = [
        "# What the servers hold",
        "",
        f"{document['machine']['chip']}, {document['machine']['cores']} cores, shared by client and server; load before at most {busy:.1f}.",
        ABOUT,
        "",
        f"    {command_today(document['command'])}",
        "",
        (
            "| bundle | server | model alone | idle median, p99 | held under 2x idle p99 | under 2x idle median | at saturation | refused "
            "| nothing lost | memory, start to end |"
        ),
        "|---|---|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for cell in document["cells"]:
        full = cell["saturation"]
        held, harder = (
            "none" if rate is None else f"{rate:.0f}/s" for rate in (cell["held_per_second"], cell["held_per_second_median"])
        )
        lines.append(
            f"| {cell['bundle']} | {cell['server']} | {cell['model_alone_p50_ms']:.2f} ms "
            f"| {cell['idle']['p50_ms']:.2f}, {cell['idle']['p99_ms']:.2f} ms "
            f"| {held} | {harder} | {full['answered_per_second']:.0f}/s "
            f"| {full['statuses'].get('503', 0):,} of {sum(full['statuses'].values()):,} | {'yes' if full['nothing_lost'] else '**no**'} "
            f"| {full['memory_mb']['start']:.0f} to {full['memory_mb']['end']:.0f} MB |"
        )
    return (
        "\n".join(
            [
                *lines,
                *pinned_section(),
                *soak_section(),
                *threads_section(),
                *together_section(),
                *batching_section(),
                *waiting_section(),
            ]
        )
        + "\n"
    )


def pinned_section() -> list[str]:
    """What pinned.json says."""
    document = read("pinned")
    rates = [one["per_second"] for one in document["cells"][0]["rates"]]
    lines = [
        "",
        "## Server and clients on a core of their own",
        "",
        f"{PINNED} [The numbers](pinned.json). Regenerate with",
        "",
        f"    {command_today(document['command'])}",
        "",
        f"| bundle | server | load before | idle median | {' | '.join(f'p99 at {rate:.0f}/s' for rate in rates)} | at saturation |",
        f"|---|---|---:|---:|{'---:|' * (len(rates) + 1)}",
    ]
    for cell in document["cells"]:
        found = " | ".join(f"{one['p99_ms']:.2f} ms" for one in cell["rates"])
        lines.append(
            f"| {cell['bundle']} | {cell['server']} | {cell['load_before']:.1f} | {cell['idle']['p50_ms']:.2f} ms | {found} "
            f"| {cell['saturation']['answered_per_second']:.0f}/s |"
        )
    return lines


def soak_section() -> list[str]:
    """What soak.json says."""
    document = read("soak")
    length = f"{document['minutes']:g} minutes" + (
        f", not the {document['minutes_wanted']} of a whole soak, beside other work on the same cores"
        if document["minutes"] < document["minutes_wanted"]
        else ""
    )
    lines = [
        "",
        "## A soak",
        "",
        f"All at once for {length}: {SOAK} {document.get('note', '')}".rstrip() + " [The numbers](soak.json). Regenerate with",
        "",
        f"    {command_today(document['command'])}",
        "",
        "| bundle | server | sound requests | done to it | wrong | lost | memory, start to end | tracebacks |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in document["cells"]:
        lines.append(
            f"| {cell['bundle']} | {cell['server']} | {sum(cell['sound'].values()):,} | {sum(cell['faults'].values()):,} | {cell['wrong']} "
            f"| {cell['lost']} | {cell['memory_mb']['start']:.0f} to {cell['memory_mb']['end']:.0f} MB | {cell['tracebacks']} |"
        )
    return lines


def threads_section() -> list[str]:
    """What threads.json says."""
    document = read("threads")
    turn, tasks = document["switch_interval_s"] * 1e6, len(document["tasks"])
    differ = f"{document['differences']} answers other than those of one thread. [The numbers](threads.json). Regenerate with"
    return [
        "",
        "## One model, many threads",
        "",
        f"{document['calls']:,} calls by {document['threads']} threads that take turns every {turn:.0f} microseconds, {tasks} tasks: {differ}",
        "",
        f"    {command_today(document['command'])}",
    ]


def together_section() -> list[str]:
    """What together.json says."""
    document = read("together")
    processor = document["processor"]
    lines = [
        "",
        "## Several people at once",
        "",
        (
            f"{document['streams']} streams of {document['tokens']} likeliest tokens of one language model, asked at once, beside one alone in "
            f"turn, {document['rounds']} rounds with {document['threads']} threads; scheduled: {document['scheduling']}. {TOGETHER} "
            "[The numbers](together.json). Regenerate with"
        ),
        "",
        f"    {command_today(document['command'])}",
        "",
        "| bundle | server | how | load before, after | one, tokens/s | all, tokens/s | faster by | one: median, p99 | all: median, p99 | p99 by |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cell in document["cells"]:
        one, all_of_them = (
            f"{part['tokens_per_s']['median']:.0f} ({part['tokens_per_s']['least']:.0f} to {part['tokens_per_s']['most']:.0f})"
            for part in (cell["alone"], cell["all"])
        )
        gaps = [f"{part['p50_ms']:.1f}, {part['p99_ms']:.1f} ms" for part in (cell["alone"], cell["all"])]
        lines.append(
            f"| {cell['bundle']} | {cell['server']} | {cell['kind']} | {cell['load'][0]:.1f}, {cell['load'][1]:.1f} | {one} | {all_of_them} "
            f"| {cell['faster_by']:.2f}x | {gaps[0]} | {gaps[1]} | {cell['p99_by']:.1f}x |"
        )
    alone, crowd = processor["alone"], processor["all"]
    return [
        *lines,
        "",
        (
            f"Without a server, by the processor's time of the one thread that does all of it, which other work changes little: a token alone "
            f"{alone['p50_ms']:.2f} ms (p99 {alone['p99_ms']:.2f}), one of each of the {document['streams']} {crowd['p50_ms']:.2f} ms (p99 "
            f"{crowd['p99_ms']:.2f}): {processor['faster_by']:.2f} times as many tokens, with a p99 of {processor['p99_by']:.2f} times that alone."
        ),
    ]


def batching_section() -> list[str]:
    """What batching.json says."""
    document = read("batching")
    lines = [
        "",
        "## Texts run together",
        "",
        f"{BATCHING} [The numbers](batching.json). Regenerate with",
        "",
        f"    {command_today(document['command'])}",
        "",
        "| result | graph | texts | that differ | by at most | alone | in a batch |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for cell in document["cells"]:
        lines.append(
            f"| {cell['result']} | {cell['graph']} | {cell['rows']} | {cell['rows_that_differ']} | {cell['largest_difference']:.2g} "
            f"| {cell['alone_ms']:.1f} ms | {cell['in_a_batch_ms']:.1f} ms |"
        )
    return lines


def waiting_section() -> list[str]:
    """What waiting.json says."""
    document = read("waiting")
    counts = [one["waiting"] for one in document["cells"][0]["shares"]]
    return [
        "",
        WAITING.format(size=document["size"]),
        "",
        f"    {command_today(document['command'])}",
        "",
        f"| bundle | {' | '.join(f'{count} wait' for count in counts)} |",
        f"|---|{'---:|' * len(counts)}",
        *(
            f"| {cell['bundle']} | {' | '.join(format(one['share'], '.0%') for one in cell['shares'])} |"
            for cell in document["cells"]
        ),
    ]


if __name__ == "__main__":
    write_page()
