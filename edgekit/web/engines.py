"""What runs WebAssembly on this machine, and in which release."""

from __future__ import annotations

import re
import subprocess

from edgekit.errors import NotPossibleHere
from edgekit.host import ENGINES, NODE, engine_program
from edgekit.runtime.children import finish, start

__all__ = ["engine_releases", "find_node"]

OLDEST_NODE = 20


def find_node() -> str:
    """Node's program.

    Raises:
        NotPossibleHere: it is not here, or older than 20.
    """
    found = engine_program(NODE)
    if found is None:
        raise NotPossibleHere("no Node here", fix=f"install Node {OLDEST_NODE} or later with npm")
    release = _release(found)
    if int(release.partition(".")[0] or 0) < OLDEST_NODE:
        raise NotPossibleHere(
            f"Node {release} is older than {OLDEST_NODE}", fix=f"install Node {OLDEST_NODE} or later with npm"
        )
    return found


def engine_releases() -> dict[str, str]:
    """Release of each engine that bundles run in here, the first of ENGINES first; an older Node is not among them."""
    found = {engine: _release(path) for engine in ENGINES if (path := engine_program(engine))}
    if int(found.get(NODE, "0").partition(".")[0] or 0) < OLDEST_NODE:
        found.pop(NODE, None)
    return found


def _release(program: str) -> str:
    """Numbers of the release in what a program says of itself; "" where it says none."""
    ended = finish(start([program, "--version"], stdout=subprocess.PIPE), seconds=60)
    found = re.search(r"\d+(\.\d+)+", ended.output.decode("utf-8", "replace"))
    return found.group() if found else ""
