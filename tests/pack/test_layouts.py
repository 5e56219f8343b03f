"""Layouts: the model as other runtimes load it, the same bytes each time, and refused where it would not be the same model."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.pack.artifacts import make_artifacts
from edgekit.pack.layouts import find_layouts, layout_names, ort
from edgekit.runtime import model
from edgekit.runtime.bundle.open import Bundle, open_bundle
from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.providers.names import CUDA
from edgekit.runtime.providers.session import open_session


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def of_provider(bundle: Bundle, provider: str) -> Bundle:
    return replace(bundle, manifest=replace(bundle.manifest, target=replace(bundle.manifest.target, provider=provider)))


def test_each_has_the_name_of_its_module() -> None:
    for name in layout_names():
        layout = importlib.import_module(f"edgekit.pack.layouts.{name.replace('-', '_')}").LAYOUT
        assert layout.name == name and layout.title


@pytest.mark.parametrize("name", layout_names())
def test_the_same_bundle_gives_the_same_bytes(name: str, bundle: Path, spoken: Path, tmp_path: Path) -> None:
    fault = importlib.import_module(f"edgekit.pack.layouts.{name.replace('-', '_')}").LAYOUT.fault
    held = [one for one in map(open_bundle, (bundle, spoken / "bundle")) if fault(one) is None]
    if not held:
        pytest.skip(f"{name}: {fault(open_bundle(spoken / 'bundle'))}")
    opened = held[0]
    (layout,) = find_layouts([name, name], opened)
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        layout.write(opened, folder)
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    assert one.keys() == two.keys() and one
    assert {file for file in one if one[file] != two[file]} <= set(layout.varies)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and str(tmp_path).encode() in path.read_bytes()]


def test_all_faults_are_told_before_anything_is_written(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    with pytest.raises(BadInput, match="--layout") as refused:
        make_artifacts(tmp_path, layouts=["ortt", "nothing-like-it"])
    assert len(refused.value.faults) == 2 and "did you mean 'ort'?" in refused.value.faults[0]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_ort_format_is_loaded_back_and_lists_its_operators(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    made = make_artifacts(tmp_path, layouts=["ort"])
    assert {"ort/model.ort", "ort/required_operators.config"} <= {name for name, _, _ in made.files}
    feed = {"input_ids": np.array([[2, 5, 3]]), "attention_mask": np.ones((1, 3), dtype=np.int64)}
    answers = [open_session(path).run(None, feed)[0] for path in (bundle / "model.onnx", made.folder / "ort" / "model.ort")]
    assert answers[0].tobytes() == answers[1].tobytes()
    listed = (made.folder / "ort" / "required_operators.config").read_text()
    assert "com.microsoft;1;" in listed and "DynamicQuantizeMatMul" in listed


def test_ort_format_of_another_model_is_noticed(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels round alike whatever file they come from; a file that computes something else is another model."""
    opened = open_bundle(bundle)
    other = shutil.copytree(bundle, tmp_path / "other")
    graph = onnx.load(bundle / "model.onnx")
    for tensor in graph.graph.initializer:
        if len(tensor.raw_data) > 1000:
            tensor.raw_data = bytes(len(tensor.raw_data))
    onnx.save(graph, other / "model.onnx")
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(ort, "opened", lambda bundle, *given, **named: model.opened(opened, *given, **named))
    with pytest.raises(CheckFailed, match="golden input 0"):
        ort.write(replace(opened, folder=other), tmp_path / "out")


def test_ort_format_holds_graphs_of_the_cpu_alone(bundle: Path) -> None:
    with pytest.raises(BadInput, match="--layout") as refused:
        find_layouts(["ort"], of_provider(open_bundle(bundle), CUDA))
    assert CUDA in refused.value.faults[0]
