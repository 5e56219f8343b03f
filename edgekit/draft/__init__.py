"""What recipe a model and its rows ask for: the task, the columns and the lengths, each seen in the files, with the reason for it."""

from __future__ import annotations

from edgekit.draft.draft import FORMATS, Asked, Draft, draft, is_unedited, told_apart
from edgekit.draft.proven import Budget
from edgekit.draft.seen import TIME, Choice, Seen, Unclear
from edgekit.draft.tasks import kinds_of

__all__ = [
    "FORMATS",
    "TIME",
    "Asked",
    "Budget",
    "Choice",
    "Draft",
    "Seen",
    "Unclear",
    "draft",
    "is_unedited",
    "kinds_of",
    "told_apart",
]
