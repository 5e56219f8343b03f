"""The command that measures: bench, on this machine or on devices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.output import emit
from edgekit.cli.parameters import BundlePath, Json, ThreadCount
from edgekit.errors import BadInput

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgekit.pipeline.measure import Measured

__all__ = ["bench"]


def bench(
    bundle: BundlePath,
    quick: Annotated[bool, typer.Option("--quick", help="Three short processes a variant, for a first look.")] = False,
    processes: Annotated[int | None, typer.Option(min=1, metavar="N", help="Fresh processes a variant.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.05, metavar="N", help="Timed seconds in each process and scenario.")
    ] = None,
    threads: ThreadCount = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="TOKENS", help="Language models: lengths of prompts, such as 16,512. Default: 16 to 2048."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, metavar="N", help="Seed of the order of processes.")] = 7,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where the processes disagree by more than 10%.")
    ] = False,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            metavar="DEVICE",
            help="Measure on user@host over ssh instead, or on this one of --inventory; again for more.",
        ),
    ] = None,
    inventory: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of devices (TOML); without --device: all of them.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure also on devices that have a result of this bundle.")] = False,
    as_json: Json = False,
) -> None:
    """Measure a bundle and its baselines on this machine, in fresh interleaved processes; or the bundle on devices."""
    from edgekit.progress import Show
    from edgekit.runtime.threads import parse_threads

    count = parse_threads(threads, written=True, here=not (device or inventory))
    if device or inventory:
        from edgekit.device.command import measure_on

        if prompts:
            raise BadInput(
                "a device times the default lengths", where="--prompts", fix="leave it out, or use runner.pyz bench there"
            )
        document, shown, code = measure_on(
            bundle, device or [], inventory, quick=quick, processes=processes, seconds=seconds, threads=count, seed=seed,
            again=again, strict=strict, show=Show(silent=as_json),
        )  # fmt: skip
        emit(document, as_json, shown)
        raise typer.Exit(code)
    if again:
        raise BadInput("there is nothing to repeat without a device", where="--again", fix="give --device or --inventory too")
    from edgekit.pipeline.measure import measure
    from edgekit.runtime.bench.prompts import prompt_lengths

    measured = measure(
        bundle, quick=quick, processes=processes, seconds=seconds, threads=count, prompts=prompt_lengths(prompts), seed=seed,
        show=Show(silent=as_json),
    )  # fmt: skip
    emit(measured.document, as_json, _measurement(measured))
    if not measured.complete:
        Show(silent=False).line("interrupted: the result is partial; it holds the processes that were complete")
        raise typer.Exit(130)
    if strict and not measured.stable:
        raise typer.Exit(1)


def _measurement(measured: Measured) -> Iterator[RenderableType]:
    """The result's table and where it lies; of a lone bundle the whole document."""
    from edgekit.pipeline.folder import BENCH
    from edgekit.pipeline.report import tables

    if measured.folder is None:
        yield json.dumps(measured.document, indent=1)
        return
    yield from (*tables(measured.folder), f"result   {measured.folder / BENCH}")
