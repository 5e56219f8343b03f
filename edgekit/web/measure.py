"""One fresh process of a benchmark in Chromium or in Node: `python -m edgekit.web.measure SPEC.json`, as edgekit/runtime/bench/measure.py.

The variant is laid out as a bundle of its own, loaded by runner.mjs as any page loads it, and timed by its `bench`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import CheckFailed, EdgekitError
from edgekit.host import CHROMIUM
from edgekit.runtime.bench.prompts import main_prompt, scenario_names
from edgekit.runtime.children import finish, start
from edgekit.runtime.chip import read_text
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.temporary import temporary_folder
from edgekit.web.chromium import Browser, browser, served
from edgekit.web.engines import find_node
from edgekit.web.layout import lay_out_variant
from edgekit.web.page import HEADERS
from edgekit.web.vendor import runner_folder, vendor_folder

__all__ = ["main", "measure"]

MOST_ITEMS = 2000
MINUTES = 4
IN_NODE = """
const [job, out] = process.argv.slice(1);
const { readFileSync, writeFileSync } = await import("node:fs");
const { runner, module, calls, ...asked } = JSON.parse(readFileSync(job, "utf8"));
const memory = () => process.resourceUsage().maxRSS * 1024 / 1e6;
const baseline = memory();
const cpu = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1000; };
const { begin } = await import(module);
const { phases, take } = await begin(runner, asked);
const found = [];
for (const call of calls) {
  const before = cpu();
  found.push({ ...(await take(call)), cpu_ms: cpu() - before });
}
writeFileSync(out, JSON.stringify({ phases, found, memory: { baseline_mb: baseline, peak_mb: memory() } }));
process.exit(0);
"""


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """What `spec` asks for, with the keys of `edgekit.runtime.bench.measure.measure`'s document; times in milliseconds, memory in MB.

    Keys of `spec`: as there, and `engine` (Chromium or Node), and `facts`, see `lay_out_variant`. Memory is that of the process that computes: the
    page's renderer, or Node.

    Raises:
        CheckFailed: it does not answer, or fails.
        NotPossibleHere: the engine is not here.
    """
    with Path(spec["items"]).open(encoding="utf-8") as file:
        items = [json.loads(line) for line in file][:MOST_ITEMS]
    numbers = {name: spec[name] for name in ("seconds", "min_runs", "max_warmup_seconds", "seed")}
    language = bool(spec.get("generation"))
    calls = (
        [{**numbers, "prompts": [length]} for length in spec["prompts"]]
        if language
        else [{**numbers, "scenarios": [str(name)]} for name in spec["scenarios"]]
    )
    with temporary_folder("bench") as folder:
        lay_out_variant(spec, folder / "bundle")
        job = {"threads": spec["threads"], "items": items}
        found = (_in_chromium if spec["engine"] == CHROMIUM else _in_node)(folder, job, calls)
    moved = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - time.time_ns()
    taken = {
        name: {**times, "cpu_ms": one["cpu_ms"] / times["runs"]}
        for one in found["found"]
        for name, times in one["scenarios"].items()
    }
    if language:
        main = scenario_names(main_prompt(spec["prompts"]))[1]
        taken = {"real": taken[main], **taken}
    return {
        "phases": found["phases"]
        | {name: float(np.median([one[name] for one in found["found"]])) for name in ("tokenise_ms", "postprocess_ms")},
        "memory": found["memory"],
        "samples": {name: times["samples"] for name, times in taken.items()},
        "cpu_ms": {name: times["cpu_ms"] for name, times in taken.items()},
        "windows": {
            name: (int(times["began"] * 1e6) + moved, int(times["ended"] * 1e6) + moved, times["runs"])
            for name, times in taken.items()
        },
        "traffic": None,
        "providers": [CPU],
    }


def _in_node(folder: Path, job: dict[str, Any], calls: list[dict[str, Any]]) -> dict[str, Any]:
    runner, out = runner_folder(), folder / "out.json"
    command = [find_node(), "--input-type=module", "--eval", IN_NODE, str(folder / "job.json"), str(out)]
    job = {
        **job, "calls": calls, "runner": f"{runner.as_uri()}/", "module": (runner / "measuring" / "process.mjs").as_uri(),
        "vendor": f"{vendor_folder().as_uri()}/", "bundle": f"{(folder / 'bundle').as_uri()}/", "spawned": time.time() * 1000,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    ended = finish(start(command, stderr=subprocess.PIPE), seconds=60 * MINUTES)
    if ended.code != 0 or not out.is_file():
        raise CheckFailed(
            f"Node ends with {ended.code}: {ended.errors.decode('utf-8', 'replace').strip()[-1000:]}", where="bench"
        )
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def _in_chromium(folder: Path, job: dict[str, Any], calls: list[dict[str, Any]]) -> dict[str, Any]:
    (folder / "runner").symlink_to(runner_folder())
    (folder / "vendor").symlink_to(vendor_folder())
    (folder / "index.html").write_text("<!doctype html><title>bench</title>", encoding="utf-8")
    with served(folder, HEADERS) as url:
        spawned = time.time() * 1000
        with browser() as running:
            tab = running.tab(url)
            baseline = _peak_mb(running)
            job = {**job, "bundle": f"{url}bundle/", "vendor": f"{url}vendor/", "spawned": spawned}
            begin = (
                f"import('{url}runner/measuring/process.mjs').then(({{ begin }}) => begin('{url}runner/', {json.dumps(job)}))"
            )
            phases = tab.run(
                f"{begin}.then((begun) => {{ globalThis.begun = begun; return begun.phases; }})", seconds=60 * MINUTES
            )
            found = []
            for call in calls:
                before = _cpu_ms(running)
                taken = tab.run(f"begun.take({json.dumps(call)})", seconds=60 * MINUTES)
                found.append({**taken, "cpu_ms": _cpu_ms(running) - before})
            return {"phases": phases, "found": found, "memory": {"baseline_mb": baseline, "peak_mb": _peak_mb(running)}}


def _renderers(running: Browser) -> list[Path]:
    """Folders below /proc of the processes that pages compute in: one page's, and what Chromium starts ahead of the next one."""
    processes = running.send("SystemInfo.getProcessInfo")["processInfo"]
    return [Path("/proc") / str(process["id"]) for process in processes if process["type"] == "renderer"]


def _peak_mb(running: Browser) -> float:
    """The most memory that a page's process ever held (VmHWM)."""
    lines = [line for folder in _renderers(running) for line in read_text(folder / "status").splitlines()]
    return max((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), default=0.0)


def _cpu_ms(running: Browser) -> float:
    """What pages' processes computed so far, in all their threads: to the kernel's tick of 10 ms."""
    ticks = 0
    for folder in _renderers(running):
        words = read_text(folder / "stat").rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12]) if len(words) > 12 else 0
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def main(arguments: list[str]) -> int:
    """Measure what the file named in `arguments` specifies; a fault of edgekit's own kind gives its text and exit code."""
    try:
        document = measure(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    except EdgekitError as fault:
        print(fault.text(), file=sys.stderr)
        return fault.exit_code
    print(json.dumps(document), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
