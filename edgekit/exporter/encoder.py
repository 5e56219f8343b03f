"""Checkpoint -> ONNX: the plain graph as torch exports it, and the same graph with fewer, larger operators.

Both are compared with eager PyTorch over several batch and sequence shapes, padding included, before anything builds on
them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.errors import BadInput
from edgekit.runtime.bundle.names import MODEL

__all__ = ["FUSED", "OPSET", "export"]

OPSET = 20
"""Not 23: `quantize_dynamic` of onnxruntime 1.32 rewrites opset 23's Attention into an invalid QAttention."""
FUSED = "fused.onnx"
LARGEST = 1_900_000_000
"""Bytes of weights above which a single protobuf file (2 GiB) cannot hold the model."""


def export(checkpoint: Path, out: Path, *, task: str, max_length: int) -> dict[str, Any]:
    """Write `model.onnx` and `fused.onnx` to `out`; returns sizes, node counts and the largest difference from eager.

    Raises:
        BadInput: the architecture or task is not supported, or the model is too large for one file.
        CheckFailed: an exported graph differs from eager PyTorch by more than the architecture's tolerance.
    """
    import torch

    from edgekit.exporter.architectures import exporter_config
    from edgekit.exporter.fusions.fuse import fuse
    from edgekit.exporter.parity import check_parity
    from edgekit.models.checkpoint import load, parameters
    from edgekit.models.files import input_names
    from edgekit.models.positions import positions_of
    from edgekit.tasks import encoder_task
    from edgekit.tasks.graph import graph_of

    kind = encoder_task(task)
    model = load(checkpoint, kind.auto)
    config = exporter_config(model.config, task)
    if parameters(model) * 4 > LARGEST:
        raise BadInput("the float32 weights do not fit a single ONNX file of 2 GiB", where=str(checkpoint))
    limit = positions_of(model.config)
    if limit is not None and max_length > limit:
        raise BadInput(
            f"max_length = {max_length}, but the model has positions for {limit} tokens",
            where="model, max_length",
            fix=f"ask for {limit} or fewer",
        )
    module = graph_of(kind, model).eval()
    names = tuple(input_names(checkpoint, pairs=kind.pairs))
    sample = _sample(model.config, names)
    batch, sequence = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("sequence", min=2, max=max_length)
    with _quiet():
        program = torch.onnx.export(
            module,
            sample,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(names),
            output_names=[kind.output],
            dynamic_shapes={name: {0: batch, 1: sequence} for name in names},
            verbose=False,
        )
    assert program is not None, "torch.onnx.export with dynamo=True returns a program"
    program.save(str(out / MODEL), external_data=False)
    _strip(out / MODEL)
    operators = fuse(out / MODEL, out / FUSED, max_length)
    tolerance = float(config.ATOL_FOR_VALIDATION)
    return {
        "difference_plain": check_parity(
            module, out / MODEL, names, model.config, max_length, tolerance, per_token=kind.per_token
        ),
        "difference_fused": check_parity(
            module, out / FUSED, names, model.config, max_length, tolerance, per_token=kind.per_token
        ),
        "tolerance": tolerance,
        "opset": OPSET,
        "operators": operators,
        "bytes": (out / MODEL).stat().st_size,
    }


def _sample(config: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    """Two rows of nine tokens, the second one padded: a mask of ones alone would be traced away."""
    import torch

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, config.vocab_size, (2, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": (torch.arange(9) > 3).long().expand(2, 9)}
    return tuple(given[name] for name in names)


def _strip(path: Path) -> None:
    """Remove the exporter's stack traces and source paths, which name the building machine."""
    import onnx_ir as ir

    from edgekit.onnx_graph.metadata import drop_metadata

    model = ir.load(path)
    drop_metadata(model)
    ir.save(model, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own chatter, kept from the terminal; its errors still raise."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
