"""Which parts leave the tolerance.

Three rules, each read off a part's own error. A part leaves the tolerance
- where its own error is more than the tolerance: what the bundle's target allows its outputs elsewhere as a share of their spread, or
  `FLOAT32` where nothing in the graph is in fewer bits than float32. It is raised to `USUAL` times what most parts of this bundle have, because
  4-bit weights may cost every part as much, where most parts keep it as it was, or the bundle was trained to be another function inside; never
  beyond `MOST`, as a part that is off by its whole spread is nothing of what it stands for;
- where it is `JUMP` times that of the same part of the other layers: rounding costs all layers about the same, a fault is in one; `SAME_JUMP`
  times where it is the same in every token, as of a bias: of what rounding costs, a quarter is at most;
- where one channel alone is off by `CHANNEL` of its spread, and holds most of the error: a wrong scale, a wrong bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.differ.errors import PartError
from edgekit.differ.parts import Part, in_order

__all__ = ["Rules", "Verdict", "judge", "rules_for"]

FLOAT32 = 1e-3
"""Share of the spread by which float32 kernels may differ; they do by a hundredth of it."""
JUMP, SAME_JUMP = 5.0, 3.0
SAME, SAME_TOKENS = 0.9, 8
"""Share of the squared error that has to be the same in every token, of at least so many."""
USUAL, MOST = 3.0, 1.0
LEAST = {True: 0.005, False: 1e-4}
"""Errors below are rounding's, whatever the other layers have; by whether the bundle rounds."""
CHANNEL = 0.3
CHANNEL_TIMES = 8.0
"""Times the error of the whole part."""


@dataclass(frozen=True)
class Rules:
    """What a part's own error is held against."""

    tolerance: float
    """Share of the spread."""
    rounds: bool
    reason: str
    """Why the tolerance is what it is."""
    raised: str
    """Why it is more than what the target grants, in few words; empty where it is not."""
    usual: float
    """What most parts differ by: the median of their own errors."""
    beyond: bool
    """Whether most parts leave what the target grants."""
    loose: bool
    """Whether few bits, or steps of a recipe, say why all parts differ."""


@dataclass(frozen=True)
class Verdict:
    """Why a part leaves the tolerance."""

    part: Part
    why: str


def rules_for(
    errors: Mapping[Part, PartError], granted: float, *, rounds: bool, few_bits: bool, target: str, trained: Sequence[str]
) -> Rules:
    """The rules for `errors`. `granted`: what `target` allows, a share of the spread; `few_bits`: weights are in fewer than 8; `trained`: the
    steps of its recipe after which its parts need not compute what the reference's do."""
    granted, loose = min(granted, MOST), few_bits or bool(trained)
    usual = float(np.median([one.error for one in errors.values()])) if errors else 0.0
    whose = f"what {target} grants golden outputs elsewhere" if rounds else "what kernels of float32 may differ by"
    beyond, raised = bool(usual > granted), min(USUAL * usual, MOST)
    if beyond and not trained:
        reason = f"{whose}; most parts differ by more ({share(usual)} is usual), so that it is not one place that is wrong"
        return Rules(granted, rounds, reason, "", usual, beyond, loose)
    if not loose or raised <= granted or not np.isfinite(usual):
        return Rules(granted, rounds, whose, "", usual, beyond, loose)
    made = (
        f"its recipe ({', '.join(trained)}) made other functions of its parts"
        if trained
        else "few bits cost all parts about as much"
    )
    times = f"{USUAL:g} times what most parts differ by ({share(usual)})" if raised < MOST else "a part's whole spread"
    return Rules(raised, rounds, f"{times}, as {made}; {whose} is {share(granted)}", f"as {made}", usual, beyond, loose)


def judge(errors: Mapping[Part, PartError], rules: Rules) -> list[Verdict]:
    """The parts that leave the tolerance, in the order in which data passes them."""
    found = []
    for part in in_order(errors):
        one = errors[part]
        peers = [other.error for at, other in errors.items() if at.kind == part.kind and at != part]
        others = float(np.median(peers)) if peers else rules.usual
        why = _why(one, others, rules, peers=bool(peers))
        if why:
            found.append(Verdict(part, why))
    return found


def _why(one: PartError, others: float, rules: Rules, *, peers: bool) -> str:
    least = LEAST[rules.rounds]
    if not np.isfinite(one.error):
        return "values that are not finite"
    if one.error > rules.tolerance:
        return f"its own error is {share(one.error)} of the spread, more than the tolerance of {share(rules.tolerance)}"
    jump = SAME_JUMP if one.constant > SAME and one.tokens >= SAME_TOKENS else JUMP
    if one.error > least and one.error > jump * others:
        than = "the same part of the other layers" if peers else "most parts"
        return f"its own error is {share(one.error)} of the spread, {one.error / max(others, 1e-9):.3g} times that of {than}"
    if one.channel_error > max(CHANNEL if rules.rounds else rules.tolerance, CHANNEL_TIMES * one.error) and one.channels > 1:
        return f"channel {one.channel} alone is off by {share(one.channel_error)} of its spread"
    return ""


def share(value: float) -> str:
    """A share as a percentage of two or three figures."""
    if not np.isfinite(value):
        return "n/a"
    percent = value * 100
    if percent == 0 or percent >= 9.95:
        return f"{percent:,.0f}%"
    return f"{percent:.2g}%" if percent >= 0.01 else f"{percent:.0e}%".replace("e-0", "e-")
