"""`python -m lanes.web`: a small bundle of every task, verified and compared with Python in Node and in Chromium, with and without threads.

Exit codes: 0 all as it should be, 1 something is not, 2 bad usage, 3 not possible on this machine (it says why), 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.errors import CheckFailed, EdgekitError, NotPossibleHere
from edgekit.progress import Show, err
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.children import finish, start
from edgekit.web.chromium import browser, find_chromium, served
from edgekit.web.engines import find_node
from edgekit.web.page import HEADERS
from edgekit.web.vendor import MODULES, fetch_vendor, runner_folder, vendored_files
from lanes.bundles import CASES, OTHER_TASKS, make_bundles
from lanes.web.chat import TALKS, answers_of, chat_faults, with_template
from lanes.web.compared import Here, faults_of, here, jobs_of
from lanes.web.other_tokenizers import CASE, MAKERS, with_tokenizer
from lanes.web.page import page_faults
from lanes.web.texts import COUNT
from lanes.web.transformers_js import fetch_package, golden_faults
from lanes.web.webgpu import webgpu_faults

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parents[1] / "benchmarks" / "lanes" / "web.json"
TARGET = "web-wasm"
CHAT = "text-generation"
"""The language model that gets a chat template; the other one goes on with texts alone."""
MINUTES = 10


def main(arguments: list[str] | None = None) -> int:
    """Run the lane and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lanes.web", description="Compare bundles in Node and Chromium with Python.", epilog=__doc__
    )
    parser.add_argument("--build", type=Path, default=Path("build"), help="where edgekit builds")
    parser.add_argument("--count", type=int, default=COUNT, help="texts a task")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name} in benchmarks/lanes")
    asked = parser.parse_args(arguments)
    begun = time.monotonic()

    def say(text: str) -> None:
        err.print(f"  {time.monotonic() - begun:5.0f} s  {text}", soft_wrap=True, markup=False)

    try:
        found = _lane(asked.build / "lanes", asked.count, say)
    except EdgekitError as fault:
        print(f"lane web: {fault.text()}", file=sys.stderr)
        return fault.exit_code
    except KeyboardInterrupt:
        print("lane web: interrupted", file=sys.stderr)
        return 130
    found["seconds"] = round(time.monotonic() - begun, 1)
    if asked.record:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for cell in found["cells"]:
        print(
            f"{cell['case']}, {cell['where']}: {cell['texts']:,} texts as in Python, {cell['golden']} golden inputs; outputs differ by"
            f" {cell['difference'] / cell['tolerance']:.1%} of what is allowed"
        )
    print(f"lane web: all as it should be, in {found['seconds']:.0f} s")
    return 0


