"""What a classifier's answers say of its labels: whether they seem to be other ones than the rows'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

__all__ = ["label_doubts"]

FEWEST_ROWS, FEWEST_OF_LABEL = 20, 8
"""Below which nothing is said."""
KNOWN, UNKNOWN = 0.5, 0.05
"""Shares of a label's rows: from the first on the model knows the label, up to the second it does not."""
SURE = 3.0
"""Standard errors by which accuracy lies below the commonest label's share."""
MOST_NAMED = 3


def label_doubts(right: np.ndarray, labels: Sequence[str]) -> list[str]:
    """What is odd of a model that was trained already: it is right less often than always saying the commonest label would be, or on hardly any
    row of a label though it knows another one. Either comes of labels that are numbered or named otherwise than the rows'.

    `right`: (rows,), 1 where the model says the row's label. `labels`: of each row.
    """
    found: list[str] = []
    counts = Counter(labels)
    if len(labels) < FEWEST_ROWS or len(counts) < 2:
        return found
    said = Counter(label for label, one in zip(labels, right, strict=True) if one)
    shares = {label: said[label] / count for label, count in counts.items()}
    (commonest, most), accuracy = counts.most_common(1)[0], float(right.mean())
    share = most / len(labels)
    why = "its labels may be numbered or named otherwise than the rows', or it was trained on other rows (--label says which is which)"
    if accuracy < share - SURE * (share * (1 - share) / len(labels)) ** 0.5:
        found.append(
            f"the original is right on {accuracy:.1%} of {len(labels):,} rows, where always saying {commonest!r} would be right on {share:.1%}: {why}"
        )
    unknown = [label for label, count in counts.items() if count >= FEWEST_OF_LABEL and shares[label] <= UNKNOWN]
    if unknown and not found and max(shares.values()) >= KNOWN:
        named = ", ".join(f"{label!r} ({said[label]:,} of {counts[label]:,})" for label in unknown[:MOST_NAMED])
        more = f" and {len(unknown) - MOST_NAMED} labels more" if len(unknown) > MOST_NAMED else ""
        found.append(f"the original is right on hardly any row with the label {named}{more}: {why}")
    return found
