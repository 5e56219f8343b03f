"""WebGPU in Chromium, whose adapter may be software: asked for and there, asked for and not there, not asked for; and which kernels it has."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from edgekit.web.chromium import Browser, browser
from edgekit.web.kernels import events_of

__all__ = ["FLAG", "webgpu_faults"]

FLAG = "--enable-unsafe-webgpu"
"""With it a headless Chromium without a graphics processor offers WebGPU, computed in software (SwiftShader)."""
TAKEN, REFUSED = "text-classification", "text-classification-static"
"""A bundle that WebGPU computes, and one that it loads and then fails on."""
OPEN = """
import('URLrunner/runner.mjs').then(async ({ load }) => {
  const model = await load('URLbundles/CASE/', OPTIONS);
  const verified = VERIFY ? await model.verify() : null;
  const found = { provider: model.provider, notes: model.notes, verified };
  await model.close();
  return found;
})
"""


def webgpu_faults(url: str, running: Browser) -> tuple[list[str], dict[str, Any]]:
    """(what is not as it should be, what there is to record) of the lane's site at `url`. `running`: a Chromium without WebGPU."""
    faults = list[str]()

    def opened(browser: Browser, case: str, options: dict[str, Any], *, verify: bool = False) -> dict[str, Any]:
        words = {"URL": url, "CASE": case, "OPTIONS": json.dumps(options), "VERIFY": json.dumps(verify)}
        script = OPEN
        for name, value in words.items():
            script = script.replace(name, value)
        found: dict[str, Any] = browser.tab(url).run(script)
        return found

    def expect(what: str, found: dict[str, Any], provider: str, words: str) -> None:
        told = " ".join(found["notes"])
        if found["provider"] != provider or words not in told or bool(words) != bool(told):
            faults.append(f"{what}: {found['provider']}, and it says {told!r}")

    expect("not asked for", opened(running, TAKEN, {}), "wasm", "")
    expect(
        "asked for and not there",
        opened(running, TAKEN, {"provider": "webgpu"}),
        "wasm",
        "WebAssembly instead of WebGPU: this browser",
    )
    with browser(FLAG) as other:
        expect("there and not asked for", opened(other, TAKEN, {}), "wasm", "")
        taken = opened(other, TAKEN, {"provider": "webgpu"}, verify=True)
        expect("asked for and there", taken, "webgpu", "without a graphics processor")
        expect("a model that fails there", opened(other, REFUSED, {"provider": "webgpu"}), "wasm", "does not take this model")
        kernels = _kernels(other, url, TAKEN)
    verified = {name: taken["verified"][name] for name in ("golden", "difference", "tolerance")}
    return faults, {"case": TAKEN, **verified, "kernels": kernels}


def _kernels(running: Browser, url: str, case: str) -> dict[str, dict[str, int]]:
    """Provider -> operator -> runs, of one golden input."""
    running.events.clear()
    job = {
        "provider": "webgpu",
        "profile": True,
        "vendor": f"{url}runner/vendor/",
        "model": f"{url}bundles/{case}/model.onnx",
        "data": {},
    }
    golden = f"fetch('{url}bundles/{case}/golden.json').then((response) => response.json())"
    feeds = "[{ input_ids: feed(ids), attention_mask: feed(ids.map(() => 1)) }]"
    running.tab(url).run(
        f"import('{url}kernels.mjs').then(async ({{ ran }}) => {{ const ids = (await {golden}).rows[8].input_ids[0];"
        f" const feed = (data) => ({{ type: 'int64', dims: [1, data.length], data }}); await ran({{ ...{json.dumps(job)}, feeds: {feeds} }}); }})"
    )
    said = [event["params"]["args"] for event in running.events if event["method"] == "Runtime.consoleAPICalled"]
    counts: dict[str, Counter[str]] = {}
    for event in events_of("\n".join(str(one[0].get("value", "")) for one in said if one)):
        counts.setdefault(str(event["args"]["provider"]), Counter())[str(event["args"]["op_name"])] += 1
    return {provider: dict(sorted(ops.items())) for provider, ops in sorted(counts.items())}
