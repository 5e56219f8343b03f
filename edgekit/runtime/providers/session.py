"""Opening ONNX Runtime sessions that do what was asked or raise: by itself it falls back and ignores without saying so."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np

from edgekit.runtime.chip import machine, parse_cpuinfo, read_text, usable_cores
from edgekit.runtime.errors import BadInput, NotPossibleHere
from edgekit.runtime.providers.names import CPU, CUDA, DISABLE_CPU_FALLBACK, EXTERNAL_WEIGHTS, RECORD_ASSIGNMENT, SESSION_KEYS

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from edgekit.runtime.providers.cuda import Replayed

__all__ = ["Session", "check_chip", "check_ids", "plain_session", "open_session", "own_cores", "usable_threads"]

Session: TypeAlias = Union["InferenceSession", "Replayed"]
"""An open session; on the CUDA provider a `Replayed` one."""


def usable_threads(wanted: int) -> int:
    """`wanted`, but no more than the cores this process may run on."""
    return max(1, min(wanted, usable_cores(wanted)))


def own_cores() -> int:
    """Cores that this process may run on. By default ONNX Runtime starts a thread for each core of the machine, and those of a
    process that may use only a few of them then spin while they wait for one another."""
    return usable_cores(os.cpu_count() or 1)


def open_session(path: Path, *, provider: str = CPU, threads: int = 1, config: Mapping[str, str] | None = None) -> Session:
    """An InferenceSession on `provider` and no other, sequential, with explicit threads; on the CUDA provider a `Replayed` one.

    Raises:
        BadInput: an unknown session key, or a file that ONNX Runtime cannot load.
        NotPossibleHere: the provider is missing, or has no kernel for a node, which is named; there is no fallback to the CPU.
    """
    from edgekit.runtime.providers.ort import onnxruntime

    unknown = sorted(set(config or {}) - SESSION_KEYS)
    if unknown:
        raise BadInput(f"unknown session keys: {', '.join(unknown)}", where=str(path))
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise NotPossibleHere(
            f"{provider} is not in this onnxruntime, which has {', '.join(available)}",
            where=str(path),
            fix="install the onnxruntime build for this provider, or use a bundle for another target",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_threads(threads)
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    elsewhere = provider != CPU
    if elsewhere:
        from edgekit.runtime.providers.cuda import (
            Replayed,
            check_placement,
            provider_options,
        )  # here alone, as the CPU needs none of it
    for key, value in (config or {}).items():
        if not (elsewhere and key == DISABLE_CPU_FALLBACK):  # ONNX Runtime's own refusal names no node; the check below does
            try:
                options.add_session_config_entry(key, value)
            except RuntimeError as fault:
                raise BadInput(f"session key {key}: {str(fault)[:300]}", where=str(path)) from None
    if elsewhere:
        options.add_session_config_entry(RECORD_ASSIGNMENT, "1")
        getattr(onnxruntime, "preload_dlls", lambda: None)()  # CUDA's libraries from nvidia's packages, where they are
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=provider_options(provider, path) if elsewhere else [provider]
        )
    except Exception as fault:  # onnxruntime's error classes share no base but this
        if provider == CUDA and "graph capture" in str(fault):  # a node is left on the CPU, and this does not say which
            check_placement(onnxruntime.InferenceSession(str(path), options, providers=[provider]), provider, str(path))
        raise BadInput(f"ONNX Runtime cannot load it: {str(fault)[:300]}", where=str(path)) from None
    if session.get_providers()[0] != provider:
        raise NotPossibleHere(
            f"{provider} did not start; the session fell back to {session.get_providers()[0]}", where=str(path),
            fix="its libraries are missing or of another version than this onnxruntime was built with",
        )  # fmt: skip
    if elsewhere:
        check_placement(session, provider, str(path))
    return Replayed(session) if provider == CUDA else session


def plain_session(
    model: Path | bytes,
    *,
    threads: int | None = None,
    named: bool = False,
    config: Mapping[str, str] | None = None,
    provider: str = CPU,
    weights: Path | None = None,
) -> InferenceSession:
    """An InferenceSession to examine a graph with (file or bytes), on this machine's CPU, whatever target the graph is for.

    `threads`: None for all of `own_cores`. `named`: without fusions that would remove intermediate values. `provider`: another one, which this
    onnxruntime has. `weights`: the folder that the data files of a graph in bytes lie in.
    """
    from edgekit.runtime.providers.ort import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = own_cores() if threads is None else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if named:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    if weights is not None:
        options.add_session_config_entry(EXTERNAL_WEIGHTS, str(weights))
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=[provider])


def check_chip(arch: str, isa: Sequence[str], isa_any: Sequence[str], where: str) -> None:
    """Raise NotPossibleHere where this machine lacks what a bundle's target needs."""
    here = machine()
    if here != arch:
        raise NotPossibleHere(
            f"made for {arch}, this machine is {here}",
            where=where,
            fix="export for a target of this machine",
            see="the-chip-is-not-the-targets",
        )
    flags = parse_cpuinfo(read_text(Path("/proc/cpuinfo"))).isa
    missing = sorted(set(isa) - flags)
    if missing or (isa_any and not set(isa_any) & flags):
        lacks = ", ".join(missing) or f"one of {', '.join(isa_any)}"
        raise NotPossibleHere(
            f"this chip lacks {lacks}",
            where=where,
            fix="export for a target that this chip matches",
            see="the-chip-is-not-the-targets",
        )


def check_ids(ids: np.ndarray, vocabulary: int, max_length: int) -> None:
    """Raise BadInput where token ids cannot be looked up; ONNX Runtime takes -1 for the last row without an error."""
    if ids.dtype != np.int64 or ids.ndim != 2 or 0 in ids.shape:
        raise BadInput(f"token ids must be int64 of shape (batch, sequence), not {ids.dtype} {ids.shape}")
    if ids.shape[1] > max_length:
        raise BadInput(f"{ids.shape[1]} tokens are more than the bundle's {max_length}")
    unsigned = ids.view(np.uint64)  # one below 0 is the largest of all then
    if unsigned.item(unsigned.argmax()) >= vocabulary:
        raise BadInput(f"token ids from {ids.min()} to {ids.max()} leave the vocabulary of {vocabulary}")
