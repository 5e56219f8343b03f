"""One fresh process of a benchmark that times PyTorch eager: `python -m edgekit.bench.eager SPEC.json`."""

from __future__ import annotations

import sys

from edgekit.runtime.bench.measure import Eager, main

if __name__ == "__main__":
    from edgekit.tasks.eager import eager_predictor, eager_reader

    sys.exit(main(sys.argv[1:], Eager(eager_predictor, eager_reader)))
