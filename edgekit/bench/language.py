"""What a language model's benchmark adds: prompts of several lengths, how much of the memory's speed its tokens reach, and what guesses give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.bench.variants import is_eager
from edgekit.errors import BadInput
from edgekit.models.files import read_json
from edgekit.runtime.bench.child import run_child
from edgekit.runtime.bench.prompts import TOKENS, main_prompt, prompts_that_fit, scenario_names
from edgekit.runtime.bench.protocol import MEMORY
from edgekit.runtime.bench.statistics import summary
from edgekit.runtime.bench.supervise import Runs
from edgekit.runtime.bundle.names import DRAFT, DRAFT_DATA, GENERATION, MODEL
from edgekit.runtime.temporary import temporary_folder

__all__ = ["guesses_block", "language_block", "language_specs", "traffic_of"]

GATHERS = {"Gather", "GatherBlockQuantized"}
DRAWS = 2000
"""Bootstrap resamples, over prompts."""
LONGEST = 1800.0
"""Seconds that the process which guesses may take."""


def language_specs(
    specs: Mapping[str, dict[str, Any]], folder: Path, *, quick: bool, prompts: tuple[int, ...] | None
) -> dict[str, dict[str, Any]]:
    """`specs` of a language model's variants with what `measure_language` wants, and the reading of memory.

    Raises:
        BadInput: the bundle's manifest does not describe one, or a prompt that does not fit.
    """
    path = folder / "bundle" / "manifest.json"
    try:
        generation = json.loads(path.read_text(encoding="utf-8"))["edgekit"]["generation"]
        lengths = prompts_that_fit(int(generation["context"]), prompts)
    except (OSError, ValueError, KeyError, TypeError) as fault:
        if isinstance(fault, BadInput):
            raise
        raise BadInput("describes no language model", where=str(path), fix="run `edgekit export` again") from None
    lengths = [main_prompt(lengths)] if quick and not prompts else lengths
    language = {
        name: {
            **spec,
            "generation": {**_generation_of(spec, generation), "cache": None},
            "prompts": lengths,
            "min_runs": 2 * TOKENS,
        }
        for name, spec in specs.items()
    }
    threads = next(iter(specs.values()))["threads"]
    return {**language, MEMORY: {"kind": "memory", "threads": threads}}


def _generation_of(spec: Mapping[str, Any], otherwise: dict[str, Any]) -> dict[str, Any]:
    """How the graph of `spec` is used, which differs where layers were dropped; `otherwise` where nothing says so."""
    path = Path(spec["folder"]) / GENERATION
    return read_json(path) if spec["kind"] == "onnx" and path.is_file() else otherwise


def language_block(
    runs: Runs, variants: Mapping[str, dict[str, Any]], specs: Mapping[str, Any], reads: list[float], seed: int
) -> dict[str, Any]:
    """The document's "language": the memory's speed, and of each variant what a token reads and the share of that speed it reaches.

    `reads`: GB/s of each round; shares are of their median. What a token reads is every weight that is multiplied, and the keys and
    values of the tokens before it; rows of an embedding that is only looked up are not counted. PyTorch's bytes are not counted.
    """
    figures = summary([[read] for read in reads], seed)
    speed = figures["p50_ms"]
    found: dict[str, Any] = {}
    for name in runs.measured():
        read = (
            None
            if is_eager(variants[name])
            else traffic_of(Path(variants[name]["folder"]) / str(variants[name].get("file", MODEL)))
        )
        prompts = []
        for length in specs[name]["prompts"]:
            first, token = (
                float(np.median([np.median(child) for child in runs.samples(name, scenario)]))
                for scenario in scenario_names(length)
            )
            one: dict[str, Any] = {"tokens": length, "read_per_second": length / first * 1000, "made_per_second": 1000 / token}
            if read:
                whole = read[0] + read[1] * (length + TOKENS / 2)
                one |= {"share": whole / token / 1e6 / speed, "share_of_weights": read[0] / token / 1e6 / speed}
            prompts.append(one)
        found[name] = {
            "weight_bytes": read[0] if read else None,
            "cache_bytes_per_token": read[1] if read else None,
            "prompts": prompts,
        }
    asked = next(iter(specs.values()))["prompts"]
    return {
        "memory_gb_s": {"median": speed, "ci95": figures["ci95_ms"], "readings": len(reads)},
        "main_prompt": main_prompt(asked), "tokens": TOKENS, "variants": found,
    }  # fmt: skip


def guesses_block(bundle: Path, items: Path, *, threads: int, seconds: float, seed: int) -> dict[str, Any]:
    """What guesses of next tokens give on the recipe's own rows: {"prompts", "tokens", "drafted", "accepted", tokens a second, "faster_by" with
    its interval over prompts, "draft": the small model's name and MB, "off": why none were read}.

    Raises:
        CheckFailed, BadInput, NotPossibleHere: as `run_child`.
    """
    spec = {
        "kind": "guesses", "folder": str(bundle), "items": str(items), "threads": threads, "seconds": seconds, "seed": seed,
    }  # fmt: skip
    with temporary_folder("guesses") as aside:
        path = aside / "spec.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        found = run_child(path, "guesses of next tokens", spec, LONGEST)
    plain, guessed = (np.array(found[name]) for name in ("plain_ms", "guessed_ms"))
    stated = read_json(bundle / "manifest.json")["edgekit"].get("draft")
    size = sum((bundle / name).stat().st_size for name in (DRAFT, DRAFT_DATA) if (bundle / name).is_file()) / 1e6
    counts = {name: int(sum(found[name])) for name in ("tokens", "drafted", "accepted")}
    block = {
        "prompts": len(plain), **counts, "off": found["off"],
        "draft": None if stated is None else {"name": stated["name"], "format": stated["format"], "mb": size},
    }  # fmt: skip
    if not counts["tokens"]:
        return block
    picks = np.random.default_rng(seed).integers(0, len(plain), size=(DRAWS, len(plain)))
    ratios = plain[picks].sum(axis=1) / guessed[picks].sum(axis=1)
    speeds = {name: 1000 * counts["tokens"] / float(each.sum()) for name, each in (("plain", plain), ("guessed", guessed))}
    ci95 = [float(one) for one in np.percentile(ratios, [2.5, 97.5])]
    return {**block, "per_second": speeds, "faster_by": float(plain.sum() / guessed.sum()), "ci95": ci95}


def traffic_of(model: Path) -> tuple[int, int]:
    """(bytes of weights that every token reads, bytes of cache that it reads for each token before it), from the graph.

    A table that gathers alone use is not among them: a token reads one row of it.
    """
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    users: dict[str, set[bool]] = {}
    for node in graph.node:
        table = node.op_type in GATHERS
        for place, name in enumerate(node.input):
            users.setdefault(name, set()).add(table and place != 1)  # input 1: which rows
    weights = sum(_bytes(tensor) for tensor in graph.initializer if users.get(tensor.name) != {True})
    cache = 0
    for value in graph.input:
        if value.name.startswith("past."):
            shape = value.type.tensor_type.shape.dim
            width = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).itemsize
            cache += shape[1].dim_value * shape[3].dim_value * width
    return weights, cache


def _bytes(tensor: Any) -> int:
    """Bytes of an initializer, wherever they lie; packed numbers of 4 bits are two a byte."""
    import onnx

    stated = {entry.key: entry.value for entry in tensor.external_data}
    if "length" in stated:
        return int(stated["length"])
    count = int(np.prod(tensor.dims)) if tensor.dims else 1
    if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
        return (count + 1) // 2
    return int(count * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
