"""Bundles of encoders as transformers.js loads them: its own package, in Node, reads the golden inputs."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import CheckFailed
from edgekit.pack.layouts import find_layouts
from edgekit.runtime.bundle.golden import parse_golden
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.children import finish, start
from edgekit.runtime.files import cache_folder
from edgekit.runtime.outputs import put_in_place
from edgekit.web.vendor import npm_install

__all__ = ["fetch_package", "golden_faults", "module"]

PACKAGE, RELEASE = "@huggingface/transformers", "4.3.1"
SCRIPT = Path(__file__).with_suffix(".mjs")
MINUTES = 5


def module() -> Path:
    """The package's module for Node, where this user's machine keeps it."""
    return cache_folder() / "web" / f"transformers-js-{RELEASE}" / "node_modules" / PACKAGE / "dist" / "transformers.node.mjs"


def fetch_package() -> Path:
    """`module`, got by npm where it is not there yet.

    Raises:
        NotPossibleHere: npm is not here, or does not get it.
    """
    found = module()
    if not found.is_file():
        folder = found.parents[4]
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            npm_install(Path(scratch) / "npm", [f"{PACKAGE}@{RELEASE}"])
            put_in_place(Path(scratch) / "npm", folder)
    return found


def golden_faults(node: str, bundle: Bundle, folder: Path) -> tuple[list[str], int]:
    """What is wrong with the answers to golden inputs by `bundle`'s layout, which is written into `folder`, and how many were compared.

    Texts that fill the model's limit are left out, as transformers.js cuts them otherwise, and so are ready-made words.

    Raises:
        CheckFailed: Node ends with a fault.
    """
    (layout,) = find_layouts(["transformers-js"], bundle)
    folder.mkdir()
    layout.write(bundle, folder)
    manifest = bundle.manifest
    command = [node, str(SCRIPT), str(module()), str(folder), str(bundle.folder / manifest.golden.file), manifest.task]
    ended = finish(start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE), seconds=60 * MINUTES)
    shutil.rmtree(folder)
    if ended.code != 0:
        raise CheckFailed(
            f"Node ends with {ended.code}: {ended.errors.decode('utf-8', 'replace')[-1000:]}", where="transformers.js"
        )
    faults, compared = list[str](), 0
    for number, (row, found) in enumerate(zip(parse_golden(bundle.folder, manifest), json.loads(ended.output), strict=True)):
        if found is None or len(row.ids) > 1 or len(row.ids[0]) >= manifest.text.max_length:
            continue
        compared += 1
        if found["ids"] != row.ids[0]:
            faults.append(f"golden input {number}: other token ids")
            continue
        difference = float(np.sqrt(np.mean((_output(found["outputs"], row.outputs[0].shape) - row.outputs[0]) ** 2)))
        if not difference <= manifest.golden.tolerance:
            faults.append(f"golden input {number}: outputs differ by {difference:.3g}, more than {manifest.golden.tolerance:g}")
    return faults, compared


def _output(outputs: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """The bundle's one output of what transformers.js names: logits, an embedding, or starts and ends."""
    values = [np.asarray(value, dtype=np.float32) for value in outputs.values()]
    return np.stack(values, axis=-1).reshape(shape) if len(values) > 1 else values[0].reshape(shape)
