"""How weights in 4 bits are rounded best, and which are worth 8: perplexity of wiki-28m with rounded weights, in torch, on a GPU.

    python -m benchmarks.language_quality.bits [--minutes 8] [--windows 2000] [--models ../shared/models] [--data ../shared/data]

Every way is GPTQ on windows of Wikipedia's training text and what is added to it; the embedding, which is the head too, has 8 bits in blocks
of 32 in all of them. Activations stay in float32, which ONNX Runtime's `accuracy_level` 4 changes by nothing that can be told (trained.json).
Scored on Wikipedia's validation documents and Wikitext-2's test text. What is scored already is not scored again. Writes bits.json beside
this file, or in `--out`.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from benchmarks.pages import perplexity_change, write_results
from edgekit.quantize.blocks import SHARES, quantize_blocks
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.tasks.decoders.text_generation import mean_probability

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONTEXT, SEED = 512, 7
TABLE = "the table"
STEPS = 200
"""Of AutoRound, in each layer: its own default."""
WIKIPEDIA, WIKITEXT = "Wikipedia, training", "Wikitext-2, validation"


@dataclass(frozen=True)
class Way:
    """How the weights of the blocks are rounded."""

    name: str
    bits: int = 4
    block: int = 32
    gptq: bool = True
    damping: float = 0.01
    rows: int = 128
    """Calibration windows."""
    ordered: bool = False
    """Inputs of the largest sums of squares first; each block's scale is found before."""
    weighed: bool = False
    """Scales by squared errors over the inverse Hessian's diagonal, which is what GPTQ makes up for."""
    rounds: int = 0
    """Times that scales are solved for and whole numbers go to their best one by one, after GPTQ."""
    followed: bool = False
    """A layer is calibrated on what the rounded layers before it give."""
    eight: tuple[str, ...] = ()
    """Ends of names of the weights that get 8 bits."""
    share: float | None = None
    """Of the blocks' weights, how much gets 8 bits: those that cost most for their size, each rounded alone."""
    read: str = WIKIPEDIA
    """The text that is calibrated on."""
    library: str | None = None
    """The package whose weights these are, as it leaves them ("auto_round"), or that scales them before they are clipped ("llmcompressor",
    AWQ); a way whose package is not there is left out."""