def _lane(build: Path, count: int, say: Callable[[str], None]) -> dict[str, Any]:
    node = find_node()
    chromium = _chromium(say)
    vendor = fetch_vendor()
    say(f"bundles of every task for {TARGET}")
    bundles = {
        case: path / "bundle" for (case, _), path in make_bundles(build, [TARGET], Show(), (*CASES, *OTHER_TASKS)).items()
    }
    cells, faults = [], list[str]()
    with tempfile.TemporaryDirectory(prefix="edgekit-web-") as scratch:
        bundles[CHAT] = with_template(bundles[CHAT], Path(scratch) / CHAT)
        for kind, make in MAKERS.items():
            bundles[f"{CASE}, {kind}"] = with_tokenizer(bundles[CASE], Path(scratch) / kind, make)
        site = _site(Path(scratch) / "site", vendor, bundles)
        python = {case: here(bundle, count) for case, bundle in bundles.items()}
        talks = {CHAT: [*TALKS]}
        said = answers_of(bundles[CHAT])

        def compared(case: str, where: str, every: list[Here], answers: dict[str, Any]) -> None:
            manifest = open_bundle(bundles[case]).manifest
            wrong, figures = faults_of(every, answers, manifest.golden.tolerance, generates=manifest.generation is not None)
            wrong += chat_faults(said if case in talks else [], answers["talks"])
            faults.extend(f"{case}, {where}: {fault}" for fault in wrong[:5])
            cells.append({"case": case, "where": where, **figures})
            say(f"{case}, {where}: {len(wrong)} of {len(every)} differ")

        for case, every in python.items():
            jobs = site / "jobs" / f"{case}.json"
            jobs.write_text(json.dumps({"jobs": jobs_of(every), "talks": talks.get(case, [])}), encoding="utf-8")
            own = [str(HERE / "node.mjs"), str(runner_folder()), str(vendor), str(bundles[case])]
            command = [node, *own, str(jobs), f"{scratch}/out.json"]
            ended = finish(start(command, stderr=subprocess.PIPE), seconds=60 * MINUTES)
            if ended.code != 0:
                raise CheckFailed(f"Node ends with {ended.code}: {ended.errors.decode('utf-8', 'replace')[-1000:]}", where=case)
            compared(case, "Node", every, json.loads((Path(scratch) / "out.json").read_text(encoding="utf-8")))
        fetch_package()
        for case, bundle in bundles.items():
            opened = open_bundle(bundle)
            if opened.manifest.generation is None:
                wrong, number = golden_faults(node, opened, Path(scratch) / "transformers-js")
                faults += [f"{case}, transformers.js: {fault}" for fault in wrong[:5]]
                say(f"{case}, transformers.js: {len(wrong)} of {number} golden inputs differ")
        with browser() as running:
            for where, headers, threads in (("Chromium", {}, 1), ("Chromium, two threads", HEADERS, 2)):
                with served(site, headers) as url:
                    tab = running.tab(url)
                    for case, every in python.items():
                        asks = f"fetch('{url}jobs/{case}.json').then((response) => response.json())"
                        call = f"compare('{url}runner/', '{url}bundles/{case}/', {{ threads: {threads} }}, given.jobs, given.talks)"
                        work = (
                            f"import('{url}answers.mjs').then(async ({{ compare }}) => {{ const given = await {asks};"
                            f" return JSON.stringify(await {call}); }})"
                        )
                        answers = json.loads(tab.run(work, seconds=60 * MINUTES))
                        compared(case, where, every, answers)
                        faults += [f"{case}, {where}: {note}" for note in answers["notes"]]
            first, other = list(bundles.values())[:2]
            faults += [
                f"the page: {fault}" for fault in page_faults(Path(scratch) / "page", first, other, bundles[CHAT], running)
            ]
            say("the page")
            with served(site) as url:
                wrong, webgpu = webgpu_faults(url, running)
            faults += [f"WebGPU: {fault}" for fault in wrong]
            say("WebGPU")
    if faults:
        raise CheckFailed("not what Python makes of it", faults=faults)
    return {
        "schema_version": 1, "lane": "web", "target": TARGET, "node": _version(node), "chromium": _version(chromium), "cells": cells,
        "webgpu": webgpu,
        "packages": sorted({f"{one.package}@{one.release}" for one in vendored_files().values()}),
    }  # fmt: skip


def _site(folder: Path, vendor: Path, bundles: dict[str, Path]) -> Path:
    """A folder with the runner, what it loads, and all bundles."""
    shutil.copytree(vendor, folder / "runner" / "vendor")
    for name in MODULES:
        shutil.copyfile(runner_folder() / name, folder / "runner" / name)
    shutil.copyfile(HERE / "answers.mjs", folder / "answers.mjs")
    shutil.copyfile(runner_folder() / "measuring" / "kernels.mjs", folder / "kernels.mjs")
    for case, bundle in bundles.items():
        shutil.copytree(bundle, folder / "bundles" / case)
    (folder / "jobs").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>lane</title>", encoding="utf-8")
    return folder


def _chromium(say: Callable[[str], None]) -> str:
    """The program, from Debian where it is missing and this process may install it."""
    try:
        return find_chromium()
    except NotPossibleHere:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise
    say("apt-get install chromium")
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"]):
        finish(start(command, environment={"DEBIAN_FRONTEND": "noninteractive"}), seconds=60 * MINUTES)
    return find_chromium()


def _version(program: str) -> str:
    return finish(start([program, "--version"], stdout=subprocess.PIPE), seconds=60).output.decode().strip()


if __name__ == "__main__":
    sys.exit(main())
