"""edgekit: distil, prune and quantize a transformer into a verified, measured bundle for an edge device.

import edgekit as ek
result = ek.export("intents")            # needs the export extra
model = ek.load(result.path)             # the runtime: no torch
model("set an alarm for six")            # {'label': 'set_alarm', 'score': 0.99}
"""

from __future__ import annotations

from typing import Any

__all__ = ["BadInput", "CheckFailed", "EdgekitError", "NotPossibleHere", "__version__", "diff", "export", "load", "tune"]

__version__ = "0.1.0"

_WHERE = {
    "diff": "edgekit.differ.compare",
    "export": "edgekit.pipeline.run",
    "load": "edgekit.runtime.model",
    "tune": "edgekit.tuner.tune",
    "BadInput": "edgekit.runtime.errors",
    "CheckFailed": "edgekit.runtime.errors",
    "EdgekitError": "edgekit.runtime.errors",
    "NotPossibleHere": "edgekit.runtime.errors",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import edgekit` costs nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)