BEST = Way("best", weighed=True, rounds=4)
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SHARES_OF_8 = (0.1, 0.2, 0.3, 0.5, 0.7, 0.05, 0.4)
WAYS = (
    Way("8 bits", bits=8, gptq=False),
    Way("8 bits, blocks of 128", bits=8, block=128, gptq=False),
    Way("clip", gptq=False),
    Way("GPTQ"),
    replace(BEST, name="GPTQ, weighed scales, 4 rounds after"),
    *(replace(BEST, name=f"all, {share:.0%} in 8 bits", share=share) for share in SHARES_OF_8),
    replace(BEST, name="all, calibrated on Wikitext-2", read=WIKITEXT),
    replace(BEST, name="all, blocks of 128", block=128),
    *(replace(BEST, name=f"all, blocks of 128, {share:.0%} in 8 bits", block=128, share=share) for share in SHARES_OF_8[:5]),
    Way("AWQ, clipped", gptq=False, library="llmcompressor"),
    Way("AutoRound, 200 steps", gptq=False, library="auto_round"),
    *(replace(BEST, name=f"all, {kind} in 8 bits", eight=(kind,)) for kind in reversed(KINDS)),
    *(replace(BEST, name=f"all, layer {layer} in 8 bits", eight=(f"layers.{layer}.",)) for layer in range(8)),
    replace(BEST, name="all, 512 windows", rows=512),
    replace(BEST, name="all, following", followed=True),
    Way("GPTQ, weighed scales", weighed=True),
    Way("GPTQ, 4 rounds after", rounds=4),
    Way("GPTQ, by size", ordered=True),
    Way("GPTQ, following", followed=True),
    Way("GPTQ, calibrated on Wikitext-2", read=WIKITEXT),
    replace(BEST, name="all, blocks of 64", block=64),
    replace(BEST, name="all, following, 512 windows", followed=True, rows=512),
    Way("GPTQ, damping 0.001", damping=0.001),
    Way("GPTQ, damping 0.1", damping=0.1),
    Way("GPTQ, 512 windows", rows=512),
    Way("GPTQ, 2048 windows", rows=2048),
    replace(BEST, name="all, by size", ordered=True),
    replace(BEST, name="all, 16 rounds", rounds=16),
    replace(BEST, name="all, 2048 windows", rows=2048),
)  # fmt: skip
"""In order of worth."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models", help="folder that holds wiki-28m")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data", help="folder of wikipedia and wikitext2")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--windows", type=int, default=2000, help="of each text, at most")
    parser.add_argument("--only", nargs="+", help="names of the ways that are wanted")
    asked = parser.parse_args()
    until = time.time() + 60 * asked.minutes
    study = Study((asked.models / "wiki-28m").resolve(), asked.data, asked.windows)
    path = asked.out / "bits.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    base = study.scores()
    ways = document.setdefault("ways", {})
    for way in WAYS:
        if way.name in ways or (asked.only and way.name not in asked.only) or time.time() > until:
            continue
        if way.library is not None and find_spec(way.library) is None:
            continue
        started = time.time()
        try:
            sizes = study.round(way)
        except Exception as fault:  # a package's own, of any kind; the other ways go on
            if way.library is None:
                raise
            print(way.name, type(fault).__name__, fault, flush=True)
            continue
        scores = study.scores()
        ways[way.name] = {
            "bits_a_weight": sizes, "texts": {name: told(base[name], scores[name]) for name in base},
            "divergence": study.divergence(), "seconds": round(time.time() - started, 1),
        }  # fmt: skip
        print(way.name, ways[way.name], flush=True)
        document |= {
            "command": "python -m benchmarks.language_quality.bits", "machine": study.machine,
            "alone": study.alone, "windows": {name: len(scores) for name, scores in base.items()},
            "perplexity": {name: 1 / mean_probability(scores) for name, scores in base.items()},
        }  # fmt: skip
        write_results(path, document)
    return 0


def told(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """Change of perplexity, with an interval over windows."""
    value, low, high = perplexity_change(paired_difference(before, after, SEED, mean_probability)["ratio"])
    return {"change": value, "ci95": [low, high]}


class Study:
    """wiki-28m, what it reads, and its weights as they were."""

    def __init__(self, checkpoint: Path, data: Path, windows: int) -> None:
        import torch

        from edgekit.models.checkpoint import load
        from edgekit.models.stack import blocks_of, layer_linears

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.machine = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        self.texts = {name: torch.from_numpy(ids).to(self.device) for name, ids in texts_of(tokenizer, data, windows)}
        train = (
            ids for text in _lines(data / "wikipedia" / "train.jsonl.xz") if len(ids := tokenizer.encode(text).ids) >= CONTEXT
        )
        rows = np.asarray([ids[:CONTEXT] for ids in islice(train, max(way.rows for way in WAYS) + 32)])
        other = (data / "wikitext2" / "valid.txt").read_text(encoding="utf-8")
        beside = _windows(tokenizer, iter([other]))
        drawn = np.random.default_rng(SEED).permutation(len(beside))
        read = {WIKIPEDIA: rows[32:], WIKITEXT: beside[drawn]}
        self.rows = {name: torch.from_numpy(part).to(self.device) for name, part in read.items()}
        self.judged = torch.from_numpy(rows[:32]).to(self.device)
        self.checkpoint = checkpoint
        self.model: PreTrainedModel = load(checkpoint, "AutoModelForCausalLM").to(self.device).requires_grad_(False)
        self.layers = [list(layer.values()) for layer in layer_linears(blocks_of(self.model))]
        names = {id(module): name for name, module in self.model.named_modules()}
        self.modules = {names[id(module)]: module for layer in self.layers for module in layer}
        self.whole = {name: module.weight.clone() for name, module in self.modules.items()}
        self.table = self.model.get_input_embeddings().weight
        self.plain = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.plain_table = self.table.clone()
        self.sums: dict[tuple[str, int], dict[str, torch.Tensor]] = {}
        self.clipped: dict[tuple[str, int, int], torch.Tensor] = {}
        self.made_by: Way | None = None
        self.made: dict[str, torch.Tensor] = {}
        """Weights as the last way, without regard to what gets 8 bits, rounded them."""
        self.alone: dict[str, float] = {}
        """Divergence of the model's next tokens where one weight alone is rounded."""
        self.wanted = self._logits(self.judged).log_softmax(dim=-1)

    def scores(self) -> dict[str, np.ndarray]:
        """By text, of each window the log-probability of its tokens and how many there are."""
        import torch

        found = {}
        with torch.inference_mode():
            for name, ids in self.texts.items():
                sums = []
                for start in range(0, len(ids), 16):
                    part = ids[start : start + 16]
                    probable = self._logits(part)[:, :-1].log_softmax(dim=-1)
                    sums.append(probable.gather(-1, part[:, 1:, None])[..., 0].double().sum(dim=1).cpu().numpy())
                sums_of = np.concatenate(sums)
                found[name] = np.stack([sums_of, np.full(len(sums_of), CONTEXT - 1)], axis=1)
        return found

    def _logits(self, ids: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            logits: torch.Tensor = self.model(input_ids=ids, use_cache=False).logits.float()
        return logits

    def divergence(self) -> float:
        """Mean KL(whole || rounded) of next tokens, of training windows that nothing was calibrated on."""
        mine = self._logits(self.judged).log_softmax(dim=-1)
        return float((self.wanted.exp() * (self.wanted - mine)).sum(dim=-1).mean())

    def restore(self) -> None:
        """All weights as they were, the table in 8 bits."""
        self.model.load_state_dict(self.plain)
        self.table.copy_(self._clipped(TABLE, self.plain_table, 8, 32))

    def _clipped(self, name: str, weight: torch.Tensor, bits: int, block: int) -> torch.Tensor:
        import torch

        if (name, bits, block) not in self.clipped:
            restored = quantize_blocks(weight.cpu().numpy().T, bits, block).restored().T
            self.clipped[name, bits, block] = torch.from_numpy(np.ascontiguousarray(restored)).to(weight)
        return self.clipped[name, bits, block]

    def round(self, way: Way) -> float:
        """Round all weights as `way` says; returns how many bits a weight of the blocks has, with its scales."""
        if way.share is not None and not self.alone:
            self._find_alone()
        self.restore()
        if way.library is not None:
            self._by_library(way)
            return 4 + 32 / way.block
        eight = self._eight(way)
        sums = {} if way.followed else self._sums(way.read, way.rows)
        for layer in range(len(self.layers)):
            if way.followed and way.gptq:
                sums = self._summed(way.read, way.rows, layer)
            for name, module in self.modules.items():
                if module in self.layers[layer]:
                    module.weight.copy_(self._rounded(name, way, 8 if name in eight else way.bits, sums))
        size = sum(weight.numel() for weight in self.whole.values())
        bits = sum(self.whole[name].numel() * (8 if name in eight else way.bits) for name in self.modules)
        return round(bits / size + 32 / way.block, 3)

    def _eight(self, way: Way) -> set[str]:
        if way.share is None:
            return {name for name in self.modules if any(part in name for part in way.eight)}
        size = {name: weight.numel() for name, weight in self.whole.items()}
        left, found = way.share * sum(size.values()), set[str]()
        for name in sorted(size, key=lambda one: -self.alone[one] / size[one]):
            if size[name] <= left:
                found.add(name)
                left -= size[name]
        return found

    def _find_alone(self) -> None:
        self.restore()
        nothing = self.divergence()
        sums = self._sums(BEST.read, BEST.rows)
        for name, module in self.modules.items():
            module.weight.copy_(self._rounded(name, BEST, 4, sums))
            self.alone[name] = self.divergence() - nothing
            module.weight.copy_(self.whole[name])

    def _rounded(self, name: str, way: Way, bits: int, sums: dict[str, torch.Tensor]) -> torch.Tensor:
        weight = self.whole[name]
        if bits == 8 or not way.gptq:
            return self._clipped(name, weight, bits, way.block)
        alone = replace(way, name="", share=None, eight=())
        if alone != self.made_by:  # ways that differ in what gets 8 bits stand beside one another
            self.made_by, self.made = alone, {}
        if name not in self.made or way.followed:
            self.made[name] = gptq(weight.double(), sums[name], way).to(weight)
        return self.made[name]

    def _by_library(self, way: Way) -> None:
        """Put in place what a package makes of the weights, in a copy of the model, from the calibration windows."""
        import torch
        from transformers import AutoModelForCausalLM

        windows = self.rows[way.read][: way.rows]
        copy: PreTrainedModel = AutoModelForCausalLM.from_pretrained(self.checkpoint, dtype=torch.float32)
        found = (auto_rounded if way.library == "auto_round" else awq_scaled)(copy, self.checkpoint, windows, way.block)
        for name, value in found.items():
            place, value = self.model.get_parameter(name), value.detach()
            rounds = name.removesuffix(".weight") in self.modules
            clipped = quantize_blocks(value.float().cpu().numpy().T, way.bits, way.block).restored().T if rounds else value
            place.copy_(torch.as_tensor(np.ascontiguousarray(clipped)) if rounds else value)

    def _sums(self, read: str, rows: int) -> dict[str, torch.Tensor]:
        if (read, rows) not in self.sums:
            self.restore_whole()
            self.sums = {(read, rows): self._summed(read, rows, None)}
            self.restore()
        return self.sums[read, rows]

    def restore_whole(self) -> None:
        """All weights as they were, the table too."""
        self.restore()
        self.table.copy_(self.plain_table)

    def _summed(self, read: str, rows: int, layer: int | None) -> dict[str, torch.Tensor]:
        """Sums of x x' of what each weight, or those of one layer, reads."""
        import torch

        sums: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Any:
            def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
                flat = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
                sums[name] = sums.get(name, 0) + flat.T @ flat

            return hook

        chosen = [(name, module) for name, module in self.modules.items() if layer is None or module in self.layers[layer]]
        hooks = [module.register_forward_pre_hook(keep(name)) for name, module in chosen]
        with torch.inference_mode():
            windows = self.rows[read][:rows]
            for start in range(0, len(windows), 16):
                self.model(input_ids=windows[start : start + 16], use_cache=False, logits_to_keep=1)
        for hook in hooks:
            hook.remove()
        return sums


def auto_rounded(model: PreTrainedModel, checkpoint: Path, windows: torch.Tensor, block: int) -> dict[str, torch.Tensor]:
    """Name -> weight, which is whole numbers times scales, by AutoRound's own package as the method `auto-round` calls it."""
    from auto_round import AutoRound
    from transformers import AutoTokenizer

    from edgekit.compress.quantization.fake_blocks import fake_blocks

    rounded, _ = AutoRound(
        model, AutoTokenizer.from_pretrained(checkpoint), scheme="W4A16", group_size=block, iters=STEPS, nsamples=len(windows),
        seqlen=CONTEXT, batch_size=8, dataset=[window[None].cpu() for window in windows], seed=SEED,
        device_map=windows.device.type, enable_torch_compile=False,
    ).quantize()  # fmt: skip
    found = {f"{name}.weight": module for name, module in rounded.named_modules() if getattr(module, "scale", None) is not None}
    return {
        name: fake_blocks(module.weight.float().cpu(), module.scale.float().cpu().reshape(len(module.weight), -1), block)
        for name, module in found.items()
    }


def awq_scaled(model: PreTrainedModel, checkpoint: Path, windows: torch.Tensor, block: int) -> dict[str, torch.Tensor]:
    """Name -> weight of linear layers and norms with AWQ's scales folded into them (Lin et al. 2023, arXiv 2306.00978), by llmcompressor."""
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.pipelines.cache import IntermediatesCache

    if windows.device.type == "cpu":
        IntermediatesCache.pin_memory = lambda self, batch: (
            None
        )  # which llmcompressor 0.14 does on machines without an accelerator too
    ids = windows.cpu().tolist()
    weights = {
        "num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": block, "dynamic": False,
    }  # fmt: skip
    scheme = {"group_0": {"targets": ["Linear"], "weights": weights}}
    oneshot(
        model=model.to(windows.device), dataset=Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * CONTEXT] * len(ids)}),
        recipe=[AWQModifier(), QuantizationModifier(ignore=["lm_head"], config_groups=scheme)], max_seq_length=CONTEXT,
        num_calibration_samples=len(ids),
    )  # fmt: skip
    return {name: value for name, value in model.named_parameters() if ".layers." in name and name.endswith(".weight")}


