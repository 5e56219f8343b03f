"""genai: a language model as onnxruntime-genai reads it.

    genai/
        genai_config.json                        names of inputs and outputs, shape of the cache, what ends an answer
        model.onnx  model.onnx.data              the bundle's graph, lengths from an attention mask, logits of the last token
        tokenizer.json  tokenizer_config.json    the chat template stands in the latter

Kernels and weights are the bundle's own, and the type is "decoder", which is that of no family, so that every family is read alike. The
tokenizer is another program's, which reads fewer kinds than tokenizers does: ids of the golden texts and greedy answers must be the
bundle's, to the token. Its `encode` adds what begins a text where `update_options(add_special_tokens="true")` asks for it.
"""

from __future__ import annotations

import importlib
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir import tape

from edgekit.errors import CheckFailed
from edgekit.onnx_graph.initializers import add_initializer
from edgekit.pack.layouts import Layout
from edgekit.runtime.bundle.golden import parse_golden
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from edgekit.runtime.bundle.open import Bundle
from edgekit.runtime.generate.generation import Generation
from edgekit.runtime.generate.graph import BLOCK
from edgekit.runtime.generate.model import LanguageModel, language_model
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.providers.session import open_session
from edgekit.runtime.strict_json import read_json

__all__ = ["LAYOUT"]

PACKAGE = "onnxruntime_genai"
CONFIG, TOKENIZER, TOKENIZER_CONFIG = "genai_config.json", "tokenizer.json", "tokenizer_config.json"
KIND = "BPE"
"""Of tokenizers, the one that onnxruntime-genai 0.18 reads from tokenizer.json for every family; it ends at others with an error of its parser."""
LARGEST_TOKENIZER = 256_000_000
ANSWERS, TOKENS = 4, 16
"""Golden texts that are gone on with, and by how many tokens."""


def fault(bundle: Bundle) -> str | None:
    """No language model, one for a GPU, one that nothing ends, a tokenizer of another kind; or onnxruntime-genai is not installed."""
    manifest = bundle.manifest
    if manifest.generation is None:
        return f"its task is {manifest.task}, and onnxruntime-genai runs language models"
    if manifest.target.provider != CPU:
        return f"it is for {manifest.target.provider}, whose graph keeps the cache in a form of edgekit's own"
    if not manifest.generation.eos:
        return "no token ends an answer, and onnxruntime-genai wants one"
    kind = _tokenizer(bundle).get("model", {}).get("type")
    if kind != KIND:
        return f"its tokenizer is a {kind}, and onnxruntime-genai reads {KIND}"
    return (
        None
        if find_spec(PACKAGE)
        else "onnxruntime-genai, which it is compared by, is not installed (pip install 'edgekit[genai]')"
    )


def write(bundle: Bundle, folder: Path) -> None:
    """Write the graph, the tokenizer and the settings, and compare what onnxruntime-genai makes of them.

    Raises:
        CheckFailed: onnxruntime-genai does not open it, or reads a text as other tokens, or answers with others than the bundle.
    """
    model = ir.load(bundle.folder / bundle.manifest.variant.file)
    session = open_session(bundle.folder / bundle.manifest.variant.file)  # on whatever chip this is: any CPU has the kernels
    language = language_model(session, _generation(bundle), bundle.folder / bundle.manifest.text.file)
    _read_a_mask(model.graph)
    _choose_among(model.graph, language.tokens)
    ir.save(model, folder / MODEL, external_data=MODEL_DATA, size_threshold_bytes=4096)
    shutil.copyfile(bundle.folder / bundle.manifest.text.file, folder / TOKENIZER)
    _write(folder / TOKENIZER_CONFIG, _tokenizer_config(bundle, language))
    _write(folder / CONFIG, _config(bundle, language.tokens))
    _compare(bundle, language, folder)


def _read_a_mask(graph: ir.Graph) -> None:
    """Lengths of the cache from an attention mask, int64 (b, total), in place of inputs of their own; logits of the last token alone."""
    given = {str(value.name): value for value in graph.inputs}
    mask = ir.val("attention_mask", ir.DataType.INT64, ("batch", "total"))
    one = add_initializer(graph, "mask.one", np.array(1))
    axis = add_initializer(graph, "mask.axis", np.array([1]))
    nodes = tape.Tape()
    tokens = nodes.op("ReduceSum", [mask, axis], {"keepdims": 0})
    before = nodes.op("Cast", [nodes.op("Sub", [tokens, one])], {"to": ir.DataType.INT32})
    whole = nodes.op("Cast", [nodes.op("Gather", [nodes.op("Shape", [mask]), one])], {"to": ir.DataType.INT32})
    for name, value in (("seqlens_k", before), ("total_sequence_length", whole), ("keep", axis)):
        graph.inputs.remove(given[name])
        ir.convenience.replace_all_uses_with(given[name], value)
    graph.inputs.insert(1, mask)
    graph.insert_before(graph[0], nodes.nodes)
    logits = next(value for value in graph.outputs if value.name == "logits")
    assert logits.shape is not None, "every output has a shape"
    logits.shape = ir.Shape(("batch", 1, logits.shape[2]))  # by the 1 it knows that no others come


