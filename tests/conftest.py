"""What many tests share: a tiny model that is really trained, its rows, and the shared real data where it is to be had."""

from __future__ import annotations

import fcntl
import functools
import gc
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault(
    "EDGEKIT_PROOF", "never"
)  # bundles that tests change are loaded without a child process; its own tests start one
KNOWN = tempfile.TemporaryDirectory(prefix="edgekit-known-")
os.environ["EDGEKIT_KNOWN"] = KNOWN.name  # nor does anything that tests make stay in the user's cache
if "EDGEKIT_TESTS_RUN" not in os.environ:  # the processes of one run share what the first of them made, and that one removes it
    RUN = tempfile.TemporaryDirectory(prefix="edgekit-tests-")
    os.environ["EDGEKIT_TESTS_RUN"] = RUN.name
SHARED = Path(os.environ["EDGEKIT_TESTS_RUN"])
os.environ.pop("EDGEKIT_MIRROR", None)  # nor is anything looked up in a mirror that whoever runs them has
os.environ.setdefault("SYMPY_CACHE_SIZE", "100000")  # torch's exporter asks for the same shapes again and again
settings.register_profile("any clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any clock")

gc.set_threshold(10_000, 10, 50)  # beside torch's many objects each look for cycles takes long, and one at all of them most

ROOT = Path(__file__).resolve().parents[1]
PYTHONPATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
"""What a Python that a test starts finds modules by: as this one, and the project from any folder."""


LONG = tuple(f"tests/{room}/" for room in ("end_to_end", "train", "compress", "exporter", "docs", "plan"))
"""Rooms with files that take long."""


@pytest.hookimpl(tryfirst=True)  # before what shuffles, where that is asked for
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first: no process waits in the end for the other's last file (`make test` keeps this order)."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_collection_finish() -> None:
    """What costs every test a little is done once.

    The table of operators that torch's exporter makes anew for each export, always the same one, is a sixth of an export. Two threads over
    tensors this small take a fifth more time of the cores than one, which another process of the tests then has not; what a test starts
    has the threads that users have. A look for cycles among all that was imported takes half a second. No test pulls the plug: that files are
    on the disk is not waited for. How fast the machine is, which each draft measures for a third of a second, is measured once.
    """
    os.fsync = lambda handle: None
    if (draft := sys.modules.get("edgekit.draft.draft")) is not None:
        draft.measured_machine = functools.cache(draft.measured_machine)
    if "torch" in sys.modules:
        import torch
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        from edgekit.exporter import encoder
        from tests.exports_once import made_once

        torch.set_num_threads(1)
        made = functools.cache(ONNXRegistry.from_torchlib)
        ONNXRegistry.from_torchlib = staticmethod(made)  # type: ignore[method-assign, assignment]
        encoder.export = made_once(encoder.export, SHARED)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data and models; the test is skipped where it is absent."""
    folder = Path(os.environ.get("EDGEKIT_SHARED", ROOT.parent / "shared"))
    if not (folder / "models").is_dir():
        pytest.skip(f"no shared data and models at {folder} (set EDGEKIT_SHARED)")
    return folder


COLOURS = ["red", "green", "blue", "white", "black", "yellow"]
ROOMS = ["kitchen", "hall", "bedroom", "garden", "office"]
PATTERNS = {
    "on": "turn on the {c} light in the {r}",
    "off": "turn off the {c} light in the {r}",
    "ask": "is the {c} light in the {r} on",
    "paint": "paint the {r} {c}",
}


def tiny_rows() -> dict[str, list[dict[str, str]]]:
    """120 distinct rows of four labels, split so that no text stands twice."""
    every = [
        {"text": pattern.format(c=colour, r=room), "label": label}
        for label, pattern in PATTERNS.items()
        for colour in COLOURS
        for room in ROOMS
    ]
    order = np.random.default_rng(0).permutation(len(every))
    mixed = [every[index] for index in order]
    return {"train": mixed[:80], "validation": mixed[80:100], "test": mixed[100:]}


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny rows as three JSON-lines files."""
    folder = tmp_path_factory.mktemp("tiny-data")
    for split, rows in tiny_rows().items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="session")
def tiny_artifact(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny rows as the data stage leaves them."""
    from edgekit.data.sources import SPLITS, Place, Sources
    from edgekit.data.splits import prepare

    folder = tmp_path_factory.mktemp("tiny-rows")
    sources = Sources(*(Place(str(tiny_data / f"{split}.jsonl")) for split in SPLITS))
    prepare(sources, ("text", "label"), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 3 layers, width 32, 4 heads and 64 neurons, trained on the tiny rows from nothing."""
    from edgekit.config.recipe import NewModel
    from edgekit.train.supervised import train_from_scratch

    folder = tmp_path_factory.mktemp("tiny-model")
    new = NewModel(layers=3, width=32, heads=4, neurons=64, vocabulary=200, epochs=24, learning_rate=3e-3, batch=8)
    with open(SHARED / "tiny-model.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made := SHARED / "tiny-model").is_dir():
            (making := SHARED / "tiny-model.tmp").mkdir()
            train_from_scratch(
                tiny_artifact, making, tmp_path_factory.mktemp("scratch"), task="text-classification", new=new,
                max_length=32, seed=7, progress=lambda done, total, text: None,
            )  # fmt: skip
            making.rename(made)
    return shutil.copytree(made, folder, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def tiny_export(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as plain and fused ONNX."""
    from edgekit.exporter.encoder import export

    folder = tmp_path_factory.mktemp("tiny-export")
    export(tiny_model, folder, task="text-classification", max_length=32)
    return folder
