"""Activations of a float32 graph over calibration rows, one row at a time, so that memory holds one row and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.errors import BadInput
from edgekit.runtime.providers.session import plain_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["Feed", "channel_extremes", "channel_means", "check_feeds", "decoder_feed", "observer"]

Feed = dict[str, np.ndarray]
"""What one `run` of a session takes: int64 (1, length) under each of the graph's input names, or float32 pixel values."""


def check_feeds(feeds: Sequence[Feed]) -> None:
    """Raise BadInput where no row of `feeds` has a token that the mask keeps."""
    if not feeds or all(not feed.get("attention_mask", np.ones(1)).any() for feed in feeds):
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


def decoder_feed(
    session: InferenceSession, ids: np.ndarray, *, keep: int, given: Mapping[str, np.ndarray] | None = None
) -> Feed:
    """Inputs of a decoder's float32 graph for one text, token ids int64 (n,), with an empty cache: logits of the last `keep` positions.

    `given`: what else the graph takes, by name.
    """
    count = len(ids)
    feed: Feed = {
        "input_ids": ids[None],
        "seqlens_k": np.array([count - 1], dtype=np.int32),
        "total_sequence_length": np.array(count, dtype=np.int32),
        "keep": np.array([keep]),
        **(given or {}),
    }
    inputs = session.get_inputs()
    for item in inputs:
        if item.name.startswith("past."):
            feed[item.name] = np.zeros((1, item.shape[1], count, item.shape[3]), dtype=np.float32)
    return {item.name: feed[item.name] for item in inputs}


def channel_extremes(model: ir.Model, names: Sequence[str], feeds: Sequence[Feed]) -> dict[str, np.ndarray]:
    """max|x_j| of each channel (last axis) of the tensors `names`, float32 (channels,), over all rows and tokens of `feeds`.

    Raises:
        BadInput: no rows, rows of padding only, or an activation that is not finite.
    """
    extremes: dict[str, np.ndarray] = {}
    for row in _tokens(model, names, feeds):
        for name, values in row.items():
            largest = np.abs(values).max(axis=0)
            extremes[name] = np.maximum(extremes[name], largest) if name in extremes else largest
    return extremes


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
