"""Which teacher layer each student layer follows; layers are counted from 1, 0 is the embeddings' output."""

from __future__ import annotations

from edgekit.errors import BadInput

__all__ = ["MAPS", "evenly_spaced", "layer_map", "map_faults", "uniform_map"]


def evenly_spaced(count: int, have: int) -> list[int]:
    """`count` of `have` layers, counted from 0, each in the middle of an equal share: what a shallower student starts from."""
    return [(2 * number + 1) * have // (2 * count) for number in range(count)]


def layer_map(kind: str, student: int, teacher: int) -> list[tuple[int, int]]:
    """(student layer, teacher layer) pairs of the map called `kind` for so many layers each.

    Raises:
        BadInput: the map does not exist for these depths.
    """
    if faults := map_faults(kind, student, teacher):
        raise BadInput(faults[0], where="compress, distill, hidden")
    return [(ours, theirs) for ours, theirs in enumerate(MAPS[kind](student, teacher), 1)]


def map_faults(kind: str, student: int | None, teacher: int | None) -> list[str]:
    """Why the map called `kind` does not exist for so many layers; a number that is not known is no fault."""
    if kind in ("skip", "last") and student is not None and student < 2:
        return [f'hidden = "{kind}" leaves out the last layer, and the student has one']
    if kind == "last" and student is not None and teacher is not None and student > teacher:
        return [f"a student of {student} layers has more than its teacher's {teacher}"]
    return []


def uniform_map(student: int, teacher: int) -> list[int]:
    """g(l) = l * N_t / N_s, rounded down, never 0 (Jiao et al. 2020, TinyBERT, section 3.1)."""
    return [max(1, (layer * teacher) // student) for layer in range(1, student + 1)]


def skip_map(student: int, teacher: int) -> list[int]:
    """Every (N_t / N_s)-th layer but the last, which the outputs teach (Sun et al. 2019, PKD-Skip)."""
    return uniform_map(student, teacher)[:-1]


def last_map(student: int, teacher: int) -> list[int]:
    """The layers right below the last, one for each student layer but its last (Sun et al. 2019, PKD-Last)."""
    return list(range(teacher - student + 1, teacher))


MAPS = {"uniform": uniform_map, "skip": skip_map, "last": last_map}
