"""Forms of a checkpoint's files: names, number formats, shards, what is missing or too much, what is never loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.matrix.cells.cell import Cell, Make, edited, of_task
from tests.matrix.made import write_json

__all__ = ["checkpoints"]


def saved_otherwise(family: str, task: str, change: Callable[[Path, dict[str, torch.Tensor]], None]) -> Make:
    """A checkpoint whose files are written again by `change`, which gets its folder and its tensors."""
    plain = of_task(family, task)

    def make(folder: Path) -> Path:
        path = plain(folder)
        weights = folder / "model" / "model.safetensors"
        tensors = load_file(weights)
        weights.unlink()
        change(folder / "model", tensors)
        return path

    return make


def whole(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def in_shards(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    names = sorted(tensors)
    parts = {f"model-0000{number + 1}-of-00002.safetensors": names[number::2] for number in (0, 1)}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    write_json(folder / "model.safetensors.index.json", {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
        "weight_map": {name: file for file, part in parts.items() for name in part},
    })  # fmt: skip


def checkpoints() -> Iterator[Cell]:
    task = "text-classification"

    def gamma(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        whole(
            folder,
            {
                name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
                for name, value in tensors.items()
            },
        )

    yield Cell("norms named gamma and beta", saved_otherwise("bert", task, gamma))
    for dtype in (torch.float16, torch.bfloat16):

        def half(folder: Path, tensors: dict[str, torch.Tensor], dtype: torch.dtype = dtype) -> None:
            whole(folder, {name: value.to(dtype) for name, value in tensors.items()})
            edited("config.json", dtype=str(dtype).removeprefix("torch."), torch_dtype=None)(folder)

        yield Cell(f"weights in {dtype}", saved_otherwise("bert", task, half))
    yield Cell("weights in shards", saved_otherwise("bert", task, in_shards))
    other_head = {"cls.seq_relationship.bias": torch.zeros(2)}
    pooler = {"bert.pooler.dense.weight": torch.zeros(32, 32), "bert.pooler.dense.bias": torch.zeros(32)}
    ids = {"bert.embeddings.position_ids": torch.arange(64)[None]}
    more: dict[str, tuple[str, Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], dict[str, Any]]] = {
        "position ids among the weights": (task, lambda own: {**own, **ids}, {}),
        "a pooler that is not needed": ("token-classification", lambda own: {**own, **pooler}, {}),
        "an encoder saved with another head": (
            "feature-extraction", lambda own: {f"bert.{name}": value for name, value in own.items()} | other_head, {},
        ),
        "a missing head": (
            task, lambda own: {name: value for name, value in own.items() if "classifier" not in name}, {"refused": f"no head for {task}"},
        ),
        "NaN among the weights": (
            task, lambda own: {**own, "classifier.weight": own["classifier.weight"] * float("nan")}, {"refused": "NaN", "loaded": True},
        ),
        "fp8 weights": (
            task, lambda own: {**own, "classifier.weight": own["classifier.weight"].to(torch.float8_e4m3fn)}, {"refused": "F8"},
        ),
    }  # fmt: skip
    for name, (kind, change, outcome) in more.items():
        make = saved_otherwise("bert", kind, lambda folder, tensors, change=change: whole(folder, change(tensors)))
        yield Cell(name, make, **outcome)

    def quantized(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        whole(folder, tensors)
        edited("config.json", quantization_config={"quant_method": "gptq", "bits": 4})(folder)

    yield Cell("a quantized checkpoint", saved_otherwise("bert", task, quantized), refused="gptq|quantized")

    def pickled(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        torch.save(tensors, folder / "pytorch_model.bin")

    yield Cell("pickled weights", saved_otherwise("bert", task, pickled), refused="safetensors")

    def code(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        whole(folder, tensors)
        edited("config.json", auto_map={"AutoModel": "modeling.Mine"})(folder)

    yield Cell("code in the folder", saved_otherwise("bert", task, code), refused="auto_map|code")
    for family in ("deberta", "funnel", "longformer", "mobilebert", "nomic_bert", "roformer"):

        def renamed(folder: Path, tensors: dict[str, torch.Tensor], family: str = family) -> None:
            whole(folder, tensors)
            edited("config.json", model_type=family)(folder)

        yield Cell(f"architecture {family}", saved_otherwise("roberta", task, renamed), refused=family)
    yield Cell("longer than its positions", of_task("bert", task, max_position_embeddings=16), refused="16")
    for length in (8, 15):

        def short(folder: Path, length: int = length) -> Path:
            path = of_task("bert", task)(folder)
            path.write_text(path.read_text().replace("max_length = 24", f"max_length = {length}"))
            return path

        yield Cell(f"max_length {length}", short)
