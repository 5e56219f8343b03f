"""What runs inside the emulated CPU: `python inside.py RUNNER BUNDLE...` prints one JSON line a bundle.

It needs what a device has: Python, numpy, onnxruntime, tokenizers, Pillow for images, and the runner. Each bundle is verified by the runner's own
code, in one process for all of them, as an emulated interpreter takes seconds to start; then a profiled session tells which
kernels ran, on the inputs of the bundle's own audit.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

LENGTHS = (2, 9, 16)
"""As in `edgekit.audit.audit`, so that the two counts can be compared."""


def check(folder: Path) -> dict[str, Any]:
    """What the runner says of one bundle: its `verify` document or its refusal, and the kernels that ran."""
    from edgekit.runtime.bundle.verify import verify
    from edgekit.runtime.errors import EdgekitError

    try:
        found = verify(folder)
    except EdgekitError as fault:
        return {"exit_code": fault.exit_code, "text": fault.text()}
    return {"exit_code": 0, **found, "kernels_run": kernels(folder)}


def kernels(folder: Path) -> dict[str, int]:
    """Operator -> how often its kernel ran in three runs of the bundle's model under its own session settings."""
    import numpy as np
    import onnxruntime

    from edgekit.runtime.bundle.open import open_bundle

    manifest = open_bundle(folder).manifest
    with tempfile.TemporaryDirectory() as scratch:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(scratch) / "profile")
        for key, value in manifest.variant.config.items():
            options.add_session_config_entry(key, value)
        session = onnxruntime.InferenceSession(
            str(folder / manifest.variant.file), options, providers=[manifest.variant.provider]
        )
        for length in LENGTHS:
            ids = np.arange(1, length + 1, dtype=np.int64)[None]
            feed: dict[str, Any] = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            feed |= {"seqlens_k": np.array([length - 1], dtype=np.int32), "keep": np.array([1])}
            feed["total_sequence_length"] = np.array(length, dtype=np.int32)
            for item in session.get_inputs():
                if item.name.startswith("past."):
                    feed[item.name] = np.zeros((1, item.shape[1], length, item.shape[3]), dtype=np.float32)
                elif item.name in ("pixel_values", "input_values"):  # of an image or a sound
                    feed[item.name] = np.random.default_rng(length).normal(size=(1, *item.shape[1:])).astype(np.float32)
            session.run(None, {item.name: feed[item.name] for item in session.get_inputs()})
        profile = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = (event for event in profile if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"))
    return dict(sorted(Counter(event["args"]["op_name"] for event in ran).items()))


def replay(model: str, kind: str, feeds: str) -> list[Any]:
    """First output of `model` for each feed (JSON: name -> nested list of `kind`), with nothing checked."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    ready = ({name: np.asarray(value, dtype=kind) for name, value in feed.items()} for feed in json.loads(feeds))
    return [session.run(None, feed)[0].tolist() for feed in ready]


def main(runner: str, *bundles: str) -> None:
    """Check `bundles` one after the other."""
    if runner == "--replay":
        print(json.dumps(replay(*bundles)))
        return
    sys.path.insert(0, runner)
    sys.dont_write_bytecode = True
    for bundle in bundles:
        print(json.dumps({**check(Path(bundle)), "bundle_path": bundle}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
