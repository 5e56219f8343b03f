"""What follows an encoder of sentence-transformers: poolings, and the modules after them, as a part of the model.

Shapes: b windows in a batch, s tokens of the longest, h the hidden size. Padding is on the right, as windows are padded here; a
sentence-transformers folder whose tokenizer pads on the left gives the same, as a text by itself has no padding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from edgekit.errors import BadInput
from edgekit.models.sentence import (
    MODULES,
    PROMPTS,
    TRANSFORMER,
    Dense,
    LayerNorm,
    Normalize,
    Sentence,
    SentenceModule,
    with_lower_case,
)
from edgekit.models.shards import open_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["NAME", "Embedding", "embedding_of", "load_embedding", "save_embedding"]

NAME = "sentence"
"""Of the attribute of a model that holds its `Embedding`."""
TYPES = "sentence_transformers.models."
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Number formats of weights that are read."""
Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(states (b, s, h), mask (b, s)) -> (b, h)."""


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    real = mask[:, :, None].to(states.dtype)
    return (states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1e-9)


def _mean_sqrt_len(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    real = mask[:, :, None].to(states.dtype)
    return (states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1e-9).sqrt()


def _weighted_mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Weights 1, 2, 3, … of the tokens (Muennighoff 2022, SGPT, section 4.1)."""
    real = mask[:, :, None].to(states.dtype)
    weights = real * torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype)[None, :, None]
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def _largest(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return states.masked_fill(mask[:, :, None] == 0, float("-inf")).amax(dim=1)


def _last(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    last = (mask.sum(dim=1) - 1).clamp(min=0)
    return states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]


POOLS: Mapping[str, Pool] = {
    "cls": lambda states, mask: states[:, 0],
    "max": _largest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}


class _Dense(torch.nn.Module):
    """A linear layer, its activation and what is added."""

    def __init__(self, dense: Dense) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(dense.inputs, dense.outputs, bias=dense.bias)
        self.activation: torch.nn.Module = getattr(torch.nn, dense.activation)()
        self.adds = dense.residual
        if dense.residual and dense.inputs != dense.outputs:
            self.residual = torch.nn.Linear(dense.inputs, dense.outputs, bias=False)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        given: torch.Tensor = self.activation(self.linear(pooled))
        if not self.adds:
            return given
        return given + (self.residual(pooled) if hasattr(self, "residual") else pooled)


class _LayerNorm(torch.nn.Module):
    def __init__(self, norm: LayerNorm) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(norm.inputs)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.norm(pooled)
        return normed


class _Normalize(torch.nn.Module):
    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(pooled, dim=-1)


class Embedding(torch.nn.Module):
    """(states (b, s, h), mask (b, s)) -> embeddings (b, k)."""

    def __init__(self, sentence: Sentence) -> None:
        super().__init__()
        self.sentence = sentence
        self.parts = torch.nn.ModuleList(_part(module) for module in sentence.modules)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        pools = [POOLS[name](states, mask) for name in self.sentence.poolings]
        embedded = pools[0] if len(pools) == 1 else torch.cat(pools, dim=-1)
        for part in self.parts:
            embedded = part(embedded)
        return embedded if self.sentence.truncate is None else embedded[:, : self.sentence.truncate]

    def narrow(self, kept: Sequence[int], full: int) -> None:
        """Keep only the dimensions `kept` of the `full` ones of the hidden states; the size of a Dense module's output stays.

        Raises:
            BadInput: a Dense module adds its input, which would be of another size than its output.
        """
        chosen = torch.cat([torch.tensor(list(kept)) + full * number for number in range(len(self.sentence.poolings))])
        modules = list(self.sentence.modules)
        for number, (module, part) in enumerate(zip(modules, self.parts, strict=True)):
            if isinstance(module, LayerNorm) and isinstance(part, _LayerNorm):
                part.norm, modules[number] = _kept_norm(part.norm, chosen), replace(module, inputs=len(chosen))
            elif isinstance(module, Dense) and isinstance(part, _Dense):
                if module.adds_itself:
                    raise BadInput(
                        "a Dense module that adds its input to its output cannot read fewer numbers than it gives",
                        where=f"{module.path}/config.json, use_residual", fix="leave `width` out",
                    )  # fmt: skip
                for linear in (part.linear, *([part.residual] if module.residual else [])):
                    linear.weight = torch.nn.Parameter(linear.weight.data[:, chosen])
                    linear.in_features = len(chosen)
                modules[number] = replace(module, inputs=len(chosen))
                break
        self.sentence = replace(self.sentence, modules=tuple(modules))


def _kept_norm(norm: torch.nn.LayerNorm, chosen: torch.Tensor) -> torch.nn.LayerNorm:
    kept = torch.nn.LayerNorm(len(chosen))
    kept.load_state_dict({name: value[chosen] for name, value in norm.state_dict().items()})
    return kept


def embedding_of(model: PreTrainedModel) -> Embedding:
    """The embedding of `model`; of one without module files the mean, or the first token where its configuration says so, of length 1."""
    found = getattr(model, NAME, None)
    if isinstance(found, Embedding):
        return found
    return Embedding(Sentence(("cls" if getattr(model.config, "pooling", "mean") == "cls" else "mean",)))


def load_embedding(model: PreTrainedModel, sentence: Sentence, folder: Path) -> None:
    """Give `model` the modules that `sentence`, read from checkpoint `folder`, names, with their weights.

    Raises:
        BadInput: a file of weights that cannot be read, or holds NaN or Inf.
    """
    embedding = Embedding(sentence)
    for module, part in zip(sentence.modules, embedding.parts, strict=True):
        if isinstance(module, Normalize):
            continue
        tensors = open_tensors(folder / module.path)
        read = {name: tensors.read(name) for name in tensors.shapes}
        state = {name: value.to(torch.float32) for name, value in read.items()}
        faults = [f"{name}: {value.dtype} is quantized already" for name, value in read.items() if value.dtype not in FLOATS]
        faults += [f"{name}: holds NaN or Inf" for name, value in state.items() if not torch.isfinite(value).all()]
        if faults:
            raise BadInput("weights that cannot be used", where=str(folder / module.path), faults=faults)
        part.load_state_dict(state)
    setattr(model, NAME, embedding)


def save_embedding(model: PreTrainedModel, folder: Path) -> None:
    """Write the module files of `model` to checkpoint `folder`, which is read again as it was; nothing for a model without modules.

    The tokenizer there is made to lower-case where sentence-transformers would.
    """
    embedding = getattr(model, NAME, None)
    if not isinstance(embedding, Embedding):
        return
    sentence, listed = embedding.sentence, [{"path": "", "type": f"{TYPES}Transformer"}]
    pooling = {"embedding_dimension": model.config.hidden_size, "pooling_mode": list(sentence.poolings), "include_prompt": True}
    _write(folder / "1_Pooling" / "config.json", pooling)
    listed.append({"path": "1_Pooling", "type": f"{TYPES}Pooling"})
    for number, (module, part) in enumerate(zip(sentence.modules, embedding.parts, strict=True), 2):
        path = f"{number}_{type(module).__name__}"
        listed.append({"path": path, "type": f"{TYPES}{type(module).__name__}"})
        _write(folder / path / "config.json", _settings(module))
        if state := {name: value.detach().to(torch.float32).contiguous().clone() for name, value in part.state_dict().items()}:
            save_file(dict(sorted(state.items())), folder / path / "model.safetensors", metadata={"format": "pt"})
    _write(folder / MODULES, [{"idx": number, "name": str(number), **module} for number, module in enumerate(listed)])
    _write(folder / TRANSFORMER, {"max_seq_length": sentence.longest, "do_lower_case": sentence.lower_case})
    settings = {"prompts": dict(sentence.prompts), "default_prompt_name": sentence.default_prompt,
                "similarity_fn_name": sentence.similarity}  # fmt: skip
    kept = {} if sentence.truncate is None else {"truncate_dim": sentence.truncate}
    _write(folder / PROMPTS, {"model_type": "SentenceTransformer", **settings, **kept})
    tokenizer = folder / "tokenizer.json"
    if sentence.lower_case and tokenizer.is_file():
        document = json.loads(tokenizer.read_text(encoding="utf-8"))
        if (lowered := with_lower_case(document)) != document:
            tokenizer.write_text(json.dumps(lowered, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def _part(module: SentenceModule) -> torch.nn.Module:
    if isinstance(module, Dense):
        return _Dense(module)
    return _LayerNorm(module) if isinstance(module, LayerNorm) else _Normalize()


def _settings(module: SentenceModule) -> dict[str, object]:
    """config.json of a module."""
    if isinstance(module, LayerNorm):
        return {"dimension": module.inputs}
    if isinstance(module, Normalize):
        return {}
    activation = (
        "torch.nn.modules.linear.Identity"
        if module.activation == "Identity"
        else f"torch.nn.modules.activation.{module.activation}"
    )
    return {
        "in_features": module.inputs, "out_features": module.outputs, "bias": module.bias, "activation_function": activation,
        **({"use_residual": True} if module.residual else {}),
    }  # fmt: skip


def _write(path: Path, document: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
