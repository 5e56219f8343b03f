"""One fresh process of `benchmarks.load.measure`: imports the edgekit that PYTHONPATH names, loads a bundle, answers; prints one JSON object.

It imports nothing of this checkout, as it is run with another one's edgekit too.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from itertools import pairwise

WARM, ANSWERS = 300, 2000


def main(bundle: str, text: str) -> dict[str, float]:
    """Milliseconds of importing what loads bundles, and of loading one; of both the CPU's own too; and of one warmed answer, the median."""
    times, spent = [time.perf_counter()], [time.process_time()]

    def now() -> None:
        times.append(time.perf_counter())
        spent.append(time.process_time())

    from edgekit.runtime.model import load

    now()
    model = load(bundle)
    now()
    for _ in range(WARM):
        model(text)
    answers = []
    for _ in range(ANSWERS):
        begun = time.perf_counter()
        model(text)
        answers.append(time.perf_counter() - begun)
    wall = [(after - before) * 1000 for before, after in pairwise(times)]
    cpu = [(after - before) * 1000 for before, after in pairwise(spent)]
    return {
        "import_ms": wall[0], "load_ms": wall[1], "import_cpu_ms": cpu[0], "load_cpu_ms": cpu[1],
        "answer_ms": statistics.median(answers) * 1000,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
