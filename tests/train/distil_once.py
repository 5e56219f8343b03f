"""Run by test_spread.py, alone or under `accelerate launch`: distil the model in a folder once for each batch size."""

from __future__ import annotations

import sys
from pathlib import Path

from accelerate import Accelerator

from edgekit.compress.method import Work
from edgekit.compress.methods.distill import Settings, run


def main(source: Path, rows: Path, out: Path, batches: list[int]) -> None:
    place = out / f"process-{Accelerator().process_index}"
    for batch in batches:
        made, scratch = place / str(batch), place / f"scratch-{batch}"
        made.mkdir(parents=True)
        scratch.mkdir()
        work = Work(
            source=source, original=source, dense=source, rows=rows, out=made, scratch=scratch, task="text-classification", max_length=32,
            seed=7, progress=lambda done, total, text: None, checkpoints={},
        )  # fmt: skip
        settings = Settings(method="distill", layers=2, epochs=2, batch=batch, learning_rate=3e-3, hidden="none", warmup=0.0)
        run(work, settings)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), [int(word) for word in sys.argv[4:]])
