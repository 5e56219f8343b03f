"""Layout of the labels of a plot: beside their points, clear of one another, of bubbles and of lines. Plain geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Box", "lay_out_labels"]

DIRECTIONS = (0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200, 65, 295, 115, 245)
"""Tried in this order, in degrees: to the right first, where reading goes on."""
GAPS = (5.0, 14.0, 26.0, 42.0, 60.0, 85.0)
ROUNDS = 3
MARGIN = 4.0
OUTSIDE, COVERED, CROSSED, FAR = 5000.0, 20.0, 6.0, 1.5
"""Cost of leaving the frame; of a hidden square point; of a point of line under a label; of a point between label and bubble."""


Line = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Box:
    """An upright rectangle, in points (1/72 inch)."""

    left: float
    low: float
    right: float
    high: float

    def grown(self, by: float) -> Box:
        """The rectangle with a margin of `by` on every side."""
        return Box(self.left - by, self.low - by, self.right + by, self.high + by)

    def overlap(self, other: Box) -> float:
        """Area in common."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        tall = min(self.high, other.high) - max(self.low, other.low)
        return wide * tall if wide > 0 and tall > 0 else 0.0

    def inside(self, other: Box) -> bool:
        """Whether all of it lies in `other`."""
        return other.left <= self.left and self.right <= other.right and other.low <= self.low and self.high <= other.high

    def nearest(self, point: tuple[float, float]) -> tuple[float, float]:
        """The point in it that is closest to `point`."""
        return min(max(point[0], self.left), self.right), min(max(point[1], self.low), self.high)

    def crossed(self, one: tuple[float, float], other: tuple[float, float]) -> float:
        """How much of the line from `one` to `other` lies in it, in points of length."""
        start, end = 0.0, 1.0  # the part of the line inside, by Liang and Barsky 1984
        for at, to, least, most in ((one[0], other[0], self.left, self.right), (one[1], other[1], self.low, self.high)):
            if at == to:
                if not least <= at <= most:
                    return 0.0
                continue
            first, second = sorted(((least - at) / (to - at), (most - at) / (to - at)))
            start, end = max(start, first), min(end, second)
        return math.dist(one, other) * max(end - start, 0.0)


def lay_out_labels(
    points: Sequence[tuple[float, float]],
    radii: Sequence[float],
    sizes: Sequence[tuple[float, float]],
    lines: Sequence[Line],
    frame: Box,
) -> list[Box]:
    """A rectangle for each label: of the candidate positions around its point, the one of lowest cost; all in points (1/72 inch).

    `radii` are the bubbles', `sizes` the labels' (width, height). Labels of small bubbles are placed first, and every label
    is placed ROUNDS times, each time against the current positions of all the others.
    """
    bubbles = [Box(x - r, y - r, x + r, y + r) for (x, y), r in zip(points, radii, strict=True)]
    placed: dict[int, Box] = {}
    order = sorted(range(len(points)), key=lambda index: radii[index])
    for index in order * ROUNDS:
        others = [box.grown(MARGIN) for other, box in placed.items() if other != index]
        blocked = [*lines, *((points[other], box.nearest(points[other])) for other, box in placed.items() if other != index)]
        candidates = [
            (_beside(points[index], radii[index] + gap, sizes[index], math.radians(angle)), gap)
            for gap in GAPS
            for angle in DIRECTIONS
        ]
        costs = []
        for box, gap in candidates:
            leader = (points[index], box.nearest(points[index]))
            hidden = sum(box.overlap(other) for other in others) + sum(box.overlap(other) for other in bubbles) / 2
            crossing = CROSSED * sum(box.crossed(*line) for line in blocked) + COVERED * sum(
                other.crossed(*leader) for other in others
            )
            costs.append(COVERED * hidden + crossing + FAR * gap + (0.0 if box.inside(frame) else OUTSIDE))
        placed[index] = candidates[costs.index(min(costs))][0]
    return [placed[index] for index in range(len(points))]


def _beside(point: tuple[float, float], away: float, size: tuple[float, float], angle: float) -> Box:
    """The label whose nearest edge or corner lies `away` from the point, in direction `angle`."""
    x, y = point[0] + away * math.cos(angle), point[1] + away * math.sin(angle)
    wide, tall = size
    left = x - wide * (1 - math.cos(angle)) / 2
    low = y - tall * (1 - math.sin(angle)) / 2
    return Box(left, low, left + wide, low + tall)
