"""Target `tensorrt` where its libraries are: the engine answers as the CPU does with the same pairs, and a stray node is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.config.target import load_target
from edgekit.host import detect
from edgekit.runtime.errors import NotPossibleHere
from edgekit.runtime.providers.names import TENSORRT
from edgekit.runtime.providers.session import open_session
from edgekit.runtime.providers.tensorrt import engine_folder

pytestmark = pytest.mark.skipif(
    TENSORRT not in detect().providers, reason=f"this machine has no {TENSORRT}, or not TensorRT's libraries"
)


@pytest.fixture(scope="module")
def made(tiny_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edgekit.config.recipe import Calibration
    from edgekit.progress import silent
    from edgekit.quantize.encoder import QuantizeWork, quantize_encoder
    from edgekit.quantize.selection import Evidence
    from edgekit.runtime.bundle.names import MODEL

    folder, target = tmp_path_factory.mktemp("tensorrt"), load_target("tensorrt")
    generator = np.random.default_rng(0)
    feeds = [
        {"input_ids": generator.integers(5, 50, (1, 12)), "attention_mask": np.ones((1, 12), dtype=np.int64)} for _ in range(16)
    ]
    quantize_encoder(
        target.quantize,
        QuantizeWork(
            source=tiny_export / MODEL,
            out=folder,
            session=target.session,
            calibration=Calibration(),
            feeds=feeds,
            evidence=Evidence([], lambda outputs: 0.0, 0.0, False),
            progress=silent,
            provider=target.provider,
        ),
    )
    return folder / "model.onnx"


def test_the_engine_answers_as_the_pairs_say(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    target = load_target("tensorrt")
    there = open_session(made, provider=TENSORRT, config=dict(target.session.config))
    here = open_session(made, config=target.stand_in)
    generator = np.random.default_rng(1)
    for rows, length in ((1, 7), (3, 12), (1, 20)):
        ids = generator.integers(5, 50, (rows, length))
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        found, wanted = there.run(None, feed)[0], here.run(None, feed)[0]
        assert float(np.sqrt(np.mean(np.square(found - wanted)))) < target.tolerance * float(wanted.std())
    assert list(engine_folder(made).glob("*.engine"))


def test_a_node_that_tensorrt_does_not_take_is_named(made: Path, tmp_path: Path) -> None:
    model = onnx.load(made)
    (output,) = model.graph.output
    square = onnx.helper.make_node("MatMul", [output.name, "turned"], ["square"], name="square")
    turned = onnx.helper.make_node("Transpose", [output.name], ["turned"], name="turn", perm=[1, 0])
    stray = onnx.helper.make_node("Det", ["square"], ["volume"], name="determinant")
    model.graph.node.extend([turned, square, stray])
    model.graph.output.append(onnx.helper.make_tensor_value_info("volume", onnx.TensorProto.FLOAT, []))
    onnx.save(model, tmp_path / "stray.onnx")
    with pytest.raises(NotPossibleHere, match="determinant"):
        open_session(tmp_path / "stray.onnx", provider=TENSORRT)
