"""The first load of a bundle from outside, in a child process with limits of memory and time.

What can be told from a bundle's files is checked by `contents`; what is left is what ONNX Runtime and the tokenizers library make of them.
So a bundle that this user neither made nor loaded here before is loaded once in a child, which answers two golden inputs, the longest
input that the model reads (512 tokens at most), and tokenises runs of 2,000 equal characters. A crash, an endless loop or all of the
memory is the child's. What passed is remembered by its digest (`known`), so that the next load starts no child; so is what
`edgekit export` packs, whose maker needs no proof. EDGEKIT_PROOF=never leaves it out.

Bundles for CUDA and TensorRT are not proven: those map more memory than any limit allows. Where the system has no limits for a process
(the `resource` module), the child has those of time alone, and a warning says so.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgekit.runtime.bundle.known import is_known, remember
from edgekit.runtime.bundle.open import Bundle, open_bundle
from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError, NotPossibleHere
from edgekit.runtime.providers.names import CPU

__all__ = ["PROOF", "prove"]

PROOF = "EDGEKIT_PROOF"
MEMORY = 448 * 1024**2
"""Bytes that the child may take beyond what it has once its libraries are imported, and beyond `MEMORY_A_BYTE` of its files."""
MEMORY_A_BYTE = 4
"""A weight is in the file, in ONNX Runtime's copy, and packed for its kernels."""
MEMORY_A_PAIR = 1024
"""Bytes for each two tokens of the longest input: attention maps of 64 heads in float32, four times."""
SECONDS = 2.0
"""Of the processor, as a multiple of what importing the libraries took, which says how fast this machine is; at least so many by
itself as `LEAST_SECONDS`."""
LEAST_SECONDS = 1.0
SECONDS_A_BYTE = 2e-7
"""Of the processor, for each byte of the files, on a machine that imports the libraries in `USUAL_IMPORT` seconds."""
USUAL_IMPORT = 0.3
PATIENCE = 20.0
"""Times the processor's seconds that may pass on the clock, and seconds to start in."""
LONGEST_INPUT = 512
RUN = 2000
"""Characters of one run that is tokenised; what takes their square is done in milliseconds, what takes their cube is not."""
RUNS = " \n\ta1!é中q'\"_-.\x01🙂"
GOLDEN = 2
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
    started = time.monotonic()
    here = str(Path(__file__).parents[3].absolute())  # the folder that holds edgekit, or the runner archive itself
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    quiet = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "MALLOC_ARENA_MAX"), "1"
    )
    environment = {
        **os.environ, **quiet, "TOKENIZERS_PARALLELISM": "false", "PYTHONSAFEPATH": "1", "PYTHONPATH": paths, PROOF: "never", "PYTHONUTF8": "1",
    }  # fmt: skip
    environment.pop("EDGEKIT_TRACEBACK", None)
    with subprocess.Popen(
        [sys.executable, "-m", "edgekit.runtime.bundle.proof", str(bundle.folder.absolute())], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=PATIENCE * (PATIENCE + _size(bundle) * SECONDS_A_BYTE))
        except BaseException as fault:  # whatever ends the wait, the child must not outlive it
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(fault, subprocess.TimeoutExpired):
                raise _refused(bundle, f"did not end within {time.monotonic() - started:.0f} s") from None
            raise
    if process.returncode == 0:
        remember(bundle.digest, "proven")
        return
    raise _fault(bundle, process.returncode, output)


def _size(bundle: Bundle) -> int:
    return sum(asset.size for asset in bundle.manifest.assets.values())


def _refused(bundle: Bundle, what: str) -> CheckFailed:
    return CheckFailed(f"loaded for the first time, in a process of its own, it {what}", where=str(bundle.folder), fix=FIX)


def _fault(bundle: Bundle, code: int, output: bytes) -> EdgekitError:
    """What the end of a child means: its own fault as it said it, or how it died."""
    try:
        said: dict[str, Any] = json.loads(output[:LONGEST_REPLY].decode("utf-8", "replace").strip().splitlines()[-1])
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


def _limit(bundle: Bundle) -> None:
    """Bound this process' memory and time by what the bundle's size and this machine's speed explain."""
    spent = time.process_time()
    size = _size(bundle)
    seconds = max(LEAST_SECONDS, SECONDS * spent) + size * SECONDS_A_BYTE * max(1.0, spent / USUAL_IMPORT)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF ends the process
    try:
        import resource
    except ImportError:
        logging.getLogger("edgekit").warning("this system has no limits for a process: a first load is bounded in time alone")
        return
    length = min(bundle.manifest.tokenizer.max_length, LONGEST_INPUT)
    with suppress(OSError, ValueError):  # where the kernel shows no such file
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        most = taken + MEMORY + MEMORY_A_BYTE * size + MEMORY_A_PAIR * length * length
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent + seconds) + 2, int(spent + seconds) + 3))
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))


def _tried(bundle: Bundle) -> None:
    """Load the bundle and have it answer what shows how it behaves."""
    from edgekit.runtime.model import load
    from edgekit.runtime.processors import processor
    from edgekit.runtime.tokenise import Tokeniser, encoded

    model = load(bundle.folder, threads=1)
    task = processor(bundle.manifest.task)
    for row in sorted(model.golden, key=lambda row: sum(map(len, row.ids)))[:GOLDEN]:
        if any(row.ids):
            model.outputs(task.prepare(model.tokenise, row.input))
    for letter in RUNS:
        encoded(model.tokenise.tokenizer, letter * RUN + "x")
    if model.language is None:
        tokenise: Tokeniser = model.tokenise
        longest = min(tokenise.max_length, LONGEST_INPUT)
        window = Tokeniser(tokenise.tokenizer, longest, tokenise.segments).text("a 1 " * longest)
        model.outputs([window])


def main(arguments: list[str]) -> int:
    """Prove the bundle in the folder that is named; prints its fault as JSON."""
    import tokenizers  # noqa: F401

    import edgekit.runtime.providers.ort  # noqa: F401 - before limits are set: what it takes is no doing of the bundle's
    from edgekit.runtime.edge import told

    try:
        bundle = open_bundle(arguments[0])
        _limit(bundle)
        _tried(bundle)
    except BaseException as raised:
        fault = told(raised)
        if isinstance(raised, MemoryError) or "bad_alloc" in str(raised) or "Failed to allocate" in str(raised):
            fault = CheckFailed("loaded for the first time, in a process of its own, it took far more memory than a bundle of its size",
                                where=arguments[0], fix=FIX)  # fmt: skip
        print(json.dumps({"what": fault.what, "where": fault.where, "fix": fault.fix, "faults": fault.faults}), flush=True)
        return fault.exit_code
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # what a library does when it is torn down is not waited for
