"""transformers-js: the files that @huggingface/transformers (transformers.js) loads, in a browser or in Node, of encoders.

    transformers-js/config.json  tokenizer.json  tokenizer_config.json
    transformers-js/onnx/model_quantized.onnx      or another ending, by its number format (transformers.js, src/utils/dtypes.js)

config.json names the format, so that `pipeline(task, folder)` finds the file. Its tokenizers cut a text that is too long by dropping the last
tokens, the final special one too, and read several texts padded in one run: texts that fit, one at a time, get the bundle's answers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgekit.pack.layouts import Layout
from edgekit.runtime.bundle.names import CONFIG
from edgekit.runtime.bundle.onnx_file import read_graph
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.names import CPU

__all__ = ["LAYOUT"]

ENDINGS = {"q4": "_q4", "q8": "_quantized", "fp16": "_fp16", "fp32": ""}
"""Number format -> ending of the file's name."""


def fault(bundle: Bundle) -> str | None:
    """A model of images, a language model, a model for a GPU, one whose texts have a prompt before them, or weights in bfloat16."""
    manifest = bundle.manifest
    if manifest.reads != "text":
        return f"models of {manifest.reads}s are not laid out for transformers.js yet"
    if manifest.generation is not None:
        return "transformers.js feeds a language model's cache under other names and shapes than this graph has"
    if manifest.target.provider != CPU:
        return f"it is for {manifest.target.provider}, and transformers.js runs it on a CPU"
    if prompt := manifest.prompts.before():
        return f"transformers.js would leave out the prompt {prompt!r} that comes before each text"
    if _format(bundle) is None:
        return "its weights are bfloat16, which transformers.js does not know"
    return None


def write(bundle: Bundle, folder: Path) -> None:
    """Write the files."""
    manifest, number_format = bundle.manifest, _format(bundle)
    assert number_format is not None, "`fault` refused it"
    (folder / "onnx").mkdir()
    model = folder / "onnx" / f"model{ENDINGS[number_format]}.onnx"
    shutil.copyfile(bundle.folder / manifest.variant.file, model)
    if manifest.task == "question-answering":
        _split_spans(model)
    if manifest.task == "text-regression":
        _name_logits(model)
    config = json.loads((bundle.folder / CONFIG).read_text(encoding="utf-8"))
    config["transformers.js_config"] = {"dtype": number_format}
    if manifest.task == "multi-label-classification":
        config["problem_type"] = "multi_label_classification"
    _write(folder / "config.json", config)
    shutil.copyfile(bundle.folder / manifest.text.file, folder / "tokenizer.json")
    _write(folder / "tokenizer_config.json", _tokenizer_config(bundle))


def _format(bundle: Bundle) -> str | None:
    """What transformers.js calls the number format; None where it has no name for it."""
    graph = read_graph(bundle.folder / bundle.manifest.variant.file)
    if any(node.numbers.get("bits") == 4 for node in graph.nodes):
        return "q4"
    types = {tensor.dtype for tensor in graph.initializers.values() if len(tensor.shape) == 2}
    if types & {"int8", "uint8"}:
        return "q8"
    return None if "bfloat16" in types else "fp16" if "float16" in types else "fp32"


def _split_spans(model: Path) -> None:
    """(b, s, 2) as two outputs (b, s), `start_logits` and `end_logits`."""
    import onnx
    from onnx import helper

    whole = onnx.load(str(model), load_external_data=False)
    graph, kind = whole.graph, onnx.TensorProto.FLOAT
    (spans,) = graph.output
    graph.initializer.append(helper.make_tensor("transformers_js_axis", onnx.TensorProto.INT64, [1], [2]))
    halves = ["transformers_js_starts", "transformers_js_ends"]
    graph.node.append(helper.make_node("Split", [spans.name], halves, axis=2, num_outputs=2))
    names = ["start_logits", "end_logits"]
    graph.node.extend(
        helper.make_node("Squeeze", [half, "transformers_js_axis"], [name]) for half, name in zip(halves, names, strict=True)
    )
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(name, kind, ["batch", "sequence"]) for name in names)
    onnx.save(whole, str(model))


def _name_logits(model: Path) -> None:
    """The one output under the name that transformers.js reads of every classifier, which a regression is to it."""
    import onnx
    from onnx import helper

    whole = onnx.load(str(model), load_external_data=False)
    (score,) = whole.graph.output
    whole.graph.node.append(helper.make_node("Identity", [score.name], ["logits"]))
    score.name = "logits"
    onnx.save(whole, str(model))


def _tokenizer_config(bundle: Bundle) -> JsonObject:
    """The class that makes token types where the graph takes them, the limit, and the special tokens that pipelines ask for by their part."""
    facts = bundle.manifest.text
    found: JsonObject = {
        "tokenizer_class": "BertTokenizer" if bundle.manifest.segments else "PreTrainedTokenizer",
        "model_max_length": facts.max_length, "pad_token": facts.pad_token,
    }  # fmt: skip
    document = json.loads((bundle.folder / facts.file).read_text(encoding="utf-8"))
    ends = _ends(document.get("post_processor") or {})
    if len(ends) >= 2:
        found = {**found, "cls_token": ends[0], "sep_token": ends[-1]}
    return found


def _ends(processor: Mapping[str, Any]) -> list[str]:
    """The special tokens around one text, in order."""
    kind = processor.get("type")
    if kind == "Sequence":
        return next(filter(None, map(_ends, processor["processors"])), [])
    if kind in ("BertProcessing", "RobertaProcessing"):
        return [processor["cls"][0], processor["sep"][0]]
    pieces: Iterable[Mapping[str, Any]] = processor["single"] if kind == "TemplateProcessing" else ()
    return [piece["SpecialToken"]["id"] for piece in pieces if "SpecialToken" in piece]


def _write(path: Path, document: JsonObject) -> None:
    path.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


LAYOUT = Layout("transformers-js", "transformers.js (@huggingface/transformers), in a browser or in Node", fault, write)
