"""Session inputs of the tiny model's rows, and small graphs made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.quantize.observe import Feed


def feeds_of(model: Path, artifact: Path, split: str) -> list[Feed]:
    from edgekit.tasks import find_task
    from edgekit.tasks.encode import encode, read_split

    data = encode(model, read_split(artifact, split), find_task("text-classification"), 32)
    return [one.feed() for one in data.windows]


@pytest.fixture(scope="session")
def train_feeds(tiny_model: Path, tiny_artifact: Path) -> list[Feed]:
    """The tiny model's training rows."""
    return feeds_of(tiny_model, tiny_artifact, "train")


@pytest.fixture(scope="session")
def test_feeds(tiny_model: Path, tiny_artifact: Path) -> list[Feed]:
    """The tiny model's test rows."""
    return feeds_of(tiny_model, tiny_artifact, "test")


@pytest.fixture(scope="session")
def outlier_export(tiny_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fused tiny model, the same function, with a few channels of each normalisation 40 times larger than the rest.

    Trained large encoders have such channels (Dettmers et al. 2022, arXiv 2208.07339); a tiny one does not.
    """
    import onnx_ir as ir

    from edgekit.onnx_graph.initializers import add_initializer

    model = ir.load(tiny_export / "fused.onnx")
    loud = np.ones(32, dtype=np.float32)
    loud[[3, 17]] = 40
    for node in list(model.graph):
        if node.op_type != "SkipLayerNormalization":
            continue
        value = node.outputs[0]
        for user, index in list(value.uses()):
            if user.op_type == "MatMul":
                weight = user.inputs[1].const_value.numpy() / loud[:, None]  # type: ignore[union-attr]
                user.replace_input_with(1, add_initializer(model.graph, f"{user.name}.loud", weight))
            else:
                quiet = ir.node("Div", [value, add_initializer(model.graph, f"{node.name}.quiet{index}", loud)])
                model.graph.insert_after(node, quiet)
                user.replace_input_with(index, quiet.outputs[0])
        for index in (2, 3):
            scaled = node.inputs[index].const_value.numpy() * loud  # type: ignore[union-attr]
            node.replace_input_with(index, add_initializer(model.graph, f"{node.name}.loud{index}", scaled))
    path = tmp_path_factory.mktemp("outliers") / "fused.onnx"
    ir.save(model, path)
    return path
