"""Which weights of a decoder deserve 8 bits where the others get 4: those that move next tokens most for their size.

Each weight is rounded alone and the divergence of the next tokens' probabilities is measured, KL(whole || rounded), on calibration rows. The
float32 graph is opened once, with its weights as inputs, so that a rounded one is given in the place of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.errors import BadInput
from edgekit.onnx_graph.linear import linear_nodes
from edgekit.progress import Progress
from edgekit.quantize.observe import decoder_feed
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from edgekit.runtime.providers.session import plain_session

__all__ = ["costliest", "divergences"]

TEXTS, LENGTH = 4, 256
"""Calibration texts that are read, and tokens of each, at most: the divergence of one weight is of the same tokens with and without it."""
LOGITS = "logits"


def divergences(
    source: Path,
    texts: Sequence[np.ndarray],
    rounded: Mapping[str, Callable[[], np.ndarray]],
    scratch: Path,
    progress: Progress,
) -> dict[str, float]:
    """Name of a linear layer -> mean KL(whole || rounded) over tokens, where its weight alone is what `rounded` restores, float32 (in, out).

    `texts`: token ids int64 (tokens,) each.

    Raises:
        BadInput: no texts.
    """
    read = [ids[:LENGTH] for ids in texts if len(ids)][:TEXTS]
    if not read:
        raise BadInput("no calibration rows with tokens in them", where="calibration", fix="give training rows that hold text")
    scratch.mkdir(parents=True, exist_ok=True)
    model = ir.load(source / MODEL)
    linears = [linear for linear in linear_nodes(model.graph) if linear.name in rounded]
    weights, turned = dict[str, np.ndarray](), dict[str, tuple[str, bool]]()
    for linear in linears:
        value = linear.node.inputs[1]
        assert value is not None and value.const_value is not None, "a linear layer has a constant weight"
        name = str(value.name)
        held = np.ascontiguousarray(value.const_value.numpy())
        turned[linear.name] = name, linear.node.op_type == "Gemm" and held.shape != linear.weight.shape
        if name not in weights:
            weights[name] = held
            value.shape, value.dtype = ir.Shape(held.shape), ir.DataType.FLOAT
            del model.graph.initializers[name]
            value.const_value = None
            model.graph.inputs.append(value)
    ir.save(model, scratch / "open.onnx", external_data=f"open-{MODEL_DATA}", size_threshold_bytes=4096)
    session = plain_session(scratch / "open.onnx")
    found = dict.fromkeys(turned, 0.0)
    total = sum(len(ids) for ids in read)
    done = 0
    for ids in read:
        feed = decoder_feed(session, ids, keep=len(ids), given=weights)
        wanted = _log_probabilities(session.run([LOGITS], feed)[0])
        shares = np.exp(wanted)
        for layer, (name, is_turned) in turned.items():
            progress(done, len(read) * len(turned), f"sensitivity: {layer}")
            done += 1
            restored = rounded[layer]()
            given = np.ascontiguousarray(restored.T if is_turned else restored)
            mine = _log_probabilities(session.run([LOGITS], {**feed, name: given})[0])
            found[layer] += float(np.einsum("tv,tv->", shares, wanted - mine)) / total
    return found


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    """float32 (tokens, vocabulary) of `logits` (1, tokens, vocabulary)."""
    flat = logits.reshape(-1, logits.shape[-1])
    flat = flat - flat.max(axis=1, keepdims=True)
    flat -= np.log(np.exp(flat).sum(axis=1, keepdims=True))
    return np.asarray(flat)


def costliest(cost: Mapping[str, float], sizes: Mapping[str, int], share: float) -> list[str]:
    """Names of those that cost most for their size, and are together at most `share` of all sizes."""
    left, found = share * sum(sizes.values()), []
    for name in sorted(sizes, key=lambda one: -cost[one] / sizes[one]):
        if sizes[name] <= left:
            found.append(name)
            left -= sizes[name]
    return found
