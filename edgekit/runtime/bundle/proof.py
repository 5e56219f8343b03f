"""The first load of a bundle from outside, in a child process with limits of memory and time.

What can be told from a bundle's files is checked by `contents`; what is left is what ONNX Runtime and the tokenizers library make of them.
So a bundle that this user neither made nor loaded here before is loaded once in a child, which answers two golden inputs and the longest
input that the model reads (512 tokens at most), and tokenises 2,000 repetitions of single characters and of the letters and words that
its own patterns name, then 100,000 characters of the two that took longest. A crash, an endless loop or all of the memory is the child's.
What passed is remembered by its digest (`known`), so that the next load starts no child; so is what `edgekit export` packs, whose maker
needs no proof. EDGEKIT_PROOF=never leaves it out.

Bundles for CUDA and TensorRT are not proven: those map more memory than any limit allows. Where the system has no limits for a process
(the `resource` module), the child has those of time alone, and a warning says so.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from edgekit.runtime.bundle.known import is_known, remember
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError, NotPossibleHere
from edgekit.runtime.providers.names import CPU

if TYPE_CHECKING:
    from edgekit.runtime.children import Ended

__all__ = ["FIX", "PROOF", "SECONDS_A_BYTE", "prove", "size_of"]

PROOF = "EDGEKIT_PROOF"
CHILD = "edgekit.runtime.bundle.first_load"
"""The module that the child runs."""
SECONDS_A_BYTE = 2e-7
"""Of the processor, for each byte of the files."""
PATIENCE = 20.0
"""Times the processor's seconds that may pass on the clock, and seconds to start in."""
LONGEST_REPLY = 20_000
FIX = "do not use it unless you trust who made it; EDGEKIT_PROOF=never loads it all the same"


def prove(bundle: Bundle) -> None:
    """Load `bundle` in a child process first, unless it is known here, or needs a GPU.

    Raises:
        BadInput, CheckFailed, NotPossibleHere: what the child raised, that it crashed, or that it took more memory or time than such a
            bundle needs.
    """
    if (
        os.environ.get(PROOF) == "never"
        or bundle.manifest.variant.provider != CPU
        or not sys.executable
        or is_known(bundle.digest, "proven")
    ):
        return
    import subprocess  # here alone, as most loads start no process

    from edgekit.runtime.children import finish, start_module

    started = time.monotonic()
    quiet = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "MALLOC_ARENA_MAX"), "1"
    )
    environment = {**quiet, "TOKENIZERS_PARALLELISM": "false", PROOF: "never", "PYTHONUTF8": "1", "EDGEKIT_TRACEBACK": ""}
    child = start_module(CHILD, str(bundle.folder.absolute()), stdout=subprocess.PIPE, environment=environment)
    try:
        ended = finish(child, PATIENCE * (PATIENCE + size_of(bundle) * SECONDS_A_BYTE))
    except subprocess.TimeoutExpired:
        raise _refused(bundle, f"did not end within {time.monotonic() - started:.0f} s") from None
    if ended.code != 0:
        raise _fault(bundle, ended)
    remember(bundle.digest, "proven")


def size_of(bundle: Bundle) -> int:
    """Bytes of its files."""
    return sum(asset.size for asset in bundle.manifest.assets.values())


def _refused(bundle: Bundle, what: str) -> CheckFailed:
    return CheckFailed(f"loaded for the first time, in a process of its own, it {what}", where=str(bundle.folder), fix=FIX)


def _fault(bundle: Bundle, ended: Ended) -> EdgekitError:
    """What the end of a child means: its own fault as it said it, or how it died."""
    import signal

    code = ended.code
    try:
        said: dict[str, Any] = json.loads(ended.output[:LONGEST_REPLY].decode("utf-8", "replace").strip().splitlines()[-1])
        kind = {2: BadInput, 3: NotPossibleHere}.get(code, CheckFailed)
        return kind(str(said["what"]), where=said["where"] and str(said["where"]), fix=said["fix"] and str(said["fix"]), faults=[
            str(one) for one in said["faults"]])  # fmt: skip
    except (IndexError, KeyError, TypeError, ValueError):
        pass
    if -code in (signal.SIGPROF, signal.SIGXCPU):
        return _refused(bundle, "took far more time than a bundle of its size")
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return _refused(bundle, f"was ended by {name}, as for want of memory or a crash")
    return _refused(bundle, f"failed with exit code {code}")