def gptq(weight: torch.Tensor, hessian: torch.Tensor, way: Way) -> torch.Tensor:
    """`weight` float64 (out, in) on the grid of 4 bits; `hessian` float64 (in, in)."""
    import torch

    size, block = weight.shape[1], way.block
    diagonal = hessian.diagonal()
    damped = hessian + torch.diag(way.damping * diagonal.mean() + torch.where(diagonal > 0, 0.0, diagonal.mean()))
    order = torch.argsort(diagonal, descending=True) if way.ordered else torch.arange(size, device=weight.device)
    upper = torch.linalg.cholesky(torch.linalg.inv(damped[order][:, order])).mT.contiguous()
    left = weight[:, order].clone()
    worth = torch.ones_like(diagonal)
    if way.weighed:
        worth = torch.linalg.inv(damped).diagonal().reciprocal() if way.ordered else upper.diagonal().square().reciprocal()
    scale = torch.empty(weight.shape[0], size // block, dtype=weight.dtype, device=weight.device)
    if way.ordered:
        scale = best_scale(weight.reshape(len(weight), -1, block), worth.reshape(-1, block))
    whole = torch.empty_like(weight)
    for place in range(size):
        at = int(order[place])
        if not way.ordered and at % block == 0:
            chunk = left[:, at : at + block]
            scale[:, at // block] = best_scale(chunk[:, None], worth[None, at : at + block])[:, 0]
        step = scale[:, at // block]
        whole[:, at] = (left[:, place] / step).round().clamp(-8, 7)
        error = (left[:, place] - whole[:, at] * step) / upper[place, place]
        left[:, place + 1 :] -= error[:, None] * upper[place, None, place + 1 :]
    for _ in range(way.rounds):
        scale = refitted(weight, whole, scale, damped, block)
        descend(weight, whole, scale, damped, block)
    if way.rounds:
        scale = refitted(weight, whole, scale, damped, block)
    return whole * scale.repeat_interleave(block, dim=1)


def best_scale(blocks: torch.Tensor, worth: torch.Tensor) -> torch.Tensor:
    """(out, blocks): the candidate of least squared error, weighed by `worth` (blocks, block), as `edgekit.quantize.blocks` tries them."""
    import torch

    largest = blocks.gather(2, blocks.abs().argmax(dim=2, keepdim=True))[:, :, 0]
    size = largest.abs().clamp(min=1e-12)
    on_last = torch.where(largest > 0, -size, size) / 8
    shares = [float(share) for share in SHARES[::-2]]
    tried = [one for share in shares for one in (size / 7 * share, on_last * share)] + [size / count for count in range(1, 7)]
    best, scale = torch.full_like(size, torch.inf), size
    for candidate in tried:
        rounded = (blocks / candidate[:, :, None]).round().clamp(-8, 7) * candidate[:, :, None]
        lost = ((rounded - blocks).square() * worth).sum(dim=2)
        scale = torch.where(lost < best, candidate, scale)
        best = torch.minimum(lost, best)
    return scale


def refitted(weight: torch.Tensor, whole: torch.Tensor, scale: torch.Tensor, hessian: torch.Tensor, block: int) -> torch.Tensor:
    """(out, blocks): the scales that are best for `whole`, all of a row at once, by the least squares of what the layer gives."""
    import torch

    rows = len(weight)
    blocks = whole.reshape(rows, -1, block)
    count = blocks.shape[1]
    by_block = hessian.reshape(count, block, count, block)
    right = torch.einsum("rbk,rbk->rb", blocks, (weight @ hessian).reshape(rows, count, block))
    left = torch.stack([torch.einsum("rk,kcl,rcl->rc", blocks[:, one], by_block[one], blocks) for one in range(count)], dim=1)
    mean = left.diagonal(dim1=1, dim2=2).mean(dim=1)
    eye = torch.eye(count, dtype=weight.dtype, device=weight.device)
    solved = torch.linalg.solve(
        left + 1e-9 * mean[:, None, None] * eye + (left.diagonal(dim1=1, dim2=2) == 0)[:, :, None] * eye, right
    )
    found: torch.Tensor = torch.where(blocks.abs().sum(dim=2) > 0, solved, scale)
    return found


def descend(weight: torch.Tensor, whole: torch.Tensor, scale: torch.Tensor, hessian: torch.Tensor, block: int) -> None:
    """Each input's whole numbers in turn to their best, given all others, in place (Behdin et al. 2023, arXiv 2309.01885, QuantEase)."""
    step = scale.repeat_interleave(block, dim=1)
    pulled = (weight - whole * step) @ hessian
    for at in range(weight.shape[1]):
        better = (whole[:, at] + pulled[:, at] / hessian[at, at] / step[:, at]).round().clamp(-8, 7)
        moved = (better - whole[:, at]) * step[:, at]
        pulled -= moved[:, None] * hessian[at][None]
        whole[:, at] = better


def texts_of(tokenizer: Tokenizer, data: Path, windows: int) -> Iterator[tuple[str, np.ndarray]]:
    """Windows of token ids int64 (n, 512) of both texts, documents joined by the end token."""
    wikitext = (data / "wikitext2" / "test.txt").read_text(encoding="utf-8")
    for name, texts in (
        ("Wikipedia, validation", _lines(data / "wikipedia" / "validation.jsonl.xz")),
        ("Wikitext-2, test", iter([wikitext])),
    ):
        yield name, _windows(tokenizer, texts)[:windows]


def _windows(tokenizer: Tokenizer, texts: Iterator[str]) -> np.ndarray:
    ids = np.concatenate([np.asarray([*tokenizer.encode(text).ids, 0], dtype=np.int64) for text in texts])
    return np.asarray(ids[: len(ids) // CONTEXT * CONTEXT].reshape(-1, CONTEXT))


def _lines(path: Path) -> Iterator[str]:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield str(json.loads(line)["text"])


if __name__ == "__main__":
    sys.exit(main())
