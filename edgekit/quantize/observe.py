"""Activations of a float32 graph over calibration rows, one row at a time, so that memory holds one row and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.errors import BadInput
from edgekit.progress import Progress
from edgekit.runtime.providers.session import plain_session

__all__ = ["Feed", "Progress", "channel_extremes", "channel_means", "check_feeds", "observer"]

Feed = dict[str, np.ndarray]
"""What one `run` of a session takes: int64 (1, length) under each of the graph's input names."""


def check_feeds(feeds: Sequence[Feed]) -> None:
    """Raise BadInput where no row of `feeds` has a token that the mask keeps."""
    if not feeds or all(not feed["attention_mask"].any() for feed in feeds):
        raise BadInput(
            "no calibration rows with tokens in them", where="calibration", fix="give training rows that have text in them"
        )


def observer(model: ir.Model, names: Sequence[str]) -> Callable[[Feed], list[np.ndarray]]:
    """A function from one row's inputs to the float32 tensors `names` of `model`, in that order."""
    copy = model.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    copy.graph.outputs.clear()
    for name in names:
        values[name].dtype = ir.DataType.FLOAT
        copy.graph.outputs.append(values[name])
    session = plain_session(ir.to_proto(copy).SerializeToString())

    def run(feed: Feed) -> list[np.ndarray]:
        tensors: list[np.ndarray] = session.run(list(names), feed)
        return tensors

    return run


def channel_extremes(model: ir.Model, names: Sequence[str], feeds: Sequence[Feed]) -> dict[str, np.ndarray]:
    """max|x_j| of each channel (last axis) of the tensors `names`, float32 (channels,), over all rows and tokens of `feeds`.

    Raises:
        BadInput: no rows, rows of padding only, or an activation that is not finite.
    """
    found: dict[str, np.ndarray] = {}
    for row in _tokens(model, names, feeds):
        for name, values in row.items():
            largest = np.abs(values).max(axis=0)
            found[name] = np.maximum(found[name], largest) if name in found else largest
    return found


def channel_means(model: ir.Model, names: Sequence[str], feeds: Sequence[Feed]) -> dict[str, np.ndarray]:
    """Mean of each channel (last axis) of the tensors `names`, float64 (channels,), over all rows and tokens of `feeds`.

    Raises:
        BadInput: no rows, rows of padding only, or an activation that is not finite.
    """
    sums: dict[str, np.ndarray] = {}
    counts = dict.fromkeys(names, 0)
    for row in _tokens(model, names, feeds):
        for name, values in row.items():
            sums[name] = sums.get(name, 0.0) + values.sum(axis=0, dtype=np.float64)
            counts[name] += len(values)
    return {name: total / counts[name] for name, total in sums.items()}


def _tokens(model: ir.Model, names: Sequence[str], feeds: Sequence[Feed]) -> Iterator[dict[str, np.ndarray]]:
    """For each row the tensors `names` as (tokens, channels)."""
    check_feeds(feeds)
    if not names:
        return
    run = observer(model, names)
    for feed in feeds:
        row = {name: values.reshape(-1, values.shape[-1]) for name, values in zip(names, run(feed), strict=True)}
        wrong = [name for name, values in row.items() if not np.isfinite(values).all()]
        if wrong:
            raise BadInput(f"activations that are not finite: {', '.join(wrong[:5])}", where="calibration")
        yield row
