"""Variants of a result for browsers: every one is timed in the first engine that is here, and the bundle in each other one too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.bench.variants import BUNDLE, is_eager
from edgekit.errors import BadInput, NotPossibleHere
from edgekit.runtime.bench.lone import Elsewhere
from edgekit.runtime.bench.words import in_engine
from edgekit.web.engines import engine_releases
from edgekit.web.vendor import fetch_vendor, releases

__all__ = ["elsewhere_of", "runtime_in", "specifications_in", "usable_engines"]

PROGRAM = "edgekit.web.measure"


def usable_engines() -> dict[str, str]:
    """Release of each engine that times can be taken in here, and what the runner loads fetched for it.

    Raises:
        NotPossibleHere: no engine is new enough, or npm does not give what the runner loads.
        CheckFailed: npm gives another file than is pinned.
    """
    found = engine_releases()
    if not found:
        raise NotPossibleHere("no Chromium, and no Node from 20 on, that starts", where="bench", fix="install one of them")
    fetch_vendor()
    return found


def runtime_in(engines: Mapping[str, str]) -> str:
    """What computes, in words: onnxruntime-web 1.30.0 in Chromium 156.0."""
    package = next(name for name in releases() if name.startswith("onnxruntime-web@")).replace("@", " ")
    return f"{package} in {' and '.join(f'{engine} {release}' for engine, release in engines.items())}"


def elsewhere_of(bundle: Path) -> Elsewhere:
    """How the lone bundle in folder `bundle` is timed: once in each engine.

    Raises:
        NotPossibleHere, CheckFailed: as `usable_engines`.
    """
    engines = usable_engines()
    facts = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["edgekit"]
    first = next(iter(engines))

    def specifications(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {
            BUNDLE if engine == first else in_engine(BUNDLE, engine): {
                **spec,
                "program": PROGRAM,
                "engine": engine,
                "facts": facts,
            }
            for engine in engines
        }

    return Elsewhere(specifications, runtime_in(engines))


def specifications_in(
    engines: Mapping[str, str], specs: Mapping[str, dict[str, Any]], variants: Mapping[str, dict[str, Any]], folder: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], dict[str, str]]:
    """(specifications, variants, why others are left out) of the result in `folder`; the bundle is there once an engine.

    Raises:
        BadInput: the result has no bundle whose manifest says what the model is.
    """
    path = folder / BUNDLE / "manifest.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))["edgekit"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput("not the manifest of a bundle", where=str(path), fix="run `edgekit export` again") from None
    first, *others = engines
    left_out = {name: f"PyTorch does not run in {first}" for name in specs if is_eager(variants[name])}
    timed = {
        name: {**spec, "program": PROGRAM, "engine": first, "facts": facts}
        for name, spec in specs.items()
        if name not in left_out
    }
    known = dict(variants)
    for engine in others if BUNDLE in timed else ():
        name = in_engine(BUNDLE, engine)
        timed[name] = {**timed[BUNDLE], "engine": engine}
        known[name] = {**variants[BUNDLE], "title": f"{variants[BUNDLE].get('title', BUNDLE)}, in {engine}"}
    return timed, known, left_out
