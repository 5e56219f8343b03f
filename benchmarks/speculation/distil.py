"""Small models that guess what wiki-28m says next, distilled from its logits on texts and on what it writes itself.

    python -m benchmarks.speculation.distil --shapes 1x256 2x256 2x384 --minutes 6 --gpus 0,1

A shape is blocks x hidden size. Each is trained by a process of its own, until so many minutes are over, on windows of wiki-28m's training texts
and on what that model writes after their beginnings, its likeliest tokens or drawn ones, which is what a draft has to guess. Loss: KL divergence
from the larger model's distribution, and the cross-entropy of its likeliest token, which is the one that counts where answers are greedy.
Nothing of the validation texts is read but to score.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from benchmarks.language_compression.texts import LENGTH, documents, windows_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ROOT = Path(__file__).resolve().parents[2]
HEAD = 64
RATE, WARM, LIKELIEST = 2e-3, 200, 0.5
HELD_OUT = 64
"""Beginnings of training documents that nothing is trained on, to score."""


@dataclass(frozen=True)
class Plan:
    """What every process is given."""

    model: Path
    out: Path
    texts: Path
    """Arrays of token ids: `train` int64 (n,), `validation` and what the model writes, int64 (n, length)."""
    until: float
    """`time.time()` at which training ends."""
    batch: int
    """Windows of LENGTH tokens a step, of each kind."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models", help="folder that holds wiki-28m")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data", help="folder that holds wikipedia")
    parser.add_argument("--out", type=Path, default=ROOT / "build/drafts")
    parser.add_argument("--shapes", nargs="+", default=["1x256", "2x256", "2x384"])
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--gpus", default="")
    parser.add_argument("--tokens", type=int, default=7_000_000, help="of the training texts")
    parser.add_argument("--written", type=int, default=24_576, help="texts that the model writes")
    parser.add_argument("--batch", type=int, default=24)
    asked = parser.parse_args()
    until = time.time() + 60 * asked.minutes
    gpus = asked.gpus.split(",") if asked.gpus else [""]
    asked.out.mkdir(parents=True, exist_ok=True)
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[0]
    model = (asked.models / "wiki-28m").resolve()
    texts = asked.out / "texts.npz"
    if not texts.is_file():
        _write_texts(model, asked.data, texts, asked.tokens, asked.written)
    plan = Plan(model, asked.out, texts, until, asked.batch)
    processes = []
    for number, shape in enumerate(asked.shapes):
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        process = multiprocessing.get_context("spawn").Process(target=distil, args=(plan, shape), daemon=True)
        process.start()
        processes.append(process)
    for process in processes:
        process.join()
    return max(abs(process.exitcode or 0) for process in processes)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _loaded(folder: Path) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForCausalLM

    kind = torch.bfloat16 if _device() == "cuda" else torch.float32
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=kind).to(_device()).eval().requires_grad_(False)
    return model


