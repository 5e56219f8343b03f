"""The command that made a result, under the name that its script has today."""

from __future__ import annotations

import re

__all__ = ["command_today"]

MOVED = {
    "cuda/run": "cuda.lane", "decoders/run": "decoders.peers", "decoders/where": "decoders.kernels",
    "language-distillation/run": "language_distillation.compare", "language-quality/run": "language_quality.rounding",
    "methods/run": "methods.grid", "serve/run": "serve.load_test",
}  # fmt: skip
"""Scripts as results of before name them -> their modules. A result keeps the command that it was made by."""


def command_today(command: str) -> str:
    """`command` as it is typed today: scripts that moved by their new names, everything else as it is."""
    return re.sub(r"python benchmarks/([\w/-]+)\.py", lambda match: f"python -m benchmarks.{MOVED[match[1]]}", command)
