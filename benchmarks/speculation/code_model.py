"""The model of code that lookup is measured on: wiki-28m's shape, trained from nothing on Python's own standard library.

    python -m benchmarks.speculation.code_model [--shape ../shared/models/wiki-28m] [--library FOLDER] [--out build/code-28m]
    python -m benchmarks.speculation.compare --code build/code-28m

Texts are the files of `--library`, or those of the library of the Python that runs this, its tests too where they are installed, without the 20
modules that prompts are made of (`texts.MODULES`), on which it is scored. A tokenizer of 8,192 byte pairs is learned from the same files. On an
NVIDIA H200 it takes minutes, on a CPU hours: `--passes 0.01` shows that it runs. Where the minutes end first, it is left as it is then.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks.speculation.texts import MODULES

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[2]
LENGTH, END = 1024, "<|endoftext|>"
RATE, WARM, FLOOR = 2e-3, 0.05, 0.02
"""Highest learning rate, share of the steps in which it rises, and what share of it is left at the end."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--shape", type=Path, default=ROOT / "../shared/models/wiki-28m", help="folder whose config.json it has"
    )
    parser.add_argument("--library", type=Path, default=Path(sysconfig.get_path("stdlib")), help="folder of Python's library")
    parser.add_argument("--out", type=Path, default=ROOT / "build/code-28m")
    parser.add_argument("--passes", type=float, default=7.0, help="over all files")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training, at most")
    parser.add_argument("--batch", type=int, default=16, help=f"windows of {LENGTH} tokens a step")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    train, held = files(asked.library)
    config = json.loads((asked.shape / "config.json").read_text(encoding="utf-8"))
    tokenizer = learned(train, config["vocab_size"])
    tokenizer.save(str(asked.out / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "bos_token": END}
    (asked.out / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    facts = trained(config, joined(tokenizer, train), joined(tokenizer, held), asked.out, asked)
    facts = {"files": len(train), **facts}
    (asked.out / "made.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    print(facts, flush=True)
    return 0


def files(root: Path) -> tuple[list[str], list[str]]:
    """(texts to train on, those of the modules that prompts are made of)."""
    train, held = list[str](), list[str]()
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if {"site-packages", "dist-packages", "__pycache__", "lib2to3"} & {*place.parts} or "bad" in path.name:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        mine = place.stem.removeprefix("test_") in MODULES or place.parts[0] in MODULES  # its tests quote a module
        if str(place) in {f"{name}.py" for name in MODULES}:
            held.append(text)
        elif text.strip() and not mine:
            train.append(text)
    return train, held


def learned(texts: list[str], size: int) -> Tokenizer:
    """Byte pairs of `texts`, the end of a text first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def joined(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    """Ids int64 (n,) of all texts, each ended by token 0."""
    return np.concatenate([np.asarray([*one.ids, 0], dtype=np.int64) for one in tokenizer.encode_batch(texts)])


def trained(
    config: dict[str, object], train: np.ndarray, held: np.ndarray, out: Path, asked: argparse.Namespace
) -> dict[str, object]:
    """Train the model and write it to `out`; returns what it took and how it predicts what it never saw."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = LlamaForCausalLM(LlamaConfig(**config)).to(device)
    groups = [
        {"params": [one for one in model.parameters() if (one.ndim > 1) == wide], "weight_decay": 0.1 * wide}
        for wide in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
    texts, ahead = torch.from_numpy(train).to(device), torch.arange(LENGTH, device=device)
    steps = max(1, round(asked.passes * len(train) / (asked.batch * LENGTH)))
    started, done = time.time(), 0
    for step in range(steps):
        share = max(step / steps, (time.time() - started) / (60 * asked.minutes))  # what ends it first says how far it is
        if share >= 1:
            break
        rate = (
            RATE * min(1.0, (step + 1) / max(1, WARM * steps)) * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids = texts[torch.randint(0, len(texts) - LENGTH, (asked.batch,), device=device)[:, None] + ahead]
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = _loss(model, ids)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done += 1
        if step % 200 == 0:
            print(f"{step} of {steps} steps, loss {loss.item():.3f}, {time.time() - started:.0f} s", flush=True)
    seconds = round(time.time() - started)
    model.eval()
    windows = torch.from_numpy(held[: len(held) // LENGTH * LENGTH].reshape(-1, LENGTH)).to(device)
    with torch.inference_mode():
        lost = [float(_loss(model, windows[start : start + 8])) for start in range(0, len(windows) // 8 * 8, 8)]
    model.to(torch.bfloat16).save_pretrained(out)
    return {
        "tokens_of_text": len(train), "tokens_seen": done * asked.batch * LENGTH, "passes": round(done * asked.batch * LENGTH / len(train), 2),
        "seconds": seconds, "perplexity_unseen": math.exp(sum(lost) / len(lost)) if lost else None,
        "machine": torch.cuda.get_device_name() if device == "cuda" else "CPU",
    }  # fmt: skip


def _loss(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the next tokens of `ids` (n, length)."""
    import torch.nn.functional as F  # noqa: N812

    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


if __name__ == "__main__":
    sys.exit(main())
