"""What the lane runs on, and the two ceilings that times are held against: bytes copied and float16 products a second."""

from __future__ import annotations

import subprocess
import time
from importlib import metadata
from typing import Any

TOOLS = ("onnxruntime-gpu", "onnxruntime", "torch", "triton", "transformers", "numpy")
QUERY = "name,driver_version,memory.total,clocks.sm,clocks.mem,temperature.gpu,power.draw,clocks_event_reasons.active"


def missing() -> str | None:
    """Why nothing can be measured here, in a sentence; None where it can."""
    try:
        import onnxruntime
        import torch
    except ImportError as fault:
        return f"{fault.name} is not installed"
    providers = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in providers:
        return f"CUDAExecutionProvider is not in this onnxruntime, which has {', '.join(providers)}"
    if not torch.cuda.is_available():
        return "PyTorch sees no NVIDIA GPU, or is built without CUDA"
    return None


def missing_for(part: str, device: str) -> str | None:
    """Why `part` alone cannot be measured here: a bundle for TensorRT without its libraries, two processes without two GPUs."""
    if device != "cuda":
        return None
    if part.endswith("-tensorrt"):
        from edgekit.host import detect

        return None if "TensorrtExecutionProvider" in detect().providers else "TensorRT's libraries are not on this machine"
    import torch

    found = torch.cuda.device_count()
    return f"there is {found} GPU" if part == "distill" and found < 2 else None


def facts(device: str) -> dict[str, Any]:
    """GPU, driver, CUDA and library versions."""
    import onnxruntime
    import torch

    found: dict[str, Any] = {
        "tools": {},
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
    }
    for tool in TOOLS:
        try:
            found["tools"][tool] = metadata.version(tool)
        except metadata.PackageNotFoundError:
            continue
    found["tools"]["onnxruntime"] = onnxruntime.__version__  # the one that runs; another may be installed beside it
    if device == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        card = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": card.name, "memory_gb": card.total_memory / 1e9, "multiprocessors": card.multi_processor_count,
            "l2_mb": card.L2_cache_size / 1e6, "cuda": torch.version.cuda, "cudnn": cudnn, "state": state(),
        }  # fmt: skip
    return found


def state() -> dict[str, str]:
    """Driver, clocks, temperature, power and what slows the card down, as nvidia-smi says."""
    line = subprocess.run(
        ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=False
    )
    return dict(zip(QUERY.split(","), (word.strip() for word in line.stdout.strip().split(",")), strict=False))


def ceilings(device: str) -> dict[str, float]:
    """GB/s of a large copy on the device, bytes read and written counted, and TFLOP/s of a large float16 product of random numbers."""
    import torch

    size, width = (2**32, 8192) if device == "cuda" else (2**22, 256)
    source = torch.randint(0, 127, (size,), dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    copied = best(lambda: target.copy_(source), device)
    one, other = (torch.randn(width, width, dtype=torch.float16, device=device) for _ in range(2))
    product = best(lambda: one @ other, device)
    return {"copy_gb_per_s": 2 * size / copied / 1e9, "matmul_tflop_per_s": 2 * width**3 / product / 1e12}


def best(work: Any, device: str, rounds: int = 10) -> float:
    """Median seconds of `work()`, after three warm-up runs."""
    seconds = []
    for number in range(rounds + 3):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        if number >= 3:
            seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 2]


def synchronise(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def taken_mb(device: str, *, peer: bool, most: bool = False) -> float:
    """MB of the GPU's memory that are taken; 0 on a CPU. For a `peer` by PyTorch's own count, with `most` the largest since the last
    call, else all that the card has given away."""
    if device != "cuda":
        return 0.0
    import torch

    if peer:
        found = torch.cuda.max_memory_allocated() if most else torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return found / 1e6
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 1e6
