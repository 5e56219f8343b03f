"""ort: the model in ONNX Runtime's own format, for builds of it without a parser of ONNX, and the list of operators that such a build needs.

    ort/model.ort                   weights and the optimized graph, a FlatBuffer (onnxruntime, core/flatbuffers/schema/ort.fbs)
    ort/required_operators.config   what `build.sh --include_ops_by_config` reads (onnxruntime's docs, "Build ONNX Runtime for a reduced size")

Fusions are done as it is written, by this onnxruntime; a build of the same release loads it. It orders what a FlatBuffer holds anew each time, so
that the bytes are others, and what they compute is not.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from warnings import catch_warnings, simplefilter

from edgekit.errors import CheckFailed
from edgekit.pack.layouts import Layout
from edgekit.runtime.bundle.golden import parse_golden
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.model import Model, opened
from edgekit.runtime.processors import processor
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.providers.session import open_session

__all__ = ["LAYOUT"]

FILE, OPERATORS = "model.ort", "required_operators.config"
LARGEST = 2**31 - 2**20
"""Bytes that a FlatBuffer can hold, less what stands around the weights."""
QDQ_IN_INT8 = "session.qdqisint8allowed"
"""Whether signed pairs of QuantizeLinear and DequantizeLinear are fused, which ONNX Runtime does of itself on ARM alone."""


def fault(bundle: Bundle) -> str | None:
    """A model for another provider than the CPU, whose graph is not optimized on this one, or one that is too large."""
    manifest = bundle.manifest
    if manifest.target.provider != CPU:
        return f"it is for {manifest.target.provider}, and ONNX Runtime's own format holds graphs that were optimized for its CPU provider"
    size = sum(asset.size for name, asset in manifest.assets.items() if name in (MODEL, MODEL_DATA))
    return f"a model of {size:,} bytes, and the format holds less than 2 GB" if size > LARGEST else None


def write(bundle: Bundle, folder: Path) -> None:
    """Write the model and its operators; the golden inputs give the same bits as by the bundle's graph.

    Raises:
        CheckFailed: they do not.
    """
    from edgekit.runtime.providers.ort import onnxruntime, submodule

    create_config_from_models = submodule("tools.ort_format_model").create_config_from_models

    variant = bundle.manifest.variant
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / FILE)
    for key, value in variant.config.items():
        options.add_session_config_entry(key, value)
    options.add_session_config_entry("session.save_model_format", "ORT")
    if bundle.manifest.target.arch == "aarch64":
        options.add_session_config_entry(QDQ_IN_INT8, "1")
    onnxruntime.InferenceSession(str(bundle.folder / variant.file), options, providers=[CPU])
    with catch_warnings():
        simplefilter("ignore", ResourceWarning)  # it leaves the file to the garbage collector
        logging.disable(logging.INFO)  # and says what it wrote
        try:
            create_config_from_models([folder / FILE], folder / OPERATORS, enable_type_reduction=True)
        finally:
            logging.disable(logging.NOTSET)
    _, _, operators = (folder / OPERATORS).read_text(encoding="utf-8").partition(f"# - {folder / FILE}\n")
    (folder / OPERATORS).write_text(f"# Generated from {FILE}\n{operators}", encoding="utf-8")
    _compare(bundle, folder / FILE)


def _compare(bundle: Bundle, file: Path) -> None:
    """Answer the golden inputs by the bundle's graph and by `file`."""
    model = opened(bundle, 1, prefix_cache=False, speculate="off")
    other = _with_session(model, open_session(file, threads=1, config=bundle.manifest.variant.config))
    task = processor(bundle.manifest.task)
    for number, row in enumerate(parse_golden(bundle.folder, bundle.manifest)):
        windows = task.prepare(model.reader, row.input)
        for one, two in zip(model.outputs(windows), other.outputs(windows), strict=True):
            if one.tobytes() != two.tobytes():
                raise CheckFailed(
                    f"golden input {number}: the graph in ONNX Runtime's own format gives other outputs", where=FILE
                )


def _with_session(model: Model, session: object) -> Model:
    if model.language is None:
        return replace(model, session=session)
    language = replace(model.language, graph=replace(model.language.graph, session=session))
    return replace(model, session=session, language=language)


LAYOUT = Layout("ort", "onnxruntime built without ONNX, on phones and boards", fault, write, varies=(FILE,))
