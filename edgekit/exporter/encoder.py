"""Checkpoint of an encoder -> ONNX: the plain graph as torch exports it, and the same graph with fewer, larger operators.

Both are compared with eager PyTorch over several batch and sequence shapes, padding included, before anything builds on
them.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BadInput
from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.jsontypes import JsonValue

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch
    from transformers import PreTrainedConfig

__all__ = ["FUSED", "OPSET", "export", "to_onnx"]

OPSET = 20
"""Not 23: `quantize_dynamic` of onnxruntime 1.32 rewrites opset 23's Attention into an invalid QAttention."""
FUSED = "fused.onnx"
SAMPLED = 9
"""Tokens of the input that the exporter traces, fewer where the longest input has fewer."""
FEWEST = 2
"""Tokens of the shortest input."""
LARGEST = 1_900_000_000
"""Bytes of weights above which a single protobuf file (2 GiB) cannot hold the model."""


def export(checkpoint: Path, out: Path, *, task: str, max_length: int) -> dict[str, JsonValue]:
    """Write `model.onnx` and `fused.onnx` to `out`.

    Returns the stage's metrics: sizes, node counts, which fusions changed the graph, and the largest difference from eager.

    Raises:
        BadInput: the architecture or task is not supported, or the model is too large for one file.
        CheckFailed: an exported graph differs from eager PyTorch by more than the architecture's tolerance.
    """
    import onnx_ir as ir

    from edgekit.exporter.architectures import exporter_config
    from edgekit.exporter.fusions.fuse import fuse
    from edgekit.exporter.parity import check_parity, feature_feeds
    from edgekit.exporter.probe_attention import with_plain_heads
    from edgekit.models.checkpoint import load, parameters
    from edgekit.models.files import input_names
    from edgekit.models.positions import positions_of
    from edgekit.models.sound_families import fewest_samples, frames_of, reads_samples
    from edgekit.runtime.bundle.names import PREPROCESSOR
    from edgekit.runtime.sound import read_sound
    from edgekit.runtime.waveform import LONGEST_SECONDS
    from edgekit.tasks import encoder_task
    from edgekit.tasks.graph import graph_of

    kind = encoder_task(task)
    source = load(checkpoint, kind.auto)
    tolerance = float(exporter_config(source.config, task).ATOL_FOR_VALIDATION)
    if parameters(source) * 4 > LARGEST:
        raise BadInput("the float32 weights do not fit a single ONNX file of 2 GiB", where=str(checkpoint))
    limit, fewest = positions_of(source.config), FEWEST
    if reads_samples(config := source.config.to_dict()):
        rate = read_sound(checkpoint / PREPROCESSOR).settings.sampling_rate
        max_length, fewest = frames_of(config, int(LONGEST_SECONDS * rate)), fewest_samples(config)
    if limit is not None and max_length > limit:
        raise BadInput(
            f"max_length = {max_length}, but the model has positions for {limit} tokens",
            where="model, max_length",
            fix=f"ask for {limit} or fewer",
        )
    module = graph_of(kind, with_plain_heads(source)).eval()
    names = input_names(checkpoint, pairs=kind.pairs)
    sample = (
        feature_feeds(source.config, names[0])[-1]
        if kind.reads != "text"
        else _sample(source.config, names, min(SAMPLED, max_length))
    )
    model = to_onnx(module, sample, kind.output, max_length, fewest)
    ir.save(model, out / MODEL)
    with _quiet_exporter():
        fusions = fuse(model, max_length)
    ir.save(model, out / FUSED)
    difference_plain, difference_fused = (
        check_parity(module, out / name, names, source.config, max_length, tolerance, per_token=kind.per_token)
        for name in (MODEL, FUSED)
    )
    return {
        "difference_plain": difference_plain,
        "difference_fused": difference_fused,
        "tolerance": tolerance,
        "opset": OPSET,
        "fusions": fusions,
        "operators": dict(sorted(Counter(node.op_type for node in model.graph).items())),
        "bytes": (out / MODEL).stat().st_size,
    }


def to_onnx(module: torch.nn.Module, sample: Mapping[str, Any], output: str, max_length: int, fewest: int = FEWEST) -> ir.Model:
    """`module` as an ONNX model in memory, without the exporter's notes.

    `sample`: its inputs by name, in the order of its arguments, tensors or arrays: int64 (b, s) each, where both axes are dynamic, s up to
    `max_length`; float32 (b, n) samples, where both are too, n from `fewest` on; or float32 (b, ...) of images and features of sounds, where the
    first one is.
    """
    import torch

    from edgekit.onnx_graph.metadata import drop_metadata

    batch, sequence = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("sequence", min=FEWEST, max=max_length)
    samples = torch.export.Dim("samples", min=fewest)
    tensors = {name: torch.as_tensor(given) for name, given in sample.items()}
    with _quiet_exporter(), torch.no_grad():  # what gradients would need is not traced: the same graph, a tenth sooner
        program = torch.onnx.export(
            module,
            tuple(tensors.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(sample),
            output_names=[output],
            dynamic_shapes=tuple(
                {0: batch} if given.ndim > 2 else {0: batch, 1: samples if given.is_floating_point() else sequence}
                for given in tensors.values()
            ),
            verbose=False,
        )
    assert program is not None, "torch.onnx.export with dynamo=True returns a program"
    model = program.model.clone()  # so that new names do not depend on how many the exporter has used and dropped
    drop_metadata(model)
    _name_weights(model.graph, module)
    return model


def _name_weights(graph: ir.Graph, module: torch.nn.Module) -> None:
    """Give the weight of each Linear without a bias its module's path again, which the exporter drops where it turns the weight around:
    by it learned ranges find their layer, and a difference is told. One whose weights another has too keeps its number."""
    import torch

    from edgekit.onnx_graph.initializers import array_of

    paths: dict[tuple[tuple[int, ...], bytes], list[str]] = {}
    for path, linear in module.named_modules():
        if isinstance(linear, torch.nn.Linear) and linear.bias is None and f"{path}.weight" not in graph.initializers:
            turned = linear.weight.detach().T.contiguous().numpy()
            paths.setdefault((turned.shape, sha256(turned.data).digest()), []).append(path)
    for value in list(graph.initializers.values()) if paths else []:
        array = array_of(value)
        if array is None or array.ndim != 2:
            continue
        found = paths.pop((array.shape, sha256(np.ascontiguousarray(array).data).digest()), [])
        if len(found) == 1:
            value.name = f"{found[0]}.weight"


def _sample(config: PreTrainedConfig, names: Sequence[str], length: int) -> dict[str, torch.Tensor]:
    """Two rows of `length` tokens, the second one padded: a mask of ones alone would be traced away."""
    import torch

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, config.vocab_size, (2, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 2 * length // 3 :] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": (torch.arange(length) > 3).long().expand(2, length)}
    return {name: inputs[name] for name in names}


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter's log lines and warnings are kept from the terminal; its errors still raise."""
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
