"""Checkpoint of a decoder -> its ONNX graph, compared with eager PyTorch, and what a device must know to make text with it."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import BadInput, CheckFailed
from edgekit.exporter.decoder_graph import write_graph
from edgekit.models.decoders import Decoder, describe
from edgekit.models.files import read_json
from edgekit.progress import Progress
from edgekit.runtime.bundle.names import CHAT_TEMPLATE, GENERATION, MODEL, MODEL_DATA
from edgekit.runtime.providers.session import plain_session

__all__ = ["TOLERANCE", "export_decoder"]

TOLERANCE = 1e-4
"""Largest difference of a logit from eager PyTorch, as a share of the logits' standard deviation where that is above one."""
MOST = 24
"""Tokens of the longest comparison."""


def export_decoder(checkpoint: Path, out: Path, *, max_length: int, progress: Progress) -> dict[str, Any]:
    """Write `model.onnx`, `model.onnx.data`, `generation.json` and the chat template, if there is one, to `out`.

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
    facts = _generation(checkpoint, decoder, out, max_length)
    (out / GENERATION).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    difference = _parity(checkpoint, out, decoder, min(MOST, max_length))
    return {
        "difference": difference,
        "tolerance": TOLERANCE,
        "bytes": sum((out / name).stat().st_size for name in (MODEL, MODEL_DATA)),
    }


def _generation(checkpoint: Path, decoder: Decoder, out: Path, max_length: int) -> dict[str, Any]:
    from edgekit.exporter.head_padding import padded

    config = read_json(checkpoint / "config.json")
    beside = checkpoint / "generation_config.json"
    given = (read_json(beside) if beside.is_file() else {}).get("eos_token_id", config.get("eos_token_id"))
    ends = [] if given is None else [given] if isinstance(given, int) else list(given)
    template = _template(checkpoint)
    if template is not None:
        (out / CHAT_TEMPLATE).write_text(template, encoding="utf-8")
    first = padded(decoder).layers[0].attention
    return {
        "context": max_length,
        "eos": ends,
        "bos": config.get("bos_token_id"),
        "layers": len(decoder.layers),
        "kv_heads": first.kv_heads,
        "head_size": first.head_size,
        "chat_template": CHAT_TEMPLATE if template is not None else None,
    }


def _template(checkpoint: Path) -> str | None:
    if (checkpoint / CHAT_TEMPLATE).is_file():
        return (checkpoint / CHAT_TEMPLATE).read_text(encoding="utf-8")
    path = checkpoint / "tokenizer_config.json"
    found = read_json(path).get("chat_template") if path.is_file() else None
    return found if isinstance(found, str) else None


def _parity(checkpoint: Path, out: Path, decoder: Decoder, length: int) -> float:
    """Largest difference of a logit: a prompt at once, the same in two chunks, then token by token."""
    ids = np.random.default_rng(0).integers(0, decoder.vocabulary, (1, length))
    wanted = _eager(checkpoint, ids)  # and the model is gone before ONNX Runtime maps its own copy of the weights
    spread = max(1.0, float(wanted.std()))
    worst = 0.0
    for steps in ([length], [length // 2, *[1] * (length - length // 2)]):
        found = _run(out, ids, steps)
        difference = float(np.abs(found - wanted).max()) / spread
        if not difference <= TOLERANCE:
            raise CheckFailed(
                f"logits differ from eager PyTorch by {difference:.2g}, more than {TOLERANCE:g}, read in steps of {steps[:3]}",
                where=str(out / MODEL),
                fix="this is a fault of edgekit or of the model's description: please report the model's config.json",
            )
        worst = max(worst, difference)
    return worst


def _eager(checkpoint: Path, ids: np.ndarray) -> np.ndarray:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # edgekit has its own
    try:
        model = AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        ).eval()
    finally:
        if bars:
            logging.enable_progress_bar()
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(ids), use_cache=False).logits.numpy().copy()
    del model
    gc.collect()
    return np.asarray(logits)


def _run(out: Path, ids: np.ndarray, steps: list[int]) -> np.ndarray:
    """Logits float32 (1, length, vocabulary) of the exported graph, read in `steps`."""

    # Packed weights would be a second copy of them all.
    session = plain_session(out / MODEL, config={"session.disable_prepacking": "1"})
    past = {
        item.name: np.zeros((1, item.shape[1], ids.shape[1], item.shape[3]), dtype=np.float32)
        for item in session.get_inputs()
        if item.name.startswith("past.")
    }
    found, start = [], 0
    for count in steps:
        end = start + count
        feed = {
            "input_ids": ids[:, start:end], "seqlens_k": np.array([end - 1], dtype=np.int32),
            "total_sequence_length": np.array(end, dtype=np.int32), "keep": np.array([count]),
        }  # fmt: skip
        logits, *present = session.run(None, {**feed, **past})
        past = dict(zip(past, present, strict=True))
        found.append(logits)
        start = end
    return np.concatenate(found, axis=1)
