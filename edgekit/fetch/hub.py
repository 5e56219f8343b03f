"""What the hub says of a model or data set before it is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

from edgekit.fetch.mirror import Kind

__all__ = ["size_on_hub"]

GLANCE = 5.0
"""Seconds that a plan waits for the hub to say how large something is."""


def size_on_hub(kind: Kind, name: str, revision: str | None, patterns: Sequence[str] = ("*",)) -> int | None:
    """Bytes of the files of `name` that `patterns` match, as the hub says; None where it does not answer."""
    from huggingface_hub import HfApi

    api = HfApi()
    ask = api.model_info if kind == "models" else api.dataset_info
    try:
        files = ask(name, revision=revision, files_metadata=True, timeout=GLANCE).siblings or []
    except Exception:  # of the network, the hub's answer, or HF_HUB_OFFLINE, which differ by version; who fetches it says which
        return None
    return sum(file.size or 0 for file in files if any(fnmatch(file.rfilename, pattern) for pattern in patterns))
