"""The command line. Exit codes: 0 done, 1 a budget or check not met, 2 bad usage or input, 3 not possible on this machine."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Annotated

import typer

import edgekit
from edgekit.cli.differ import diff
from edgekit.cli.drafting import init
from edgekit.cli.look import docs, doctor, list_names, schema
from edgekit.cli.make import artifacts, export, plan, report
from edgekit.cli.measure import bench
from edgekit.cli.mirror import mirror
from edgekit.cli.output import explained
from edgekit.cli.plain_help import PlainCommand, PlainGroup
from edgekit.cli.tune import tune
from edgekit.cli.use import run, serve, verify
from edgekit.runtime.edge import at_edge

__all__ = ["app", "main"]

app = typer.Typer(
    name="edgekit",
    cls=PlainGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a budget or a check was not met, 2 bad usage or input, 3 not possible on this machine.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"edgekit {edgekit.__version__}")
        raise typer.Exit


@app.callback()
def _every(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Distil, prune and quantize a transformer into a verified, measured bundle for an edge device."""


COMMANDS: dict[str, Callable[..., None]] = {
    "export": export, "tune": tune, "init": init, "plan": plan, "bench": bench, "artifacts": artifacts, "verify": verify, "diff": diff,
    "report": report, "run": run, "serve": serve, "ls": list_names, "mirror": mirror, "doctor": doctor, "schema": schema, "docs": docs,
}  # fmt: skip
"""In the order of the help."""
for name, command in COMMANDS.items():
    app.command(name, cls=PlainCommand)(command)


@cache
def _group() -> Callable[[], int]:
    """All commands, which Typer would make anew of their functions at each call."""
    return typer.main.get_command(app)


def main() -> None:
    """Run the command line; whatever it raises becomes a message and an exit code."""
    # Read when torch starts its threads. Spinning threads that share a core with another process made training 15 times
    # slower on two cores (measured); sleeping ones cost little on a quiet machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Rows are many small objects in no cycle: looking for cycles after each 700 took an eighth of a look at 100,000 rows (measured).
    gc.set_threshold(10_000)
    sys.exit(at_edge("edgekit", _group(), as_json="--json" in sys.argv, prints=sys.argv[1:2] != ["serve"], more=explained))
