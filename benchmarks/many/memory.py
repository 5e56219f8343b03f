"""Memory of a process that answers a million texts, at each tenth of them.

    python -m benchmarks.many.memory build/intents-x86-vnni

Three ways: `edgekit run --jsonl` of rows that come through a pipe, `model.each(generator)` in Python, and `model(generator, workers=...)`, which
gives a list, and so holds the answers. Workers are threads of the same process, so its memory is all there is. No two texts are alike.
Writes memory.json and README.md beside itself; some minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.many.page import HERE, WAYS, write_page
from benchmarks.pages import write_results
from edgekit.host import detect
from edgekit.runtime.model import load

TEXTS, PARTS, WORKERS = 1_000_000, 10, 2
WORDS = (
    "turn",
    "on",
    "the",
    "red",
    "light",
    "in",
    "hall",
    "play",
    "some",
    "jazz",
    "set",
    "a",
    "timer",
    "for",
    "ten",
    "minutes",
)


def texts(count: int) -> Iterator[str]:
    """So many texts of five words and a number, each once."""
    for number in range(count):
        yield " ".join(WORDS[(number >> 4 * place) % len(WORDS)] for place in range(5)) + f" {number}"


def resident_mb(process: int | str = "self") -> float:
    """Memory of a process that is in RAM, MB (10^6 bytes)."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"no VmRSS of process {process}")


def main() -> None:
    """Measure every way in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--way", choices=WAYS, help="measure this one here, and print it")
    asked = parser.parse_args()
    if asked.way:
        print(
            json.dumps(
                rows_of_the_command(asked.bundle, asked.texts)
                if asked.way == "jsonl"
                else in_python(asked.way, asked.bundle, asked.texts)
            )
        )
        return
    found = {}
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.many.memory", str(asked.bundle), "--texts", str(asked.texts), "--way", way]
        found[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(way, found[way], file=sys.stderr, flush=True)
    document = {
        "command": f"python -m benchmarks.many.memory build/{asked.bundle.name}",
        "bundle": asked.bundle.name, "texts": asked.texts, "machine": {"chip": detect().cpu}, "workers": WORKERS, "ways": found,
    }  # fmt: skip
    write_results(HERE / "memory.json", document)
    write_page()


def rows_of_the_command(bundle: Path, count: int) -> dict[str, Any]:
    """Of `edgekit run --jsonl`, fed through a pipe as fast as it reads."""
    command = [sys.executable, "-m", "edgekit", "run", str(bundle), "--jsonl", "--workers", str(WORKERS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        stream, samples = process.stdin, []

        def feed() -> None:
            with stream:
                for text in texts(count):
                    print(json.dumps(text), file=stream)

        feeder = threading.Thread(target=feed)
        feeder.start()
        part = count // PARTS
        for number, _ in enumerate(process.stdout, 1):
            if number == part // PARTS or number % part == 0:
                samples.append(resident_mb(process.pid))
        feeder.join()
    assert process.returncode == 0, "every row has an answer"
    return {"resident_mb": samples}


def in_python(way: str, bundle: Path, count: int) -> dict[str, Any]:
    """Of this process, with a generator of texts."""
    model = load(bundle)
    part, samples, read = count // PARTS, [], 0

    def given() -> Iterator[str]:
        nonlocal read
        for read, text in enumerate(texts(count), 1):
            if read == part // PARTS or read % part == 0:
                samples.append(resident_mb())
            yield text

    if way == "each":
        assert sum("error" not in answer for answer in model.each(given(), workers=WORKERS)) == count
        return {"resident_mb": samples}
    assert len(model(given(), workers=WORKERS)) == count
    return {"resident_mb": samples}


if __name__ == "__main__":
    main()
