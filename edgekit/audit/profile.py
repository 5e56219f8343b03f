"""One profiled run of a model: the graph that ONNX Runtime makes of it, and the kernels that it runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.config.target import Target
from edgekit.runtime.generate.graph import TYPES
from edgekit.runtime.pixels import PIXEL_VALUES
from edgekit.runtime.providers.names import CPU, DISABLE_CPU_FALLBACK
from edgekit.runtime.sound import INPUT_FEATURES, INPUT_VALUES

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

__all__ = ["ProfiledRun", "profiled_run"]

LENGTHS = (2, 5, 8)
"""Tokens of the inputs that are run; the least `max_length` of a recipe is 8."""


SAMPLES = 4000
"""Of a sound in the place of each token."""


@dataclass(frozen=True)
class ProfiledRun:
    """What one session made of a model and ran."""

    optimised: ModelProto
    """The graph after ONNX Runtime's own fusions, up to the extended level; weights in other files are not read."""
    kernels: Counter[str]
    """How often each operator's kernel ran."""
    providers: list[str]
    feeds: list[dict[str, np.ndarray]]
    """The inputs that it was run on."""
    activations: Counter[str]
    """Nodes of the operators asked for, by the type of the first input that their kernels took, such as "float32"."""


def profiled_run(path: Path, folder: Path, target: Target, matmuls: Collection[str]) -> ProfiledRun:
    """Open the model in file `path` as `target` does, on the CPU where this machine has not its provider, and run it on a few inputs.

    `folder` takes the optimised graph and the profile. `matmuls`: operators whose nodes are told by the type of their activations.
    """
    import onnx

    from edgekit.runtime.providers.ort import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.log_severity_level = 3  # "serialised above EXTENDED": this file is read here and thrown away
    for key, value in target.session.config.items():
        if key != DISABLE_CPU_FALLBACK:
            options.add_session_config_entry(key, value)
    available = onnxruntime.get_available_providers()
    provider = target.provider if target.provider in available else CPU
    session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    names = [item.name for item in session.get_inputs()]
    feeds = [{name: feed[name] for name in names} for feed in (_feed(session, length) for length in LENGTHS)]
    for feed in feeds:
        session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    ran = {event["name"]: event["args"] for event in kernels if event["args"]["op_name"] in matmuls}  # each node once
    types = [next(iter(arguments["input_type_shape"][0])) for arguments in ran.values()]
    return ProfiledRun(
        optimised=onnx.load(str(folder / "optimised.onnx"), load_external_data=False),
        kernels=Counter(event["args"]["op_name"] for event in kernels),
        providers=session.get_providers(),
        feeds=feeds,
        activations=Counter({"float": "float32"}.get(kind, kind) for kind in types),
    )


def _feed(session: InferenceSession, length: int) -> dict[str, np.ndarray]:
    """Inputs of `length` tokens by name: an encoder's, an image or a sound, and what a decoder's graph takes beside ids, an empty cache with
    room for them."""
    ids = np.arange(1, length + 1, dtype=np.int64)[None]
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    for item in session.get_inputs():
        if item.name.startswith("past."):
            feed[item.name] = np.zeros((1, item.shape[1], length, item.shape[3]), dtype=TYPES[item.type])
        elif item.name in (PIXEL_VALUES, INPUT_FEATURES, INPUT_VALUES):
            shape = (1, *(size if isinstance(size, int) else length * SAMPLES for size in item.shape[1:]))
            feed[item.name] = np.random.default_rng(length).normal(size=shape).astype(np.float32)
    feed["seqlens_k"] = np.array([length - 1], dtype=np.int32)
    feed["total_sequence_length"] = np.array(length, dtype=np.int32)
    feed["keep"], feed["start"] = np.array([1]), np.array([-1])
    return feed
