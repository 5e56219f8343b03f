"""A language model's CPU bundle as one for target `cuda`: the same rounded weights, everything else in float16."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

PROVIDER = "CUDAExecutionProvider"


def half_bundle(source: Path, out: Path, share: float) -> None:
    """Write to `out` the bundle in `source` with its decoder in float16; golden inputs stay those of the CPU.

    `share`: the target's tolerance.
    """
    from edgekit.pack.golden import tolerance
    from edgekit.quantize.half_decoder import decoder_to_float16

    shutil.copytree(source, out)
    with tempfile.TemporaryDirectory() as folder:
        decoder_to_float16(source, Path(folder))
        for name in ("model.onnx", "model.onnx.data"):
            shutil.copyfile(Path(folder) / name, out / name)
    path = out / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    block = manifest["edgekit"]
    (variant,) = manifest["components"]["model"]["variants"].values()
    manifest["components"]["model"]["variants"] = {"cuda": variant | {"execution_provider": PROVIDER}}
    variant = manifest["components"]["model"]["variants"]["cuda"]
    variant["session_options"] = {"intra_op_num_threads": 1, "config": {}}
    block["target"] |= {"name": "cuda", "provider": PROVIDER, "isa": [], "isa_any": []}
    golden = json.loads((out / "golden.json").read_text(encoding="utf-8"))
    block["golden"]["tolerance"] = tolerance(golden, share)
    for name in ("model.onnx", "model.onnx.data"):
        data = (out / name).read_bytes()
        manifest["assets"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
