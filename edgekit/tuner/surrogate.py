"""What is expected of recipes that nobody tried, by those that were: a Gaussian process, and what its answers may add to a front."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["chance_within", "expected", "expected_gain"]

REACHES = (0.1, 0.3)
"""How fast two recipes are less alike, the more they differ."""
NOISES = (0.003, 0.03, 0.15)
"""Variance of what comes of the same recipe again, as a share of that between recipes."""
SHARES = (0.02, 0.2, 1.0)
"""Variance of what a line through the traits leaves."""
SLOPES = 4.0
"""Variance of what lies on that line."""


def expected(
    apart: NDArray[np.float64], figures: NDArray[np.float64], traits: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(mean, standard deviation) of a figure of recipes that were not tried, given that of n that were.

    `apart`: (all, n), how much each recipe differs from each of the n, which come first of all. `figures`: (n,). `traits`: (all, k) numbers that the
    figure rises or falls with in a line, about; the covariance is then SLOPES z z' / k + share * exp(-reach * apart), z the traits in units
    of their deviation, else exp(-reach * apart). Reach, share and noise are those of the greatest likelihood (Rasmussen and Williams,
    Gaussian Processes for Machine Learning, 5.8), the variance of all is in closed form with one figure of variance 1 before the first.
    """
    count = len(figures)
    middle, spread = figures.mean(), figures.std() or 1.0
    scaled = (figures - middle) / spread
    line = np.zeros_like(apart)
    alone = np.zeros(len(apart))
    if traits is not None:
        deviation = traits[:count].std(axis=0)
        z = (traits - traits[:count].mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
        line, alone = SLOPES * z @ z[:count].T / z.shape[1], SLOPES * (z**2).mean(axis=1)
    best = (-math.inf, np.zeros(0), np.zeros(0))
    for reach in REACHES:
        alike = np.exp(-reach * apart)
        for share, noise in product((1.0,) if traits is None else SHARES, NOISES):
            covariance = line + share * alike
            lower = np.linalg.cholesky(covariance[:count] + (share * noise + 1e-6) * np.eye(count))
            white = np.linalg.solve(lower, scaled)
            variance = (white @ white + 1) / (count + 1)
            likelihood = -count * math.log(variance) / 2 - np.log(np.diag(lower)).sum() - white @ white / variance / 2
            if likelihood > best[0]:
                known = np.linalg.solve(lower, covariance[count:].T)
                left = share + alone[count:] - (known**2).sum(axis=0)
                best = (likelihood, known.T @ white, np.sqrt(np.maximum(left, 1e-8) * variance))
    return middle + spread * best[1], spread * best[2]


def expected_gain(
    front: NDArray[np.float64], worst: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The volume that each candidate is expected to add to what `front` (m, 3) dominates of all that is better than `worst` (3,), where all
    figures are to be low and a candidate's are independent and normal, of `mean` and `deviation` (candidates, 3).

    The front's coordinates cut space into boxes. Of a box that nothing dominates a candidate adds what lies above it in each dimension, whose
    expectation is a product of three (Emmerich, Giannakoglou and Naujoks 2006, on expected hypervolume improvement).
    """
    edges = [np.append(np.unique(front[front[:, at] < worst[at], at]), worst[at]) for at in range(3)]
    lows = [np.append(-np.inf, edge[:-1]) for edge in edges]
    free = np.ones([len(edge) for edge in edges], dtype=bool)
    for point in front:
        one, two, three = (point[at] <= lows[at] for at in range(3))
        free &= ~(one[:, None, None] & two[None, :, None] & three[None, None, :])
    parts = []
    for at, edge in enumerate(edges):
        above = _expected_above(edge[None], mean[:, at : at + 1], deviation[:, at : at + 1])
        parts.append(np.diff(above, axis=1, prepend=0.0))
    gain: NDArray[np.float64] = np.einsum("ni,nj,nk,ijk->n", *parts, free.astype(np.float64), optimize=True)
    return gain


def chance_within(worst: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """How likely each candidate, as in `expected_gain`, is better than `worst` in everything."""
    from scipy.special import ndtr

    found: NDArray[np.float64] = ndtr((worst - mean) / deviation).prod(axis=1)
    return found


def _expected_above(
    edge: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """E max(0, edge - x) of a normal x."""
    from scipy.special import ndtr

    z = (edge - mean) / deviation
    found: NDArray[np.float64] = (edge - mean) * ndtr(z) + deviation * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return found
