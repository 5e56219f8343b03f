"""What the hub says of a model or data set before it is fetched, and whether it answers at all."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

from edgekit.fetch.mirror import Kind

__all__ = ["first_answer", "in_words", "size_on_hub"]

GLANCE = 5.0
"""Seconds that a plan waits for the hub to say how large something is."""


ANSWER = 10.0
"""Seconds that the hub has for its first answer, as huggingface_hub has it for files; to what it holds it would wait without an end."""
REFUSALS = {
    "GatedRepo": "who wants it must first agree to its licence there, and HF_TOKEN say who asks",
    "RevisionNotFound": "it has no such revision",
    "RepositoryNotFound": "it has no such {what}, or shows it only to those whom HF_TOKEN lets see it",
    "RepoNotFound": "it has no such {what}",
    "HFValidation": "that is no name of a {what} there",
    "OfflineMode": "HF_HUB_OFFLINE is set",
    "LocalEntryNotFound": "it does not answer, and the {what} was not fetched before",
    "Timeout": "it does not answer in time",
    "Connect": "it does not answer",
}
"""Part of the name of an error of huggingface_hub or of what it asks the network with -> what it means."""
WHAT: dict[Kind, str] = {"models": "model", "datasets": "data set"}


def first_answer(kind: Kind, name: str, revision: str | None, patterns: Sequence[str] = ("*",)) -> int | Exception:
    """Bytes of the files of `name` that `patterns` match, as the hub says before they are fetched; or the error of who asks it."""
    try:
        return _size(kind, name, revision, patterns, ANSWER)
    except Exception as fault:  # huggingface_hub raises its own, requests' and httpx' errors, which differ by version
        return fault


def in_words(kind: Kind, fault: BaseException) -> str:
    """Why the hub did not give something, as a person says it."""
    names = [one.__name__ for one in type(fault).__mro__]
    for part, words in REFUSALS.items():
        if any(part in name for name in names):
            return words.format(what=WHAT[kind])
    return f"{fault}".partition("\n")[0][:200] or names[0]


def size_on_hub(kind: Kind, name: str, revision: str | None, patterns: Sequence[str] = ("*",)) -> int | None:
    """Bytes of the files of `name` that `patterns` match, as the hub says; None where it does not answer."""
    try:
        return _size(kind, name, revision, patterns, GLANCE)
    except Exception:  # of the network, the hub's answer, or HF_HUB_OFFLINE, which differ by version; who fetches it says which
        return None


def _size(kind: Kind, name: str, revision: str | None, patterns: Sequence[str], seconds: float) -> int:
    from huggingface_hub import HfApi

    api = HfApi()
    ask = api.model_info if kind == "models" else api.dataset_info
    files = ask(name, revision=revision, files_metadata=True, timeout=seconds).siblings or []
    return sum(file.size or 0 for file in files if any(fnmatch(file.rfilename, pattern) for pattern in patterns))
