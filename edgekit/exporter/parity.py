"""Does the exported graph compute what eager PyTorch computes? Checked over shapes that break careless exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import BadInput, CheckFailed
from edgekit.models.image_families import size_read
from edgekit.models.sound_families import fewest_samples, reads_samples
from edgekit.runtime.pixels import PIXEL_VALUES
from edgekit.runtime.providers.session import plain_session
from edgekit.runtime.sound import INPUT_FEATURES

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

__all__ = ["check_parity", "feature_feeds", "token_feeds"]

Feed = dict[str, np.ndarray]
SOUNDS = ((1, 1, 0), (1, 500, 3), (5, 7, 1), (2, 33, 5))
"""(sounds in a batch, frames of each, samples beyond these): one frame, ten seconds of the published models, batches."""


def token_feeds(config: PreTrainedConfig, max_length: int) -> Iterator[Feed]:
    """Inputs of an encoder of texts, int64 (b, s) each: one row, a batch with padding, the shortest and the longest input."""
    generator = np.random.default_rng(0)
    for batch, sequence in (
        (1, 2),
        (1, min(11, max_length)),
        (2, min(7, max_length)),
        (5, min(33, max_length)),
        (2, max_length),
    ):
        ids = generator.integers(0, config.vocab_size, (batch, sequence))
        mask = np.ones_like(ids)
        for row in range(1, batch):
            mask[row, max(1, sequence - row * sequence // (batch + 1)) :] = 0
        ids = np.where(mask == 1, ids, max(0, getattr(config, "pad_token_id", None) or 0))
        segments = (np.arange(sequence) > sequence // 3).astype(np.int64) * mask
        yield {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}


def feature_feeds(config: PreTrainedConfig, name: str) -> list[Feed]:
    """Inputs of an encoder of images or sounds called `name`, float32 (b, ...): one, and batches of them; of samples the shortest and a long one."""
    generator = np.random.default_rng(0)
    if reads_samples(config.to_dict()):
        sizes = [(batch, fewest_samples(config.to_dict(), frames) + more) for batch, frames, more in SOUNDS]
        return [{name: generator.normal(size=size).astype(np.float32)} for size in sizes]
    return [{name: generator.normal(size=(batch, *_shape(config, name))).astype(np.float32)} for batch in (1, 5, 2)]


def _shape(config: PreTrainedConfig, name: str) -> tuple[int, ...]:
    """(channels, height, width) of an image, (frames, bins) or (bins, frames) of a sound's features."""
    if name == PIXEL_VALUES:
        return (getattr(config, "vision_config", config).num_channels, *size_read(config.to_dict()))
    if name == INPUT_FEATURES:
        return config.num_mel_bins, 2 * config.max_source_positions  # its second convolution halves them
    return config.max_length, config.num_mel_bins


def check_parity(
    module: torch.nn.Module, path: Path, names: Sequence[str], config: PreTrainedConfig, max_length: int, tolerance: float, *,
    per_token: bool,
) -> float:  # fmt: skip
    """Largest absolute difference of any output of ONNX file `path` from eager `module`, which take inputs called `names`.

    Where each token has an output (`per_token`), those of padding do not count. Outputs above 1 in size, such as prices or logits of a
    model that is very sure, may differ by `tolerance` of the largest of them: float32 holds seven digits of each.

    Raises:
        BadInput: PyTorch itself cannot run the model, as where config.json asks for another size than a tensor has.
        CheckFailed: the difference exceeds `tolerance`, or an output is not finite.
    """
    import torch

    feeds = token_feeds(config, max_length) if "input_ids" in names else feature_feeds(config, names[0])
    session = plain_session(path)
    worst, faults = 0.0, []
    for inputs in feeds:
        feed = {name: inputs[name] for name in names}
        try:
            with torch.inference_mode():
                expected = module(*(torch.from_numpy(array) for array in feed.values())).numpy()
        except (IndexError, RuntimeError, ValueError) as fault:
            raise BadInput(
                f"transformers fails on an input of {feed[names[0]].shape[1]} tokens: {type(fault).__name__}: {str(fault)[:200]}",
                where=config.name_or_path,
                fix="correct config.json, which must belong to the weights, or ask for a shorter max_length",
            ) from None
        actual = session.run(None, feed)[0]
        counted = inputs["attention_mask"].astype(bool) if per_token and "attention_mask" in inputs else slice(None)
        finite = actual.shape == expected.shape and np.isfinite(actual).all()
        difference = float(np.abs(actual[counted] - expected[counted]).max()) if finite else float("inf")
        worst = max(worst, difference)
        if not difference <= tolerance * max(1.0, float(np.abs(expected[counted]).max(initial=0.0))):
            shape = feed[names[0]].shape
            faults.append(
                f"batch {shape[0]}, sequence {shape[1]}: largest difference {difference:.3g}"
                if len(shape) == 2
                else f"batch {shape[0]}: largest difference {difference:.3g}"
            )
    if faults:
        raise CheckFailed(
            f"the exported graph differs from eager PyTorch by more than {tolerance:g}, or that share of the largest output",
            where=str(path),
            faults=faults,
        )
    return worst