def _write_texts(model: Path, data: Path, out: Path, tokens: int, written: int) -> None:
    """The training texts, and what the model makes of their beginnings."""
    import torch

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    parts, starts, total = list[list[int]](), list[int](), 0
    for text in documents(data / "wikipedia" / "train.jsonl.xz"):
        ids = [*tokenizer.encode(text).ids, 0]
        starts.append(total)
        parts.append(ids)
        total += len(ids)
        if total >= tokens:
            break
    train = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
    teacher, draw = _loaded(model), np.random.default_rng(7)
    began = np.array([start for start, part in zip(starts, parts, strict=True) if len(part) > 128])
    held, began = began[:HELD_OUT], began[HELD_OUT:]
    after = int(held[-1]) + 2048
    anywhere = draw.integers(after, max(after + 1, len(train) - 256), written)
    torch.manual_seed(7)
    made = {"held": _continued(teacher, train[held[:, None] + np.arange(72)], 120, drawn=False)}
    for kind, drawn in (("likeliest", False), ("drawn", True)):
        rows = list[np.ndarray]()
        for number, length in enumerate((24, 48, 72, 96)):
            count = max(1, written // 8)
            first = draw.choice(began, count) if number > 1 else draw.choice(anywhere, count)
            rows.append(_continued(teacher, train[first[:, None] + np.arange(length)], 192 - length, drawn=drawn))
        made[kind] = np.concatenate(rows)
        print(f"{kind}: {made[kind].shape}", flush=True)
    validation = windows_of(tokenizer, data, 64)["Wikipedia, validation"]
    np.savez(out, train=train[after:], validation=validation, **made)  # type: ignore[arg-type]


def _continued(model: PreTrainedModel, prompts: np.ndarray, tokens: int, *, drawn: bool) -> np.ndarray:
    """`prompts` (n, p) and so many tokens after each."""
    import torch

    found = []
    with torch.inference_mode():
        for start in range(0, len(prompts), 512):
            ids = torch.from_numpy(prompts[start : start + 512]).to(_device())
            text, cache = [ids], None
            for _ in range(tokens):
                output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache, logits = output.past_key_values, output.logits[:, -1].float()
                ids = torch.multinomial(logits.softmax(dim=-1), 1) if drawn else logits.argmax(dim=-1, keepdim=True)
                text.append(ids)
            found.append(torch.cat(text, dim=1).cpu().numpy())
    return np.concatenate(found)


def distil(plan: Plan, shape: str) -> None:
    """Train one draft, and write it and what it agrees with to a folder of its name."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    blocks, hidden = map(int, shape.split("x"))
    base = json.loads((plan.model / "config.json").read_text(encoding="utf-8"))
    kept = (
        "vocab_size", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "bos_token_id", "eos_token_id", "hidden_act",
        "rope_parameters", "initializer_range",
    )  # fmt: skip
    config = LlamaConfig(
        **{name: base[name] for name in kept}, hidden_size=hidden, num_hidden_layers=blocks, num_attention_heads=hidden // HEAD,
        num_key_value_heads=max(1, hidden // HEAD // 2) if hidden // HEAD % 2 == 0 else 1, head_dim=HEAD,
        intermediate_size=round(hidden * 2.75 / 32) * 32,
    )  # fmt: skip
    teacher, student = _loaded(plan.model), LlamaForCausalLM(config).to(_device())
    groups = [
        {"params": [one for one in student.parameters() if (one.ndim > 1) == wide], "weight_decay": 0.1 * wide}
        for wide in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
    texts = {name: torch.from_numpy(array).to(_device()) for name, array in np.load(plan.texts).items()}
    started, seen = time.time(), 0
    seconds = max(1.0, plan.until - started)
    for step, ids in enumerate(_batches(texts, plan.batch)):
        done = (time.time() - started) / seconds
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        with torch.no_grad():
            theirs = teacher(input_ids=ids, use_cache=False).logits
        with torch.autocast(_device(), torch.bfloat16, enabled=_device() == "cuda"):
            ours = student(input_ids=ids, use_cache=False).logits
        loss = _loss(ours.flatten(0, 1).float(), theirs.flatten(0, 1).float())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += ids.numel()
        if step % 200 == 0:
            print(f"{shape}: {done:.0%}, {seen / 1e6:.1f} M tokens, loss {loss.item():.3f}", flush=True)
    student.eval()
    same = {name: _agreement(student, teacher, texts[name]) for name in ("validation", "held", "drawn")}
    student.to(torch.bfloat16)
    folder = plan.out / shape
    student.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(plan.model / name, folder / name)
    facts = {"shape": shape, "tokens": seen, "seconds": round(time.time() - started), "agreement": same}
    (folder / "made.json").write_text(json.dumps(facts), encoding="utf-8")
    print(facts, flush=True)


def _batches(texts: dict[str, torch.Tensor], count: int) -> Iterator[torch.Tensor]:
    """Windows of the training texts, of its likeliest continuations, and of its drawn ones, as many tokens of the first as of the two others."""
    import torch

    train = texts["train"]
    ahead = torch.arange(LENGTH, device=train.device)
    while True:
        yield train[torch.randint(0, len(train) - LENGTH, (count,), device=train.device)[:, None] + ahead]
        for name, part in (("likeliest", 0.65), ("drawn", 0.35)):
            rows = texts[name]
            wanted = max(1, round(part * count * LENGTH / rows.shape[1]))
            yield rows[torch.randint(0, len(rows), (wanted,), device=rows.device)]


def _loss(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Of logits (n, vocabulary)."""
    import torch.nn.functional as F  # noqa: N812

    mine, wanted = F.log_softmax(ours, dim=-1), F.log_softmax(theirs, dim=-1)
    divergence = F.kl_div(mine, wanted, reduction="batchmean", log_target=True)
    return divergence + LIKELIEST * F.nll_loss(mine, theirs.argmax(dim=-1))


def _agreement(student: PreTrainedModel, teacher: PreTrainedModel, ids: torch.Tensor) -> float:
    """Share of places in `ids` (n, length) where both think the same token likeliest."""
    import torch

    same = total = 0
    with torch.inference_mode():
        for start in range(0, min(len(ids), 512), 32):
            part = ids[start : start + 32]
            chosen = [model(input_ids=part, use_cache=False).logits.argmax(dim=-1) for model in (student, teacher)]
            same, total = same + int((chosen[0] == chosen[1]).sum()), total + part.numel()
    return same / total


if __name__ == "__main__":
    sys.exit(main())
