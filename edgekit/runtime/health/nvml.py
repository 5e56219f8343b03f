"""NVIDIA GPUs, asked through their driver's own library (NVML) by ctypes: energy, temperature, clock, and why it is slowed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache, partial

from edgekit.runtime.health.meter import Meter
from edgekit.runtime.jsontypes import JsonObject

__all__ = ["Gpu", "gpus", "meters", "slowed"]

LIBRARY = "libnvidia-ml.so.1"
SLOWED = {0x8: "hardware slowdown", 0x20: "software slowdown for heat", 0x40: "hardware slowdown for heat", 0x80: "power brake"}
"""Bits of nvmlDeviceGetCurrentClocksThrottleReasons that mean a fault of heat or supply; the power cap (0x4) is how GPUs work."""
TEMPERATURE_GPU, CLOCK_SM = 0, 1


@dataclass(frozen=True)
class Gpu:
    """Readings of one GPU; None where it does not support one. Joules since its driver was loaded, °C, MHz, and bits of SLOWED."""

    name: str
    joules: float | None
    celsius: float | None
    mhz: float | None
    bits: int | None

    def document(self) -> JsonObject:
        """For JSON."""
        return {**vars(self), "slowed": slowed(self.bits)}


def gpus() -> tuple[list[Gpu], str | None]:
    """Every GPU as it is now; without any, the reason."""
    library, reason = _library()
    if library is None:
        return [], reason
    handles = _handles(library)
    if not handles:
        return [], "the NVIDIA driver shows no GPU"
    return [_look(library, handle) for handle in handles], None


def meters() -> tuple[list[Meter], str | None]:
    """A meter for each GPU that counts its energy (Volta and later); without any, the reason."""
    library, reason = _library()
    if library is None:
        return [], reason
    known = [
        Meter(f"gpu{index} {_name(library, handle)}", "the whole GPU board, other processes included",
              partial(_joules, library, handle), counts=True)
        for index, handle in enumerate(_handles(library))
        if _joules(library, handle) is not None
    ]  # fmt: skip
    return known, None if known else "no NVIDIA GPU here counts its energy"


def slowed(bits: int | None) -> list[str]:
    """Why a GPU is slowed, in words."""
    return [words for bit, words in SLOWED.items() if bits is not None and bits & bit]


@cache
def _library() -> tuple[ctypes.CDLL | None, str | None]:
    """NVML, initialised once a process; or the reason why not."""
    try:
        library = ctypes.CDLL(LIBRARY)
        code = library.nvmlInit_v2()
    except (OSError, AttributeError):
        return None, f"no NVIDIA driver library here ({LIBRARY})"
    return (library, None) if code == 0 else (None, f"the NVIDIA driver does not answer (NVML error {code})")


def _handles(library: ctypes.CDLL) -> list[ctypes.c_void_p]:
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return []
    known = []
    for index in range(count.value):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) == 0:
            known.append(handle)
    return known


def _look(library: ctypes.CDLL, handle: ctypes.c_void_p) -> Gpu:
    celsius = _value(library, "nvmlDeviceGetTemperature", handle, ctypes.c_uint, ctypes.c_int(TEMPERATURE_GPU))
    mhz = _value(library, "nvmlDeviceGetClockInfo", handle, ctypes.c_uint, ctypes.c_int(CLOCK_SM))
    bits = _value(library, "nvmlDeviceGetCurrentClocksThrottleReasons", handle, ctypes.c_ulonglong)
    return Gpu(_name(library, handle), _joules(library, handle), celsius, mhz, bits)


def _joules(library: ctypes.CDLL, handle: ctypes.c_void_p) -> float | None:
    millijoules = _value(library, "nvmlDeviceGetTotalEnergyConsumption", handle, ctypes.c_ulonglong)
    return None if millijoules is None else millijoules / 1000


def _value(
    library: ctypes.CDLL,
    function: str,
    handle: ctypes.c_void_p,
    kind: type[ctypes.c_uint | ctypes.c_ulonglong],
    *arguments: ctypes.c_int,
) -> int | None:
    """The value that a function of NVML gives; None where this driver or GPU does not support it."""
    value = kind()
    try:
        code = getattr(library, function)(handle, *arguments, ctypes.byref(value))
    except AttributeError:
        return None
    return int(value.value) if code == 0 else None


def _name(library: ctypes.CDLL, handle: ctypes.c_void_p) -> str:
    text = ctypes.create_string_buffer(96)
    code = library.nvmlDeviceGetName(handle, text, ctypes.c_uint(len(text)))
    return text.value.decode("utf-8", "replace") if code == 0 else "NVIDIA GPU"
