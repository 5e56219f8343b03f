"""The weights of a checkpoint by name, in one safetensors file or several, read one tensor at a time.

Large checkpoints come as `model-00001-of-0000N.safetensors` and an index, `model.safetensors.index.json`, that says which tensor is in
which file (huggingface.co/docs/transformers/big_models). Index and files must agree. Where there is a `model.safetensors` too, it
alone is read, as transformers does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgekit.errors import BadInput
from edgekit.models.documents import read_document
from edgekit.runtime.files import open_file

if TYPE_CHECKING:
    import torch

__all__ = [
    "INDEX",
    "WHOLE",
    "Tensors",
    "few",
    "file_shapes",
    "no_weights",
    "open_tensors",
    "tensor_shapes",
    "tensor_types",
    "weight_files",
]

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")
"""A file in the folder itself: no separators, no parent."""
LARGEST_HEADER = 25_000_000
"""Bytes of a safetensors header: 200,000 tensors. The format allows four times as many."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
OTHERS = {"*.h5": "TensorFlow", "*.msgpack": "Flax", "*.gguf": "llama.cpp", "*.onnx": "ONNX", "*.tflite": "LiteRT"}
"""Weights in forms that are not read -> whose they are."""
CUT = "fetch or save it again, whole"
MOST_SHARDS = 4096
MOST_FAULTS = 20


class OpenFile(Protocol):
    """An open safetensors file."""

    def get_tensor(self, name: str) -> torch.Tensor:
        """The tensor called `name`."""


@dataclass
class Tensors:
    """Shapes of a checkpoint's tensors, and their values from disk."""

    folder: Path
    shapes: dict[str, tuple[int, ...]]
    file_of: dict[str, Path]
    """The file that holds each tensor."""
    opened: dict[Path, OpenFile] = field(default_factory=dict)
    """Files that are open, by path."""

    def read(self, name: str) -> torch.Tensor:
        """The tensor called `name`, of the type it is stored in; the file stays its memory.

        Raises:
            BadInput: the file cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        path = self.file_of[name]
        try:
            if path not in self.opened:
                self.opened[path] = safe_open(path, framework="pt")
            tensor: torch.Tensor = self.opened[path].get_tensor(name)
        except (SafetensorError, OSError) as fault:
            raise BadInput(f"not a readable safetensors file: {fault}", where=str(path), fix=CUT) from None
        return tensor


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights of checkpoint `folder`, the index among them; empty where it has none.

    Raises:
        BadInput: an index that is not one, or that names files elsewhere or not there.
    """
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    if not (folder / INDEX).is_file():
        return []
    return [folder / INDEX, *(folder / name for name in sorted(set(_index(folder).values())))]


def no_weights(folder: Path) -> BadInput:
    """What is said of a folder that has no weights that are read: what it has instead, and how it becomes what is read."""
    if pickles := sorted(path.name for pattern in PICKLES for path in folder.glob(pattern)):
        return BadInput(
            f"holds a pickle checkpoint ({pickles[0]}), which can run code when it is opened",
            where=str(folder),
            fix=f"convert it to {WHOLE} on a machine that you can lose",
            see="pickles-and-code-of-a-model",
        )
    others = {path.name: whose for pattern, whose in OTHERS.items() for path in sorted(folder.glob(pattern))}
    if others:
        name, whose = next(iter(others.items()))
        return BadInput(
            f"no {WHOLE}, only {name}, which is {whose}'s", where=str(folder),
            fix=f"name the folder or the hub id of the model that it was made from, with a {WHOLE}",
        )  # fmt: skip
    return BadInput(f"no {WHOLE}", where=str(folder), fix="use the whole folder that save_pretrained wrote")


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of checkpoint `folder`, off the headers of its files.

    Raises:
        BadInput: as `open_tensors`.
    """
    return open_tensors(folder).shapes


def file_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a safetensors file, off its header.

    Raises:
        BadInput: a header that cannot be read.
    """
    return {name: shape for name, (shape, _) in _header(path).items()}


