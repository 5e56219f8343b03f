"""External weights of ONNX files: eight ways out of a bundle, refused when it is packed and when it is loaded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.pack.external import check_external
from edgekit.runtime.errors import EdgekitError
from edgekit.runtime.model import load
from tests.tiny_manifest import rewrite_manifest

SIZE = 64


def model(location: str, offset: int | str, length: int | str) -> bytes:
    """y = x + w, with w outside the file."""
    weights = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[16], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        weights.external_data.add(key=key, value=str(value))
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [16]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    return bytes(made.SerializeToString())


CASES: dict[str, tuple[str, Any, Any]] = {
    "dotdot": ("../w.bin", 0, SIZE), "absolute": ("/etc/passwd", 0, SIZE), "symlink": ("link.bin", 0, SIZE),
    "parent symlink": ("up/w.bin", 0, SIZE), "hardlink": ("hard.bin", 0, SIZE), "short": ("w.bin", 0, SIZE + 1),
    "huge": ("w.bin", 2**60, SIZE), "negative": ("w.bin", -SIZE, SIZE),
}  # fmt: skip


def lay_out(folder: Path, case: str, location: str, offset: Any, length: Any) -> None:
    """The model with its weights and, for links, what it points at beside and above the folder."""
    folder.mkdir(exist_ok=True)
    for path in (folder / "w.bin", folder.parent / "w.bin"):
        path.write_bytes(np.arange(16, dtype=np.float32).tobytes())
    (folder / "model.onnx").write_bytes(model(location, offset, length))
    if case == "symlink":
        (folder / "link.bin").symlink_to(folder.parent / "w.bin")
    if case == "parent symlink":
        (folder / "up").symlink_to(folder.parent)
    if case == "hardlink":
        os.link(folder.parent / "w.bin", folder / "hard.bin")


@pytest.mark.parametrize("case", CASES)
def test_at_packing(tmp_path: Path, case: str) -> None:
    lay_out(tmp_path / "in", case, *CASES[case])
    with pytest.raises(EdgekitError, match="external weights"):
        check_external(tmp_path / "in" / "model.onnx", {"model.onnx": 9, "w.bin": SIZE})


def test_right_ones_and_no_numbers(tmp_path: Path) -> None:
    lay_out(tmp_path / "in", "", "w.bin", 0, SIZE)
    check_external(tmp_path / "in" / "model.onnx", {"w.bin": SIZE})
    lay_out(tmp_path / "in", "", "w.bin", "ten", SIZE)
    with pytest.raises(EdgekitError, match="no number"):
        check_external(tmp_path / "in" / "model.onnx", {"w.bin": SIZE})
    (tmp_path / "in" / "model.onnx").write_bytes(b"\xff" * 30)
    with pytest.raises(EdgekitError, match="not an ONNX file"):
        check_external(tmp_path / "in" / "model.onnx", {})


def test_weights_within_a_branch_are_found(tmp_path: Path) -> None:
    inner = onnx.load_model_from_string(model("../w.bin", 0, SIZE)).graph
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    graph = onnx.helper.make_graph([node], "outer", [], [])
    (tmp_path / "model.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(EdgekitError, match="external weights"):
        check_external(tmp_path / "model.onnx", {"w.bin": SIZE})


@pytest.mark.parametrize("case", CASES)
def test_at_loading(bundle: Path, tmp_path: Path, case: str) -> None:
    """Whoever made the bundle wrote its manifest to match: the runtime must refuse by itself."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    lay_out(folder, case, *CASES[case])
    rewrite_manifest(folder)
    with pytest.raises(EdgekitError, match=r"plain file|not in the manifest|not among the assets|ends at byte|external data"):
        load(folder)
