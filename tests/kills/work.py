"""The runs that are killed: an export of a tiny recipe, a search around it, the artifacts of a bundle, a bundle measured on a device over ssh."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from edgekit.device import fleet
from edgekit.pack.artifacts import make_artifacts
from edgekit.progress import Show
from tests.conftest import tiny_rows
from tests.device.loopback import QUICK, Server, make_bundle, running_sshd, write_stand_in

__all__ = [
    "artifacts", "export", "exported", "left_by_artifacts", "left_by_device", "left_by_export", "made_artifacts", "measure_on_device", "measured",
    "prepare_artifacts", "prepare_device", "prepare_export", "tried", "tune",
]  # fmt: skip

RECIPE = """schema = 1
task = "text-classification"
seed = 7
[model]
max_length = 16
licence = "apache-2.0"
[model.new]
layers = 2
width = 32
heads = 4
neurons = 64
vocabulary = 200
epochs = 2
batch = 16
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
[calibration]
rows = 8
[[compress]]
method = "prune-structured"
keep = 0.7
"""
_open = ExitStack()
"""What ends with this process: the device."""


def prepare_export(folder: Path) -> None:
    """The recipe and its rows; and what an export imports, once, so that kills fall on its work and not on its imports."""
    import torch  # noqa: F401
    import transformers  # noqa: F401

    for split, rows in tiny_rows().items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tiny.toml").write_text(RECIPE)


def export(folder: Path) -> None:
    """As `edgekit export tiny.toml --no-bench`."""
    from edgekit.pipeline.run import run_recipe

    run_recipe(str(folder / "tiny.toml"), [], folder / "build", measure=False, show=Show(silent=True))


def exported(folder: Path) -> list[Path]:
    """The bundle and its archive."""
    (result,) = (path.parent for path in folder.glob("build/*/bundle") if path.parent.name != "store")
    return [*(result / "bundle").iterdir(), *result.glob("*.tar.gz")]


def left_by_export(folder: Path) -> list[Path]:
    """Half-made stages and files under temporary names."""
    return [path for path in (folder / "build").rglob("*") if path.name.endswith((".partial", ".tmp", ".old", ".unsealed"))]


def tune(folder: Path) -> None:
    """As `edgekit tune tiny.toml --trials 4`, but for the points, for a machine that this is not, as times differ; and what came of the trials,
    without what they took."""
    import torch

    from edgekit.host import detect
    from edgekit.tuner.run import Asked, search

    torch.set_num_threads(1)
    elsewhere = "arm64-dotprod" if detect().arch == "x86_64" else "x86-vnni"
    found = search(Asked(str(folder / "tiny.toml"), elsewhere, folder / "build", trials=2), Show(silent=True))
    document = [
        {
            "state": trial.state.name, "values": trial.values, "drawn": sorted(trial.params.items()), "key": trial.user_attrs.get("key"),
            "looks": [[one["share"], one["quality"], one["size_mb"]] for one in trial.user_attrs.get("rungs", ())],
        }
        for trial in found.trials
    ]  # fmt: skip
    (folder / "trials.json").write_text(json.dumps(document, indent=1))


def tried(folder: Path) -> list[Path]:
    """What came of the trials."""
    return [folder / "trials.json"]


def prepare_artifacts(folder: Path) -> None:
    """A result folder with a tiny bundle."""
    (folder / "result").mkdir()
    shutil.copytree(_bundle(), folder / "result" / "bundle")


def artifacts(folder: Path) -> None:
    """As `edgekit artifacts result --oci`."""
    make_artifacts(folder / "result", oci=True)


def made_artifacts(folder: Path) -> list[Path]:
    """All that is shipped."""
    return [path for path in (folder / "result" / "artifacts").rglob("*") if path.is_file()]


def left_by_artifacts(folder: Path) -> list[Path]:
    """What lies beside bundle and artifacts."""
    return [path for path in (folder / "result").iterdir() if path.name not in ("bundle", "artifacts")]


def prepare_device(folder: Path) -> None:
    """A bundle, and a stand-in for the runner that measures the same each time: what is killed is the way there and back."""
    _sshd()
    prepare_artifacts(folder)
    write_stand_in(folder / "runner.pyz", "document.pop('token', None)")


def measure_on_device(folder: Path) -> None:
    """As `edgekit bench result/bundle --device here`."""
    device = _sshd().device(folder.name)
    (found,) = fleet.bench_on_devices(
        folder / "result" / "bundle", [device], show=Show(silent=True), runner=folder / "runner.pyz", **QUICK
    )
    if found.fault is not None:
        raise found.fault


def measured(folder: Path) -> list[Path]:
    """What was measured and verified, without the facts of the device at that moment and the seconds that steps took."""
    result = json.loads((folder / "result" / "devices" / f"{folder.name}.json").read_text())
    (folder / "measured.json").write_text(json.dumps({name: result[name] for name in ("bench", "verify")}, sort_keys=True))
    return [folder / "measured.json"]


def left_by_device(folder: Path) -> list[Path]:
    """What is left on the device, and beside the result file."""
    beside = [path for path in (folder / "result" / "devices").iterdir() if path.suffix != ".json"]
    return [*beside, *map(Path, _sshd().left(folder.name))]


@cache
def _bundle() -> Path:
    return make_bundle(_folder("bundle"), ballast=3_000_000)


@cache
def _sshd() -> Server:
    return _open.enter_context(running_sshd(_folder("sshd")))


def _folder(name: str) -> Path:
    from tempfile import TemporaryDirectory

    return Path(_open.enter_context(TemporaryDirectory(prefix=f"kills-{name}-")))
