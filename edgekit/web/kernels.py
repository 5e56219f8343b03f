"""Which kernels ONNX Runtime's WebAssembly runs of a graph, read off its own profile in Node or in Chromium."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import CheckFailed
from edgekit.host import CHROMIUM, NODE
from edgekit.runtime.children import finish, start
from edgekit.runtime.temporary import temporary_folder
from edgekit.web.chromium import browser, served
from edgekit.web.engines import engine_releases, find_node
from edgekit.web.vendor import fetch_vendor, releases, runner_folder

__all__ = ["Seen", "events_of", "run_in_engine"]

MINUTES = 5
SCRIPT = """
const [module, job, out] = process.argv.slice(1);
const { readFileSync, writeFileSync } = await import("node:fs");
const { ran } = await import(module);
writeFileSync(out, JSON.stringify(await ran(JSON.parse(readFileSync(job, "utf8")))));
process.exit(0);
"""


@dataclass(frozen=True)
class Seen:
    """What a run in an engine showed."""

    engine: str
    """What ran it, in words: onnxruntime-web 1.30.0 in Node 20.20.2."""
    events: list[dict[str, Any]]
    """One for each run of a kernel, as ONNX Runtime's profile has them."""
    outputs: list[list[float]]
    """The first output for each feed."""


def run_in_engine(model: Path, feeds: Sequence[Mapping[str, np.ndarray]], *, profile: bool = True) -> Seen:
    """Run the graph in file `model`, whose weights may lie beside it, on `feeds`, one after the other, with one thread.

    Raises:
        NotPossibleHere: neither engine is here, or npm does not give ONNX Runtime.
        CheckFailed: it does not load or run there.
    """
    vendor, engines = fetch_vendor(), engine_releases()
    engine = NODE if NODE in engines else CHROMIUM
    beside = [path for path in model.parent.iterdir() if path.name == f"{model.name}.data"]
    job = {"profile": profile, "feeds": [{name: _tensor(array) for name, array in feed.items()} for feed in feeds]}
    with temporary_folder("audit") as folder:
        text, outputs = (_in_node if engine == NODE else _in_chromium)(folder, vendor, model, beside, job)
    package = next(name for name in releases() if name.startswith("onnxruntime-web@")).replace("@", " ")
    return Seen(f"{package} in {engine} {engines.get(engine, '')}".strip(), events_of(text) if profile else [], outputs)


def _tensor(array: np.ndarray) -> dict[str, Any]:
    return {
        "type": str(array.dtype),
        "dims": list(array.shape),
        "data": array.astype(np.float64 if array.dtype.kind == "f" else np.int64).ravel().tolist(),
    }


def events_of(text: str) -> list[dict[str, Any]]:
    """Runs of kernels in a profile, which is printed as a list, a line an event, among whatever else is printed."""
    every: list[dict[str, Any]] = []
    for line in text.splitlines():
        if line.startswith('{"cat"'):
            with suppress(ValueError):  # a line that something else was printed into
                every.append(json.loads(line.strip().rstrip(",]")))
    found = [event for event in every if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    if not found:
        raise CheckFailed("ONNX Runtime's WebAssembly printed no profile", where="audit")
    return found


def _in_node(folder: Path, vendor: Path, model: Path, beside: list[Path], job: dict[str, Any]) -> tuple[str, list[list[float]]]:
    out, module = folder / "out.json", runner_folder() / "measuring" / "kernels.mjs"
    urls = {
        "vendor": f"{vendor.as_uri()}/",
        "model": model.resolve().as_uri(),
        "data": {path.name: path.resolve().as_uri() for path in beside},
    }
    (folder / "job.json").write_text(json.dumps({**job, **urls}), encoding="utf-8")
    command = [find_node(), "--input-type=module", "--eval", SCRIPT, module.as_uri(), str(folder / "job.json"), str(out)]
    with (folder / "printed").open("wb") as printed:  # not a pipe: what does not fit into one is lost
        ended = finish(start(command, stdout=printed.fileno(), stderr=subprocess.PIPE), seconds=60 * MINUTES)
    if ended.code != 0:
        raise CheckFailed(f"Node cannot run the graph: {ended.errors.decode('utf-8', 'replace').strip()[-600:]}", where="audit")
    return (folder / "printed").read_text(encoding="utf-8"), json.loads(out.read_text(encoding="utf-8"))


def _in_chromium(
    folder: Path, vendor: Path, model: Path, beside: list[Path], job: dict[str, Any]
) -> tuple[str, list[list[float]]]:
    (folder / "measuring").symlink_to(runner_folder() / "measuring")
    (folder / "vendor").symlink_to(vendor)
    for path in (model, *beside):
        (folder / path.name).symlink_to(path.resolve())
    (folder / "index.html").write_text("<!doctype html><title>audit</title>", encoding="utf-8")
    with served(folder) as url, browser() as running:
        tab = running.tab(url)
        told = {
            **job,
            "vendor": f"{url}vendor/",
            "model": f"{url}{model.name}",
            "data": {path.name: f"{url}{path.name}" for path in beside},
        }
        call = f"import('{url}measuring/kernels.mjs').then(({{ ran }}) => ran({json.dumps(told)}))"
        outputs: list[list[float]] = tab.run(call, seconds=60 * MINUTES)
        said = [event["params"]["args"] for event in running.events if event["method"] == "Runtime.consoleAPICalled"]
    return "\n".join(str(one[0].get("value", "")) for one in said if one), outputs
