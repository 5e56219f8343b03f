"""What the child of `proof` runs: a bundle is loaded and answers, within limits of memory and time that its size explains."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from tokenizers import (
    Tokenizer,
)  # before limits are set, like all that is imported here: what it takes is no doing of the bundle's

import edgekit.runtime.providers.ort  # noqa: F401
from edgekit.runtime.bundle.golden import parse_golden
from edgekit.runtime.bundle.open import Bundle, open_bundle
from edgekit.runtime.bundle.patterns import own_texts
from edgekit.runtime.bundle.proof import FIX, SECONDS_A_BYTE, size_of
from edgekit.runtime.bundle.tokenizer_file import LARGEST, patterns_in
from edgekit.runtime.edge import told
from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.model import load
from edgekit.runtime.processors import processor
from edgekit.runtime.strict_json import read_json
from edgekit.runtime.tokenise import FEWEST_READ, Tokeniser, encoded

__all__ = ["main"]

MEMORY = 448 * 1024**2
"""Bytes that the child may take beyond what it has once its libraries are imported, and beyond `MEMORY_A_BYTE` of its files."""
MEMORY_A_BYTE = 4
"""A weight is in the file, in ONNX Runtime's copy, and packed for its kernels."""
MEMORY_A_PAIR = 1024
"""Bytes for each two tokens of the longest input: attention maps of 64 heads in float32, four times."""
SECONDS = 2.0
"""Of the processor, as a multiple of what importing the libraries took, which says how fast this machine is; at least so many by
itself as `LEAST_SECONDS`."""
LEAST_SECONDS = 1.25
USUAL_IMPORT = 0.3
"""Seconds of the processor in which the machine imports the libraries that `SECONDS_A_BYTE` is of."""
LONGEST_INPUT = 512
RUN = 2000
"""Repetitions in one run that is tokenised, of a word within four times as many characters; what takes their cube is not done in time."""
RUNS = " \n\taA1!é中q'\"_-.\x01🙂αяاअกあ한"
SLOWEST = 2
"""Of the runs, how many are tokenised again at the length of the longest text that is read at once: what takes its square is not done in
time (12 s for `a+b` on 100,000 letters a, where sound tokenizers take 0.01 to 0.2 s)."""
GOLDEN = 2


def _limit(bundle: Bundle) -> None:
    """Bound this process' memory and time by what the bundle's size and this machine's speed explain."""
    spent = time.process_time()
    size = size_of(bundle)
    seconds = max(LEAST_SECONDS, SECONDS * spent) + size * SECONDS_A_BYTE * max(1.0, spent / USUAL_IMPORT)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF ends the process
    try:
        import resource
    except ImportError:
        logging.getLogger("edgekit").warning("this system has no limits for a process: a first load is bounded in time alone")
        return
    length = min(bundle.manifest.max_length, LONGEST_INPUT)
    with suppress(OSError, ValueError):  # where the kernel shows no such file
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        most = taken + MEMORY + MEMORY_A_BYTE * size + MEMORY_A_PAIR * length * length
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent + seconds) + 2, int(spent + seconds) + 3))
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))


def _tried(bundle: Bundle) -> None:
    """Load the bundle and have it answer what shows how it behaves."""
    model = load(bundle.folder, threads=1)
    task = processor(bundle.manifest.task)
    golden = parse_golden(bundle.folder, bundle.manifest)
    for row in sorted(golden, key=lambda row: sum(map(len, row.ids)))[:GOLDEN]:
        if row.input:
            model.outputs(task.prepare(model.reader, row.input))
    tokenise = model.reader
    if not isinstance(tokenise, Tokeniser):
        return
    _tokenised(bundle, tokenise.tokenizer)
    if model.language is None:
        longest = min(tokenise.max_length, LONGEST_INPUT)
        window = Tokeniser(tokenise.tokenizer, longest, tokenise.segments).text("a 1 " * longest)
        model.outputs([window])


def _tokenised(bundle: Bundle, tokenizer: Tokenizer) -> None:
    """Tokenise runs of letters and words, and those that took longest once more, as long as a text that is read whole may be.

    What stands in the patterns follows each run: an engine does not begin on a text that lacks a letter that it needs.
    """
    own = own_texts(patterns_in(read_json(bundle.folder / bundle.manifest.text.file, most=LARGEST)))
    tail, took = "x" + "".join(own), {}
    for repeated in (*RUNS, *own):
        begun = time.process_time()
        encoded(tokenizer, (repeated * RUN)[: 4 * RUN] + tail)
        took[repeated] = time.process_time() - begun
    for repeated in sorted(took, key=lambda one: took[one])[-SLOWEST:]:
        encoded(tokenizer, (repeated * (FEWEST_READ // len(repeated) + 1))[:FEWEST_READ] + tail)


def main(arguments: list[str]) -> int:
    """Prove the bundle in the folder that is named; prints its fault as JSON."""
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
