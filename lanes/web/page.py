"""The page of a bundle in Chromium: its form, its proof, without a network, at three widths, and what it says where something is wrong."""

from __future__ import annotations

import os
from pathlib import Path

from edgekit.runtime.bundle.open import open_bundle
from edgekit.web.chromium import Browser, Tab, served
from edgekit.web.page import write_page

__all__ = ["page_faults"]

READY = "document.documentElement.dataset.ready || !document.getElementById('fault').hidden"
FAULT = "document.getElementById('fault').hidden ? '' : document.getElementById('fault').textContent"
WIDTHS = (360, 768, 1280)
POLICIES = {
    "script-src 'self'": "'wasm-unsafe-eval'",
    "script-src 'self' 'wasm-unsafe-eval'; connect-src 'none'": "connect-src",
}
"""Policies that a host may send -> what the page must say under them."""
LACKING = {"delete globalThis.WebAssembly": "WebAssembly is not there", "WebAssembly.validate = () => false": "no SIMD"}
"""What is taken from a browser -> what the page must say then."""


def page_faults(folder: Path, bundle: Path, other: Path, chat: Path, running: Browser) -> list[str]:
    """What is wrong with the page of `bundle`, which is written into `folder`; `other`: the bundle of a later version of it, `chat`: one that answers
    conversations."""
    for name, source in (("first", bundle), ("second", other), ("chat", chat)):
        (folder / name).mkdir(parents=True)
        write_page(open_bundle(source), folder / name)
    later = (folder / "first" / "worker.js").stat().st_mtime + 10  # to the second, as servers tell when a file was changed
    os.utime(folder / "second" / "worker.js", (later, later))
    page = folder / "first"
    return [
        *_used(page, running.tab()),
        *_talked(folder / "chat", running.tab()),
        *_newer_version(folder, running),
        *_closed(page, running),
        *_policies(page, running),
        *_lacking(page, running),
    ]


def _shown(tab: Tab, url: str) -> str:
    """The fault that the page at `url` shows, "" where it is ready."""
    tab.go(url)
    tab.wait(READY)
    return str(tab.run(FAULT))


def _used(page: Path, tab: Tab) -> list[str]:
    """Answers and proof without a network, widths, and a bit changed in the model."""
    faults = list[str]()
    with served(page) as url:
        if fault := _shown(tab, url):
            return [fault]
        tab.run("navigator.serviceWorker.ready.then(() => true)")
    tab.go(url)  # nobody serves it any more
    tab.wait(READY)
    if not tab.run("crossOriginIsolated"):
        faults.append("the service worker does not isolate it")
    tab.run("document.querySelector('textarea').value = 'turn on the red lamp'; document.getElementById('send').click()")
    tab.wait("document.getElementById('time').textContent.includes('ms')")
    tab.run("document.getElementById('verify').click()")
    tab.wait("/golden inputs/.test(document.getElementById('verified').textContent)")
    if "are right here" not in tab.run("document.getElementById('verified').textContent"):
        faults.append(tab.run("document.getElementById('verified').textContent"))
    for width in WIDTHS:
        tab.send("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        if tab.run("document.documentElement.scrollWidth > innerWidth"):
            faults.append(f"at {width} pixels it is wider than the window")
    path = page / "bundle" / "model.onnx"
    whole = path.read_bytes()
    model = bytearray(whole)
    model[len(model) // 2] ^= 1
    path.write_bytes(bytes(model))
    with served(page) as url:
        if "model.onnx: sha256" not in _shown(tab, url):
            faults.append("a bit changed in the model is not told")
    path.write_bytes(whole)
    return faults


def _talked(page: Path, tab: Tab) -> list[str]:
    """Two messages and their answers are one conversation, which can be begun anew."""
    with served(page) as url:
        if fault := _shown(tab, url):
            return [f"of a conversation: {fault}"]
        for number, text in enumerate(("hi", "on")):
            tab.run(f"document.querySelector('textarea').value = '{text}'; document.getElementById('send').click()")
            tab.wait(
                f"document.querySelectorAll('.talk li').length === {2 * number + 2} && !document.getElementById('send').disabled"
            )
            if fault := tab.run(FAULT):
                return [f"of a conversation: {fault}"]
        roles = tab.run("[...document.querySelectorAll('.talk li')].map((item) => item.className).join(' ')")
        tab.run("document.getElementById('renew').click()")
        left = tab.run("document.querySelectorAll('.talk li').length")
    return (
        []
        if roles == "user assistant user assistant" and not left
        else [f"of a conversation: it shows {roles!r}, and then {left}"]
    )


def _newer_version(folder: Path, running: Browser) -> list[str]:
    """A service worker that keeps an older bundle gives way to the newer one, and never to a mixture of both."""
    site, tab = folder / "site", running.tab()
    site.symlink_to("first")
    with served(site) as url:
        if fault := _shown(tab, url):
            return [f"before a newer version: {fault}"]
        tab.run("navigator.serviceWorker.ready.then(() => true)")
        before = tab.run("document.title")
        site.unlink()
        site.symlink_to("second")
        for _ in range(5):
            if fault := _shown(tab, url):
                return [f"a newer version beside an older worker: {fault}"]
            if tab.run("document.title") != before:
                return []
            tab.run(
                "navigator.serviceWorker.getRegistration().then((one) => one.update()).then(() => new Promise((done) => setTimeout(done, 500)))"
            )
    return ["an older service worker stays where there is a newer version"]


def _closed(page: Path, running: Browser) -> list[str]:
    """A page that is closed while it loads leaves the next one as it would be."""
    with served(page) as url:
        target = running.send("Target.createTarget", url=url)["targetId"]
        running.send("Target.closeTarget", targetId=target)
        fault = _shown(running.tab(), url)
    return [f"after a page that was closed while it loaded: {fault}"] if fault else []


def _policies(page: Path, running: Browser) -> list[str]:
    """A policy that forbids what the page needs is named."""
    faults = []
    for policy, words in POLICIES.items():
        with served(page, {"Content-Security-Policy": policy}) as url:
            if words not in (fault := _shown(running.tab(), url)):
                faults.append(f"under the policy {policy} it says {fault[:200]!r}")
    return faults


def _lacking(page: Path, running: Browser) -> list[str]:
    """A browser without WebAssembly, or without its vectors, is told what it lacks."""
    faults = []
    for script, words in LACKING.items():
        tab = running.tab()
        tab.send("Page.addScriptToEvaluateOnNewDocument", source=script)
        with served(page) as url:
            if words not in (fault := _shown(tab, url)):
                faults.append(f"after {script} it says {fault[:200]!r}")
    return faults
