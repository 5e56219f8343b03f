"""The lane of x86 chips without VNNI, on an emulated Haswell: 8-bit weights without protection give wrong sums there, ours do not.

Haswell adds pairs of byte products in 16 bits, with saturation (VPMADDUBSW). That is shown twice: on one product whose exact sums
are known, and on a whole classifier whose weights are near the ends of their range, once as `x86-vnni` stores it and once as
`x86-avx2` does, on the same golden inputs. Then the bundle of every task for `x86-avx2` is verified.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.config.target import load_target
from edgekit.errors import CheckFailed
from edgekit.host import detect
from edgekit.progress import Show
from lanes.bundles import CASES, WITHOUT_TEXT, Case, make_bundles
from lanes.emulator import EmulatedCPU, ended_well, run
from lanes.userland import Place, Say

__all__ = ["CPU", "TARGET", "UNPROTECTED", "check", "haswell", "make", "product"]

CPU, TARGET, UNPROTECTED = "Haswell", "x86-avx2", "x86-vnni"
EXTREME = Case("text-classification-extreme", "text-classification", encoder_of="text-classification", extreme=True)
INSIDE = Path(__file__).with_name("inside.py")


def haswell(qemu: Place) -> EmulatedCPU:
    """The emulated chip, with this very interpreter and its packages."""
    return EmulatedCPU(CPU, "x86_64", qemu.path.resolve() / "qemu-x86_64", Path(sys.executable))


def make(build: Path, show: Show) -> dict[tuple[str, str], Path]:
    """The bundles: every case for `x86-avx2`, and the extreme classifier for both targets."""
    places = make_bundles(build, [TARGET], show, (*CASES, *WITHOUT_TEXT))
    return places | make_bundles(build, [TARGET, UNPROTECTED], show, [EXTREME], known=places)


def product(folder: Path, bits: int) -> tuple[Path, np.ndarray, np.ndarray]:
    """(model of one product of uint8 by int8, its input (4, 96), the exact sums (4, 24)); numbers near the ends of their ranges."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(bits)
    top = 2 ** (bits - 1) - 1
    weight = (random.integers(top - 4, top + 1, size=(96, 24)) * random.choice([-1, 1], size=24)).astype(np.int8)
    feed = random.integers(230, 256, size=(4, 96)).astype(np.uint8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [4, 96])], [helper.make_tensor_value_info("y", TensorProto.INT32, [4, 24])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    path = folder / f"product-{bits}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path, feed, feed.astype(np.int32) @ weight.astype(np.int32)


def check(one: EmulatedCPU, bundles: dict[tuple[str, str], Path], scratch: Path, runner: Path, say: Say) -> dict[str, Any]:
    """What the emulated Haswell makes of the products and of all bundles.

    Raises:
        CheckFailed: something that should hold does not; all faults at once.
    """
    faults = []
    sums = {}
    for bits in (8, 7):
        model, feed, exact = product(scratch, bits)
        found = np.asarray(_replay(one, model, [{"x": feed.tolist()}], "uint8")[0], dtype=np.int64)
        sums[f"{bits}-bit weights"] = {
            "sums": exact.size, "wrong": int((found != exact).sum()), "largest_error": round(float(np.abs(found / exact - 1).max()), 4),
        }  # fmt: skip
    if not sums["8-bit weights"]["wrong"] or sums["7-bit weights"]["wrong"]:
        faults.append(f"sums of one product: {sums}")
    say(f"{one.cpu}: one product: {sums}")

    shipped = {str(path / "bundle"): key for key, path in bundles.items() if key[1] == TARGET}
    seen: list[dict[str, Any]] = []

    def line(text: str) -> None:
        seen.append(json.loads(text))
        say(f"{one.cpu}: {len(seen)} of {len(shipped)} bundles")

    ended = ended_well(run(one, [str(INSIDE), str(runner), *shipped], watch=True, line=line), one)
    cells, kernels = [], dict[str, dict[str, int]]()
    for document in seen:
        case, target = shipped[document.pop("bundle_path")]
        if document["exit_code"]:
            faults.append(f"{case} for {target}: {document['text']}")
        kernels[case] = document.pop("kernels_run", {})
        cells.append({"case": case, "target": target, **document})
    if not ended.met.get("vpmaddubsw") or any(name.startswith("vpdp") for name in ended.met):
        faults.append(f"other instructions than Haswell's: {ended.met}")
    classifier = _classifier(one, bundles, faults)
    say(f"{one.cpu}: a classifier with weights near the ends of their range: {classifier}")
    clock = run(one, [str(runner), "bench", next(iter(shipped))])
    if clock.code != 3 or "emulated" not in clock.err:
        faults.append(f"bench ended with {clock.code}: {clock.err.strip() or clock.out.strip()}")
    if faults:
        raise CheckFailed(f"{len(faults)} things are not as they should be", where="avx2 lane", faults=faults)
    return {
        "cpu": one.cpu,
        "cells": cells,
        "kernels": kernels,
        "instructions": ended.met,
        "product": sums,
        "classifier": classifier,
    }


def _classifier(one: EmulatedCPU, bundles: dict[tuple[str, str], Path], faults: list[str]) -> dict[str, Any]:
    """How far the extreme classifier's outputs are off on Haswell in each storage, on the golden inputs, as shares of the tolerance."""
    if load_target(UNPROTECTED).lacks(detect()):
        return {"reason": "this machine has no VNNI, so it cannot make the right outputs of 8-bit weights"}
    found: dict[str, Any] = {}
    for target in (UNPROTECTED, TARGET):
        folder = bundles[EXTREME.name, target] / "bundle"
        rows = json.loads((folder / "golden.json").read_text(encoding="utf-8"))["rows"]
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        feeds = [{"input_ids": row["input_ids"], "attention_mask": [[1] * len(row["input_ids"][0])]} for row in rows]
        made = _replay(one, folder / "model.onnx", feeds, "int64")
        wanted = np.concatenate([np.asarray(row["outputs"]) for row in rows])
        tolerance = manifest["edgekit"]["golden"]["tolerance"]
        off = np.sqrt(np.mean(np.square(np.concatenate([np.asarray(output) for output in made]) - wanted), axis=-1))
        found[target] = {
            "golden": len(rows),
            "wrong": int((off > tolerance).sum()),
            "worst": round(float(off.max() / tolerance), 3),
        }
    if not found[UNPROTECTED]["wrong"] or found[TARGET]["wrong"]:
        faults.append(f"golden inputs of the extreme classifier: {found}")
    return found


def _replay(one: EmulatedCPU, model: Path, feeds: list[dict[str, Any]], kind: str) -> list[Any]:
    """First output of each run of `model` on the emulated chip, without the runner's checks."""
    path = model.resolve()
    ended = run(one, [str(INSIDE), "--replay", str(path), kind, json.dumps(feeds)])
    found: list[Any] = json.loads(ended_well(ended, one).out)
    return found
