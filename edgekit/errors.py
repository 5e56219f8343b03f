"""The error tree, as the whole project sees it. It is drawn in `edgekit.runtime.errors`, because devices need it too."""

from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError, Interrupted, NotPossibleHere

__all__ = ["BadInput", "CheckFailed", "EdgekitError", "Interrupted", "NotPossibleHere"]
