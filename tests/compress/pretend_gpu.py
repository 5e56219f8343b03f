"""A GPU that is not there: tensors say that they are on it, and mixing them with the CPU's fails as it does on a real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU, CPU = torch.device("cuda", 7), torch.device("cpu")
MAY_MIX = ("copy_", "_to_copy")
"""Operations that copy between devices."""
MATMULS = ("mm", "addmm", "bmm", "baddbmm")
"""Operations that nearly all the time of a forward or backward pass is spent in."""


class _There:
    """Which storages are on the GPU; they are kept alive, so that no other tensor is ever given their memory."""

    def __init__(self) -> None:
        self.storages: dict[int, torch.UntypedStorage] = {}
        self.matmuls = {GPU: 0, CPU: 0}

    def has(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self.storages

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr():
            self.storages[storage.data_ptr()] = storage
        return tensor


class _Moves(TorchFunctionMode):
    """`to`, `cpu`, `device` and `device=` as they are with a GPU; `numpy` of what is on it fails."""

    def __init__(self, there: _There) -> None:
        self.there = there

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == torch.Tensor.device.__get__:
            return GPU if self.there.has(args[0]) else CPU
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and self.there.has(args[0]):
            raise TypeError("can't convert cuda:7 device type tensor to numpy. Use Tensor.cpu()")
        if func is torch.Tensor.cpu:
            return self.move(args[0], CPU)
        if func is torch.Tensor.to:
            asked = [one for one in (*args[1:], kwargs.pop("device", None)) if isinstance(one, torch.device | str)]
            kind = [one for one in (*args[1:], kwargs.get("dtype")) if isinstance(one, torch.dtype)]
            made = func(args[0], kind[0]) if kind else args[0]
            return self.move(made, torch.device(asked[0])) if asked else made
        place = kwargs.pop("device", None)
        made = func(*args, **kwargs)
        return self.there.add(made) if place is not None and torch.device(place).type == "cuda" else made

    def move(self, tensor: torch.Tensor, place: torch.device) -> torch.Tensor:
        if self.there.has(tensor) == (place.type == "cuda"):
            return tensor
        with torch.no_grad():
            made = tensor.detach().clone()
        if place.type == "cuda":
            return self.there.add(made)
        self.there.storages.pop(made.untyped_storage().data_ptr(), None)
        return made


class _Strict(TorchDispatchMode):
    """Every operation is on one device, but for copies and numbers without a dimension; what it gives is there too."""

    def __init__(self, there: _There) -> None:
        super().__init__()
        self.there = there

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [one for one in tree_leaves((args, kwargs or {})) if isinstance(one, torch.Tensor) and one.numel()]
        here = [self.there.has(one) for one in given]
        if func.overloadpacket.__name__ in MATMULS and given:
            self.there.matmuls[GPU if any(here) else CPU] += 1
        if any(here) and not all(there or one.ndim == 0 for there, one in zip(here, given, strict=True)):
            assert func.overloadpacket.__name__ in MAY_MIX, f"{func}: tensors on two devices, cuda:7 and cpu"
        made = func(*args, **(kwargs or {}))
        if any(here) and func.overloadpacket.__name__ != "copy_":
            for one in tree_leaves(made):
                if isinstance(one, torch.Tensor):
                    self.there.add(one)
        return made


class Accelerated:
    """What the training loop asks of accelerate, with any device."""

    num_processes, process_index = 1, 0

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def prepare(self, module: torch.nn.Module, optimizer: Any) -> tuple[torch.nn.Module, Any]:
        return module.to(self.device), optimizer

    def backward(self, value: torch.Tensor) -> None:
        torch.autograd.backward(value)

    def clip_grad_norm_(self, parameters: Any, most: float) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, most)

    def wait_for_everyone(self) -> None:
        pass

    def free_memory(self, *given: Any) -> list[None]:
        return [None] * len(given)


@contextmanager
def pretended() -> Iterator[_There]:
    """The GPU, as long as the context lasts; `matmuls` counts the matrix multiplications on each device."""
    there = _There()
    with _Strict(there), _Moves(there):
        yield there
