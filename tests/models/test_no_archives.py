"""No path of edgekit opens a pickle or an archive of PyTorch: `.bin`, `.pt`, `.pth`, TorchScript, torch.package, PT2.

PyTorch's readers of those can run code, and torch 2.13.0, which is pinned, is under an advisory for PT2 archives (`torch.export.load`).
"""

from __future__ import annotations

import ast
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch._inductor
import torch.package

from edgekit.compress.distillation.fill import masked_language_model
from edgekit.errors import EdgekitError
from edgekit.models.checkpoint import load
from edgekit.models.decoders import describe
from edgekit.models.files import digest
from edgekit.models.quiet import quiet
from edgekit.models.settle import settle
from edgekit.models.view import ENDINGS, view
from edgekit.tasks import find_task
from tests.matrix.made import decoder

READERS = {
    "torch": ("load", "hub", "package", "jit"),
    "torch.export": ("load",),
    "torch.jit": ("load",),
    "torch._inductor": ("aoti_load_package", "aot_compile"),
    "torch._export": ("aot_load",),
    "pickle": ("load", "loads", "Unpickler"),
    "joblib": ("load",),
    "dill": ("load", "loads"),
    "numpy": ("load", "fromfile"),
    "np": ("load", "fromfile"),
}
"""Module -> names in it that read such a file."""
TRAPS = (
    "model.pt2",
    "model.pt",
    "pytorch_model.bin",
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "model.pkl",
)
"""What people's folders hold beside their weights."""


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_the_source_names_no_such_reader() -> None:
    root = Path(__file__).resolve().parents[2] / "edgekit"
    found, arrays = [], []
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom) and node.module in READERS:
                found += [f"{where} {node.module}.{one.name}" for one in node.names if one.name in READERS[node.module]]
            if isinstance(node, ast.Attribute):
                home, name = dotted(node.value), node.attr
                if name in READERS.get(home, ()):
                    (arrays if home in ("numpy", "np") else found).append(f"{where} {home}.{name}")
            if isinstance(node, ast.Call) and dotted(node.func) in ("np.load", "numpy.load"):
                given = {word.arg: word.value for word in node.keywords}
                pickles = given.get("allow_pickle")
                assert isinstance(pickles, ast.Constant) and pickles.value is False, where
    assert found == []
    assert arrays, "the search finds what there is"


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls of every such reader, none of which gets to read."""
    called: list[str] = []

    def trap(name: str) -> Callable[..., Any]:
        def reader(*given: object, **named: object) -> None:
            called.append(name)
            raise AssertionError(f"{name} was called")

        return reader

    for home, name in (
        (torch, "load"), (torch.export, "load"), (torch.jit, "load"), (torch.package, "PackageImporter"),
        (torch._inductor, "aoti_load_package"), (pickle, "load"), (pickle, "Unpickler"),
    ):  # fmt: skip
        monkeypatch.setattr(home, name, trap(f"{home.__name__}.{name}"))
    return called


def with_traps(folder: Path) -> Path:
    for name in TRAPS:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("archive_format", "pt2")
    (folder / "modeling_mine.py").write_text("raise SystemExit('code of the folder was run')")
    return folder


def test_an_encoders_folder(tiny_model: Path, tmp_path: Path, watched: list[str]) -> None:
    folder = with_traps(Path(shutil.copytree(tiny_model, tmp_path / "model")))
    digest(folder)
    load(folder)
    load(folder, new_head=["a", "b"])
    (tmp_path / "out").mkdir()
    settle(folder, tmp_path / "out", inputs=True)
    with pytest.raises(EdgekitError):
        masked_language_model(folder)
    reference = find_task("text-classification").reference
    assert reference is not None
    with quiet(), view(folder) as seen:
        assert {path.suffix for path in seen.rglob("*") if path.is_file()} <= set(ENDINGS)
        reference.open(seen, 16)("turn on the red light")
    assert watched == []


def test_a_decoders_folder(tmp_path: Path, watched: list[str]) -> None:
    folder = with_traps(decoder("llama", tmp_path / "model"))
    digest(folder)
    describe(folder)
    load(folder, "AutoModelForCausalLM")
    reference = find_task("text-generation").reference
    assert reference is not None
    with quiet(), view(folder) as seen:
        reference.open(seen, 16)("the cat")
    assert watched == []


@pytest.mark.parametrize("name", TRAPS)
def test_a_folder_of_such_a_file_alone_is_refused(tiny_model: Path, tmp_path: Path, name: str, watched: list[str]) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"PK")
    with pytest.raises(EdgekitError, match=r"no model\.safetensors|pickle"):
        load(folder)
    assert watched == []