def _choose_among(graph: ir.Graph, tokens: int) -> None:
    """Logits of the first `tokens` ids alone: what an embedding has beyond the tokenizer's is padding, which the bundle never chooses."""
    logits = next(value for value in graph.outputs if value.name == "logits")
    assert logits.shape is not None, "every output has a shape"
    if logits.shape[2] == tokens:
        return
    bounds = [
        add_initializer(graph, f"known.{name}", np.array([number]))
        for name, number in (("start", 0), ("end", tokens), ("axis", 2))
    ]
    node = ir.node("Slice", [logits, *bounds], name="known")
    logits.name, known = "logits.padded", node.outputs[0]
    known.name, known.type, known.shape = "logits", logits.type, ir.Shape(("batch", 1, tokens))
    graph.append(node)
    graph.outputs[graph.outputs.index(logits)] = known


def _config(bundle: Bundle, tokens: int) -> JsonObject:
    """genai_config.json: https://onnxruntime.ai/docs/genai/reference/config.html."""
    manifest, generation = bundle.manifest, _generation(bundle)
    eos = [*generation.eos]
    return {
        "model": {
            "type": "decoder",
            "bos_token_id": eos[0] if generation.bos is None else generation.bos,
            "eos_token_id": eos,
            "pad_token_id": manifest.text.pad_id,
            "context_length": generation.context,
            "vocab_size": tokens,
            "decoder": {
                "filename": MODEL,
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "head_size": generation.head_size,
                "num_attention_heads": generation.kv_heads,
                "num_key_value_heads": generation.kv_heads,
                "num_hidden_layers": generation.layers,
                "inputs": {
                    "input_ids": "input_ids", "attention_mask": "attention_mask",
                    "past_key_names": "past.%d.key", "past_value_names": "past.%d.value",
                },
                "outputs": {
                    "logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "do_sample": False, "max_length": generation.context, "num_beams": 1, "past_present_share_buffer": True,
            "repetition_penalty": generation.repetition_penalty or 1.0,
        },
    }  # fmt: skip


def _tokenizer_config(bundle: Bundle, language: LanguageModel) -> JsonObject:
    """tokenizer_config.json: the class that reads any BPE as it stands, the tokens of begin, end and padding, and the chat template."""
    generation = _generation(bundle)
    special = {"bos_token": generation.bos, "eos_token": generation.eos[0], "pad_token": bundle.manifest.text.pad_id}
    template = generation.chat_template
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{name: language.tokenizer.id_to_token(number) for name, number in special.items() if number is not None},
        **({} if template is None else {"chat_template": (bundle.folder / template).read_text(encoding="utf-8")}),
    }


def _compare(bundle: Bundle, language: LanguageModel, folder: Path) -> None:
    """Raise CheckFailed where onnxruntime-genai makes other tokens of the golden texts, or other answers, than the bundle."""
    texts = [row.input for row in parse_golden(bundle.folder, bundle.manifest) if isinstance(row.input, str)]
    room = min(BLOCK, language.generation.context - TOKENS)  # in one run here as there, so that no bit differs
    try:
        genai: Any = importlib.import_module(PACKAGE)
        model = genai.Model(str(folder))
        tokenizer = genai.Tokenizer(model)
        tokenizer.update_options(add_special_tokens="true")
        read = [[int(token) for token in tokenizer.encode(text)] for text in texts]
        begun = [(text, ids[:room]) for text, ids in zip(texts, read, strict=True) if ids][:ANSWERS]
        answers = [_theirs(genai, model, ids) for _, ids in begun]
    except RuntimeError as refused:  # what its bindings raise for all that it refuses
        raise CheckFailed(f"onnxruntime-genai does not run it: {str(refused)[:300]}", where=CONFIG) from None
    for text, ids in zip(texts, read, strict=True):
        if ids != (ours := language.encode(text).tolist()):
            raise CheckFailed(f"onnxruntime-genai reads {text[:60]!r} as {ids[:8]}, the bundle as {ours[:8]}", where=CONFIG)
    for (text, ids), theirs in zip(begun, answers, strict=True):
        if (ours := _ours(language, ids)) != theirs:
            raise CheckFailed(
                f"onnxruntime-genai goes on from {text[:60]!r} with {theirs}, the bundle with {ours}", where=CONFIG
            )


def _ours(language: LanguageModel, ids: list[int]) -> list[int]:
    """What the bundle goes on with, without the token that ends it, which onnxruntime-genai leaves out."""
    tokens = [*language.generate(np.array(ids, dtype=np.int64), Sampling(max_new_tokens=TOKENS)).tokens]
    return tokens[:-1] if tokens[-1] in language.generation.eos else tokens


def _theirs(genai: Any, model: Any, ids: list[int]) -> list[int]:
    options = genai.GeneratorParams(model)
    options.set_search_options(max_length=len(ids) + TOKENS)
    generator = genai.Generator(model, options)
    generator.append_tokens(np.array(ids, dtype=np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)[len(ids) :]]


def _generation(bundle: Bundle) -> Generation:
    generation = bundle.manifest.generation
    assert generation is not None, "no other bundle is without fault"
    return generation


def _tokenizer(bundle: Bundle) -> dict[str, Any]:
    document: dict[str, Any] = read_json(bundle.folder / bundle.manifest.text.file, most=LARGEST_TOKENIZER)
    return document


def _write(path: Path, document: JsonObject) -> None:
    path.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


LAYOUT = Layout("genai", "onnxruntime-genai", fault, write)
