"""auto-round: a language model's weights in 4 bits, rounded up or down by what signed gradients say of each block's output.

AutoRound (Cheng et al. 2023, arXiv 2309.05516) by its authors' own package: layer by layer, offsets of the rounding and the ends of the scales
are tuned until the layer gives what it gave. What comes of it is mapped to whole numbers times scales, which "int4-weights" of the same block
recognises and keeps. Embeddings, head and norms stay as they are.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from edgekit.compress.checks import rounded_otherwise
from edgekit.compress.method import Method, StepContext, Work
from edgekit.config.recipe import MethodSettings
from edgekit.config.search import Integers, Ranges
from edgekit.errors import BadInput, NotPossibleHere
from edgekit.models.facts import ModelFacts
from edgekit.runtime.jsontypes import JsonObject

if TYPE_CHECKING:
    import torch

__all__ = ["METHOD", "Settings", "run"]

NAME = "auto-round"
INSTALL = 'pip install "edgekit[autoround]"'


class Settings(MethodSettings):
    """Round a language model's weights to 4 bits by signed gradients (AutoRound, by its own package)."""

    method: Literal["auto-round"]
    block: Literal[32, 64, 128] = 32
    """Rows of a weight column that share a scale: as [quantize] has it."""
    iterations: int = Field(200, ge=1, le=10_000)
    """Steps of each layer."""
    texts: int = Field(512, ge=1)
    """Windows of training text that it reads, at most."""
    length: int = Field(512, ge=16)
    """Tokens of a window, at most `max_length`."""
    batch: int = Field(8, ge=1)
    """Windows of a step."""


def check(settings: Settings, context: StepContext) -> list[str]:
    """Its package is not there, a later step would undo it, or a target rounds otherwise."""
    faults = [] if find_spec("auto_round") else [f"needs the package auto-round, which is not installed: {INSTALL}"]
    return faults + rounded_otherwise(settings.block, context)


def run(work: Work, settings: Settings) -> JsonObject:
    """Write the checkpoint with rounded weights; returns how many layers were rounded.

    Raises:
        NotPossibleHere: auto-round is not installed.
        BadInput: training rows with fewer tokens than one window.
    """
    import logging

    from accelerate import Accelerator
    from transformers import AutoTokenizer

    from edgekit.models.checkpoint import load, save
    from edgekit.tasks import find_task

    try:
        from auto_round import AutoRound
    except ModuleNotFoundError:
        raise NotPossibleHere("auto-round is not installed", fix=INSTALL) from None
    logging.getLogger("autoround").setLevel(logging.ERROR)
    task = find_task(work.task)
    windows = _windows(work, settings)
    model, tuned = load(work.source, task.auto), load(work.source, task.auto)
    work.progress(0, 1, f"{NAME}: {len(windows)} windows of {windows[0].shape[1]} tokens")
    rounded, _ = AutoRound(
        tuned, AutoTokenizer.from_pretrained(work.source), scheme="W4A16", group_size=settings.block, iters=settings.iterations,
        nsamples=len(windows), seqlen=windows[0].shape[1], batch_size=min(settings.batch, len(windows)), dataset=windows, seed=work.seed,
        device_map=str(Accelerator().device.type), enable_torch_compile=False,
    ).quantize()  # fmt: skip
    count = 0
    for name, module in rounded.named_modules():
        scale = getattr(module, "scale", None)
        if scale is not None:
            count += 1
            _map(model.get_submodule(name), module.weight, scale, settings.block)
    save(model, work.out, tokenizer_files_from=work.source)
    return {"layers": count, "windows": len(windows)}


def _windows(work: Work, settings: Settings) -> list[torch.Tensor]:
    """Training texts one after another, cut into windows of token ids int64 (1, length)."""
    import numpy as np
    import torch

    from edgekit.tasks import find_task
    from edgekit.tasks.encode import encode, read_split

    length = min(settings.length, work.max_length)
    data = encode(work.source, read_split(work.rows, "train"), find_task(work.task), work.max_length)
    ids = np.concatenate([np.asarray(window.ids, dtype=np.int64) for window in data.windows])
    whole = ids[: len(ids) // length * length].reshape(-1, 1, length)
    if not len(whole):
        raise BadInput(
            f"the training rows have {len(ids):,} tokens, fewer than a window of {length}",
            where=f"compress, {NAME}",
            fix="give more text",
        )
    drawn = np.sort(np.random.default_rng(work.seed).permutation(len(whole))[: settings.texts])
    return [torch.from_numpy(whole[number]) for number in drawn]


def _map(module: torch.nn.Module, weight: torch.Tensor, scale: torch.Tensor, block: int) -> None:
    """Put whole numbers times `scale` into `module`, from a `weight` that holds them in fewer bits of mantissa."""
    import torch

    from edgekit.compress.quantization.fake_blocks import fake_blocks

    turned = not isinstance(module, torch.nn.Linear)
    with torch.no_grad():
        columns = (weight.T if turned else weight).float().cpu()
        exact = fake_blocks(columns, scale.float().cpu().reshape(len(columns), -1), block)
        module.get_parameter("weight").copy_(exact.T if turned else exact)


def _rounding(model: ModelFacts) -> Ranges | None:
    """How many steps a layer takes, where its package is there."""
    return {"iterations": Integers(50, 1000, log=True)} if find_spec("auto_round") else None


METHOD = Method(
    name=NAME, version=1, settings=Settings, serves=("decoder",), run=run, check=check,
    search={"rounding": _rounding}, instead='[quantize] with format = "int8"', why="its weights are in 4 bits, which are slower than INT8 there",
)  # fmt: skip
