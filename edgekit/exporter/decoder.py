"""Checkpoint of a decoder -> its ONNX graph, compared with eager PyTorch, and the facts that a device generates text by."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.errors import BadInput, CheckFailed
from edgekit.exporter.decoder_graph import write_graph
from edgekit.exporter.head_padding import pad_heads
from edgekit.models.conversations import chat_template, special_tokens
from edgekit.models.decoders import Decoder, describe
from edgekit.models.ends import SETTINGS, ends_of, repetition_penalty_of
from edgekit.models.files import read_json
from edgekit.models.view import view
from edgekit.progress import Progress
from edgekit.runtime.bundle.names import CHAT_TEMPLATE, GENERATION, MODEL, MODEL_DATA
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.providers.session import plain_session

__all__ = ["TOLERANCE", "export_decoder"]

TOLERANCE = 1e-4
"""Largest difference of a logit from eager PyTorch, as a share of the logits' standard deviation where that is above one."""
PARITY_TOKENS = 24
"""Tokens of the longest comparison."""


def export_decoder(checkpoint: Path, out: Path, *, max_length: int, progress: Progress) -> dict[str, JsonValue]:
    """Write `model.onnx`, `model.onnx.data`, `generation.json` and the chat template, if there is one, to `out`.

    Returns the stage's metrics.

    Raises:
        BadInput: an unknown or unserved architecture, or `max_length` beyond the model's positions.
        CheckFailed: the graph's logits differ from eager PyTorch's.
    """
    decoder = describe(checkpoint)
    if max_length > decoder.context:
        raise BadInput(
            f"max_length = {max_length}, but the model was made for {decoder.context} tokens",
            where="model, max_length",
            fix=f"ask for {decoder.context} or fewer",
        )
    write_graph(decoder, out, progress)
    template = chat_template(checkpoint)
    if template is not None:
        (out / CHAT_TEMPLATE).write_text(template, encoding="utf-8", newline="")
    facts = _generation_facts(checkpoint, decoder, max_length, has_template=template is not None)
    (out / GENERATION).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    difference = _check_parity(checkpoint, out, decoder, min(PARITY_TOKENS, max_length))
    return {
        "difference": difference,
        "tolerance": TOLERANCE,
        "bytes": sum((out / name).stat().st_size for name in (MODEL, MODEL_DATA)),
    }


def _generation_facts(checkpoint: Path, decoder: Decoder, max_length: int, *, has_template: bool) -> JsonObject:
    """What `generation.json` says, which edgekit.runtime.generate reads."""
    config = read_json(checkpoint / "config.json")
    settings = checkpoint / SETTINGS
    generation = read_json(settings) if settings.is_file() else None
    ends, penalty = ends_of(config, generation), repetition_penalty_of(config, generation)
    if ends.faults:
        raise BadInput("ids that are none", where=str(checkpoint), faults=ends.faults)
    ends = ends.within(min(_tokens(checkpoint), decoder.vocabulary))
    first = pad_heads(decoder).layers[0].attention
    return {
        "context": max_length,
        "eos": list(ends.eos),
        "bos": ends.bos,
        "layers": len(decoder.layers),
        "kv_heads": first.kv_heads,
        "head_size": first.head_size,
        "chat_template": CHAT_TEMPLATE if has_template else None,
        **({} if penalty is None else {"repetition_penalty": penalty}),
        **({"special_tokens": special_tokens(checkpoint)} if has_template else {}),
    }


def _tokens(checkpoint: Path) -> int:
    """Ids that the tokenizer of a checkpoint knows."""
    from tokenizers import Tokenizer

    return max(Tokenizer.from_file(str(checkpoint / "tokenizer.json")).get_vocab().values(), default=-1) + 1


def _check_parity(checkpoint: Path, out: Path, decoder: Decoder, length: int) -> float:
    """Largest difference of a logit: a prompt in one run, and the same as half of it in one run and then token by token.

    Raises:
        CheckFailed: a difference of more than the tolerance.
    """
    ids = np.random.default_rng(0).integers(0, decoder.vocabulary, (1, length))
    expected = _eager_logits(checkpoint, ids)  # and the model is gone before ONNX Runtime maps its own copy of the weights
    scale = max(1.0, float(expected.std()))
    worst = 0.0
    for steps in ([length], [length // 2, *[1] * (length - length // 2)]):
        actual = _graph_logits(out, ids, steps)
        difference = float(np.abs(actual - expected).max()) / scale
        if not difference <= TOLERANCE:
            raise CheckFailed(
                f"logits differ from eager PyTorch by {difference:.2g}, more than {TOLERANCE:g}, read in steps of {steps[:3]}",
                where=str(out / MODEL),
                fix="this is a fault of edgekit or of the model's description: please report the model's config.json",
            )
        worst = max(worst, difference)
    return worst


def _eager_logits(checkpoint: Path, ids: np.ndarray) -> np.ndarray:
    """Logits float32 (1, length, vocabulary) of the checkpoint for `ids` int64 (1, length)."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # edgekit has its own
    try:
        with view(checkpoint) as seen:
            model = AutoModelForCausalLM.from_pretrained(
                seen, dtype=torch.float32, local_files_only=True, trust_remote_code=False
            ).eval()
    finally:
        if bars:
            logging.enable_progress_bar()
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(ids), use_cache=False).logits.numpy().copy()
    del model
    gc.collect()
    return np.asarray(logits)


def _graph_logits(out: Path, ids: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Logits float32 (1, length, vocabulary) of the exported graph for `ids` int64 (1, length), in runs of `steps` tokens."""
    # Packed weights would be a second copy of them all.
    session = plain_session(out / MODEL, config={"session.disable_prepacking": "1"})
    past = {
        item.name: np.zeros((1, item.shape[1], ids.shape[1], item.shape[3]), dtype=np.float32)
        for item in session.get_inputs()
        if item.name.startswith("past.")
    }
    pieces, start = [], 0
    for count in steps:
        end = start + count
        feed = {
            "input_ids": ids[:, start:end], "seqlens_k": np.array([end - 1], dtype=np.int32),
            "total_sequence_length": np.array(end, dtype=np.int32), "keep": np.array([count]),
        }  # fmt: skip
        logits, *present = session.run(None, {**feed, **past})
        past = dict(zip(past, present, strict=True))
        pieces.append(logits)
        start = end
    return np.concatenate(pieces, axis=1)