def tensor_types(folder: Path) -> dict[str, str]:
    """Number format of each tensor of checkpoint `folder`, as safetensors calls it (F32, BF16, F8_E4M3, …), off the headers of its files.

    Raises:
        BadInput: a header that cannot be read.
    """
    return {name: kind for path in weight_files(folder) if path.name != INDEX for name, (_, kind) in _header(path).items()}


def open_tensors(folder: Path) -> Tensors:
    """The tensors of checkpoint `folder`; of them only shapes are read here.

    Raises:
        BadInput: no weights, an index that is not one, a header that cannot be read, or files that hold other tensors than the
            index says: all of them at once.
    """
    files = weight_files(folder)
    if not files:
        raise no_weights(folder)
    shards = [path for path in files if path.name != INDEX]
    headers = {path: file_shapes(path) for path in shards}
    if len(files) > len(shards):
        _agree(_index(folder), headers, folder)
    shapes = {name: shape for header in headers.values() for name, shape in header.items()}
    return Tensors(folder, shapes, {name: path for path, header in headers.items() for name in header})


def _agree(index: dict[str, str], headers: dict[Path, dict[str, tuple[int, ...]]], folder: Path) -> None:
    """Refuse files that hold less, more or other than the index says."""
    holders: dict[str, list[str]] = {}
    for path, header in headers.items():
        for name in header:
            holders.setdefault(name, []).append(path.name)
    faults = []
    for name in sorted({*index, *holders}):
        files, expected = holders.get(name, []), index.get(name)
        if expected is None:
            faults.append(f"extra tensor {name}: in {', '.join(files)}, but not in the index")
        elif expected not in files:
            faults.append(f"missing tensor {name}: not in {expected}" + (f", but in {', '.join(files)}" if files else ""))
        elif len(files) > 1:
            faults.append(f"duplicate tensor {name}: in {', '.join(files)}")
    if faults:
        raise BadInput("the index and its files disagree", where=str(folder / INDEX), faults=few(faults))


def _index(folder: Path) -> dict[str, str]:
    """The file of each tensor, as the index says.

    Raises:
        BadInput: not a JSON object with a `weight_map`, a name twice, or files that are not in the folder.
    """
    path = folder / INDEX
    document = read_document(path)
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise BadInput("names no tensors: it needs a weight_map of tensor name to file name", where=str(path))
    faults = [f"unknown key {name!r}" for name in sorted(set(document) - {"metadata", "weight_map"})]
    faults += [
        f"{name}: {str(file)[:80]!r} is not the name of a safetensors file in the folder"
        for name, file in sorted(weight_map.items())
        if not isinstance(file, str) or not FILE_NAME.fullmatch(file)
    ]
    named = sorted({file for file in weight_map.values() if isinstance(file, str) and FILE_NAME.fullmatch(file)})
    if len(named) > MOST_SHARDS:
        raise BadInput(f"an index of {len(named):,} files, which no model has", where=str(path))
    faults += [f"no such file: {file}" for file in named if not (folder / file).is_file()]
    if faults:
        raise BadInput("an index that cannot be used", where=str(path), faults=few(faults))
    return weight_map


def _header(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and number format of each tensor of a safetensors file.

    Raises:
        BadInput: no such header.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with open_file(path) as file:
            if int.from_bytes(file.read(8), "little") > LARGEST_HEADER:
                raise BadInput("not a readable safetensors file: a header beyond 25 MB", where=str(path), fix=CUT)
        with safe_open(path, framework="np") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, OSError) as fault:
        raise BadInput(f"not a readable safetensors file: {fault}", where=str(path), fix=CUT) from None


def few(faults: list[str]) -> list[str]:
    """The first faults, and how many more there are."""
    more = len(faults) - MOST_FAULTS
    return [*faults[:MOST_FAULTS], *([f"and {more} more"] if more > 0 else [])]
