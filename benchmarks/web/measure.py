"""A bundle for browsers beside its original in transformers.js' own INT8, in the same Chromium, one thread, from a text to its answer; what its page
downloads; and a first answer from a cold load.

    edgekit export clinc150 --target web-wasm --no-bench
    python -m benchmarks.web.measure build/clinc150-web-wasm [--processes 10]

Every process is a new Chromium with a new profile, in turn. The original is the result's variant `ort-int8-stock`: what onnxruntime's
`quantize_dynamic`, which transformers.js' conversion calls, makes of it. Downloads are all files of `edgekit artifacts --web`, each by gzip. The
first answer is of a new tab, once an earlier one has filled the caches: from its navigation to the answer on the page. Writes results.json and
README.md beside this file.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pages import write_results
from benchmarks.web.page import HERE, write_page
from edgekit.bench.engines import runtime_in, usable_engines
from edgekit.bench.variants import seen_from_here
from edgekit.host import CHROMIUM, detect
from edgekit.runtime.bench.statistics import ratio_interval, summary
from edgekit.runtime.bundle.open import open_bundle
from edgekit.tasks import find_task
from edgekit.web.chromium import Browser, browser, served
from edgekit.web.page import HEADERS
from edgekit.web.page import write_page as write_web_page
from lanes.web.transformers_js import PACKAGE, RELEASE, fetch_package

SEED, TEXTS = 25, 300
SETTINGS = {"seconds": 0.5, "min_runs": 60, "max_warmup_seconds": 1.0}
READY = "document.documentElement.dataset.ready || !document.getElementById('fault').hidden"
FIRST = """
new Promise((done) => {
  const answer = () => {
    new MutationObserver(() => done(performance.now())).observe(document.getElementById("time"), { childList: true });
    document.querySelector("textarea").value = TEXT;
    document.getElementById("input").requestSubmit();
  };
  if (READY) answer();
  else {
    const seen = (_, observer) => {
      if (!(READY)) return;
      observer.disconnect();
      answer();
    };
    new MutationObserver(seen).observe(document.documentElement, { attributes: true });
  }
})
"""


def main() -> None:
    """Measure, and write the results and their page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--original", type=Path, help="another result, whose original is compared with")
    parser.add_argument("--note", default="", help="what a reader must know of the bundle")
    parser.add_argument("--processes", type=int, default=10)
    asked = parser.parse_args()
    engines = usable_engines()
    lineage = seen_from_here(json.loads((asked.result / "lineage.json").read_text(encoding="utf-8")), asked.result)
    whole = asked.original or asked.result
    variants = seen_from_here(json.loads((whole / "lineage.json").read_text(encoding="utf-8")), whole)["variants"]
    bundle, task = open_bundle(asked.result / "bundle"), find_task(lineage["recipe"]["task"])
    with Path(lineage["rows"]).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    items = [item for row in random.Random(SEED).sample(rows, TEXTS) for item in task.items(row)]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="edgekit-web-") as scratch:
        site = Path(scratch) / "site"
        site.mkdir()
        write_web_page(bundle, site)
        files = {
            path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file() and path.name != "_headers"
        }
        downloads = {name: len(gzip.compress(path.read_bytes(), 9)) for name, path in files.items()}
        (site / "blank.html").write_text("<!doctype html><title>blank</title>", encoding="utf-8")
        lay_out_original(variants, site / "transformers-js")
        bundles: list[list[float]] = []
        originals: list[list[float]] = []
        first: list[list[float]] = []
        with served(site, HEADERS) as url:
            for number in range(asked.processes):
                for kind in random.Random(f"{SEED} {number}").sample(("bundle", "original", "first"), 3):
                    with browser() as running:
                        if kind == "first":
                            first.append([first_answer(running, url, str(items[number % len(items)]))])
                        elif kind == "bundle":
                            bundles.append(bundle_times(running, url, items))
                        else:
                            originals.append(original_times(running, url, lineage["recipe"]["task"], items))
                print(f"{number + 1} of {asked.processes}", file=sys.stderr)
    write_results(
        HERE / "results.json",
        {
            "schema_version": 1,
            "command": f"python -m benchmarks.web.measure {shlex.join(sys.argv[1:])}",
            "bundle": bundle.manifest.name,
            "note": asked.note,
            "sha256": bundle.manifest.assets["model.onnx"].sha256,
            "quality": lineage["variants"]["bundle"]["quality"],
            "original_quality": variants["ort-int8-stock"]["quality"],
            "chip": detect().cpu,
            "cores": detect().cores_usable,
            "load": [round(load, 1), round(os.getloadavg()[0], 1)],
            "runtime": runtime_in({CHROMIUM: engines[CHROMIUM]}),
            "peer": f"{PACKAGE}@{RELEASE}",
            "threads": 1,
            "texts": TEXTS,
            "processes": asked.processes,
            "settings": SETTINGS,
            "answer": summary(bundles, SEED),
            "original": summary(originals, SEED),
            "faster": ratio_interval(originals, bundles, SEED),
            "first_answer": summary(first, SEED),
            "downloads": downloads,
        },
    )
    write_page()


def lay_out_original(variants: dict[str, Any], folder: Path) -> None:
    """transformers.js, its ONNX Runtime, and the original as it loads it."""
    package = fetch_package().parents[1]
    model, source = folder / "models" / "original", Path(variants["eager-fp32"]["folder"])
    (model / "onnx").mkdir(parents=True)
    (folder / "ort").mkdir()
    shutil.copyfile(HERE / "transformers_js.mjs", folder / "transformers_js.mjs")
    shutil.copyfile(package / "dist" / "transformers.min.js", folder / "transformers.min.js")
    for path in (package.parents[1] / "onnxruntime-web" / "dist").glob("ort-wasm-simd-threaded*"):
        (folder / "ort" / path.name).symlink_to(path)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, model / name)
    shutil.copyfile(Path(variants["ort-int8-stock"]["folder"]) / "model.onnx", model / "onnx" / "model_quantized.onnx")


def bundle_times(running: Browser, url: str, items: list[Any]) -> list[float]:
    """Milliseconds of each answer by runner.mjs."""
    tab = running.tab(f"{url}blank.html")
    work = f"load('{url}bundle/', {{ threads: 1 }}).then((model) => model.bench({json.dumps({**SETTINGS, 'items': items, 'scenarios': ['text']})}))"
    found: list[float] = tab.run(
        f"import('{url}runner/runner.mjs').then(({{ load }}) => {work}).then((found) => found.scenarios.text.samples)"
    )
    return found


def original_times(running: Browser, url: str, task: str, items: list[Any]) -> list[float]:
    """Milliseconds of each answer by transformers.js."""
    tab = running.tab(f"{url}blank.html")
    call = f"times('{task}', {json.dumps(items)}, {json.dumps(SETTINGS)})"
    found: list[float] = tab.run(f"import('{url}transformers-js/transformers_js.mjs').then(({{ times }}) => {call})")
    return found


def first_answer(running: Browser, url: str, text: str) -> float:
    """Milliseconds from the navigation of a new tab to its first answer, with warm caches."""
    before = running.tab(url)
    before.wait(READY)
    before.run("navigator.serviceWorker.ready.then(() => new Promise((done) => setTimeout(done, 1000)))")
    before.send("Page.navigate", url="about:blank")
    tab = running.tab()
    tab.send("Page.navigate", url=url)
    tab.wait("document.readyState === 'complete'")
    found: float = tab.run(FIRST.replace("READY", f"({READY})").replace("TEXT", json.dumps(text)))
    return found


if __name__ == "__main__":
    main()
