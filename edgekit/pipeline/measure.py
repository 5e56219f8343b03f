"""Measuring a result folder with all its baselines, or a lone bundle without any; and whether a measurement is of a bundle."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edgekit.config.target import WASM, load_target
from edgekit.errors import NotPossibleHere
from edgekit.host import detect
from edgekit.pipeline.folder import BENCH, LINEAGE, MARKDOWN, REPORT
from edgekit.pipeline.pack_stage import PACKED
from edgekit.pipeline.report import write_reports
from edgekit.progress import Progress, Show
from edgekit.runtime.bench.measured import is_of_bundle, timed_files
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.outputs import check_output_file
from edgekit.runtime.threads import Threads

if TYPE_CHECKING:
    from edgekit.runtime.bench.lone import Elsewhere

__all__ = ["SEED", "Measured", "bench_result", "is_measured", "measure"]

SEED = 7
"""Of the order of processes, where nobody asks for another."""


@dataclass(frozen=True)
class Measured:
    """A benchmark's document, and the result folder it was written to; None for a lone bundle, whose document is kept nowhere."""

    document: JsonObject
    folder: Path | None

    @property
    def complete(self) -> bool:
        """Whether no process was left out by Ctrl-C."""
        return bool(self.document["complete"])

    @property
    def stable(self) -> bool:
        """Whether the processes agree."""
        return bool(cast("JsonObject", self.document["validity"])["stable"])


def measure(
    bundle: Path,
    *,
    quick: bool,
    processes: int | None,
    seconds: float | None,
    threads: Threads,
    prompts: tuple[int, ...] | None = None,
    seed: int,
    show: Show,
) -> Measured:
    """Measure the result folder that `bundle` is or lies in, and write its reports again; or a lone bundle.

    Raises:
        EdgekitError: no result or bundle there, numbers out of range, or a host that is not the target.
    """
    folder = bundle.parent if bundle.name == "bundle" and (bundle.parent / LINEAGE).is_file() else bundle
    if not (folder / LINEAGE).is_file():
        from edgekit.runtime.bench.lone import bench_bundle

        document: JsonObject = bench_bundle(
            bundle,
            elsewhere=_elsewhere(bundle),
            threads=threads,
            prompts=prompts,
            processes=(3 if quick else 10) if processes is None else processes,
            seconds=(0.5 if quick else 2.0) if seconds is None else seconds,
            out=None,
            seed=seed,
        )
        return Measured(document, None)
    for name in (BENCH, REPORT, MARKDOWN):
        check_output_file(folder / name, "bench")
    with show.stage("measure") as progress:
        document = bench_result(
            folder, quick=quick, processes=processes, seconds=seconds, threads=threads, prompts=prompts, seed=seed, progress=progress
        )  # fmt: skip
    write_reports(folder)
    return Measured(document, folder)


def _elsewhere(bundle: Path) -> Elsewhere | None:
    """Where a lone bundle is timed that is for browsers; None for any other. A bundle that cannot be opened is told by who measures."""
    from edgekit.bench.engines import elsewhere_of

    opened = open_bundle(bundle)
    if opened.manifest.target.arch != WASM:
        return None
    if not detect().engines:
        raise NotPossibleHere(
            f"target {opened.manifest.target.name} cannot be measured on this machine",
            where="bench",
            faults=load_target("web-wasm").lacks(detect()),
            fix="install Chromium (Debian: apt-get install chromium), or Node 20 or later",
        )
    return elsewhere_of(opened.folder)


def bench_result(
    folder: Path,
    *,
    quick: bool,
    progress: Progress,
    processes: int | None = None,
    seconds: float | None = None,
    threads: Threads = None,
    prompts: tuple[int, ...] | None = None,
    seed: int = SEED,
) -> JsonObject:
    """Write bench.json of a result folder; returns it.

    Raises:
        EdgekitError: as `open_bundle` and `run_bench`.
    """
    from edgekit.bench.run import run_bench

    command = shlex.join(
        [
            "edgekit",
            "bench",
            str(folder),
            *_asked(quick=quick, processes=processes, seconds=seconds, threads=threads, prompts=prompts, seed=seed),
        ]
    )
    return run_bench(
        folder, quick=quick, out=folder / BENCH, progress=progress, command=command, processes=processes, seconds=seconds,
        threads=threads, prompts=prompts, seed=seed, timed=_timed_files(folder / PACKED),
    )  # fmt: skip


def _asked(
    *, quick: bool, processes: int | None, seconds: float | None, threads: Threads, prompts: tuple[int, ...] | None, seed: int
) -> list[str]:
    """The options of `edgekit bench` that say the same."""
    values = {
        "--processes": processes, "--seconds": seconds, "--threads": threads, "--prompts": ",".join(map(str, prompts or ())) or None,
        "--seed": None if seed == SEED else seed,
    }  # fmt: skip
    said = [word for option, value in values.items() if value is not None for word in (option, str(value))]
    return [*(["--quick"] if quick else []), *said]


def _timed_files(bundle: Path) -> dict[str, str]:
    """sha256 by name of the files of a bundle that its times depend on; raises as `open_bundle`."""
    return timed_files({name: asset.sha256 for name, asset in open_bundle(bundle).manifest.assets.items()})


def is_measured(folder: Path, bundle: Path) -> bool:
    """Whether bench.json of a result folder is complete, and of the very files in `bundle`."""
    try:
        document = json.loads((folder / BENCH).read_text(encoding="utf-8"))
        assets = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["assets"]
        return bool(document["complete"]) and is_of_bundle(document, {name: asset["sha256"] for name, asset in assets.items()})
    except (OSError, ValueError, KeyError, TypeError):
        return False
