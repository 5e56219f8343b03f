"""How another Python process finds this very edgekit."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["own_modules"]


def own_modules() -> dict[str, str]:
    """Variables of the environment by which `python -m edgekit.…` runs the modules that run here, and none of the working folder's."""
    here = str(Path(__file__).parents[2].absolute())  # the folder that holds edgekit, or the runner archive itself
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])}
