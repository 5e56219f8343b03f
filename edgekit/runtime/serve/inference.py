"""The Open Inference Protocol, version 2: what a model takes and gives, and one inference.

https://github.com/kserve/open-inference-protocol, with Triton's binary tensor extension, which its clients use unless told not to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from edgekit.runtime.errors import BadInput
from edgekit.runtime.generate.sample import Sampling, parse_sampling
from edgekit.runtime.model import Model
from edgekit.runtime.serve.message import Refusal, Request, Response, check_names, json_response, parse_json
from edgekit.runtime.serve.tasks import columns, input_names, items_of, outputs_of
from edgekit.runtime.serve.tensors import read_texts, write_columns

__all__ = ["HEADER", "VERSION", "Asked", "answer_response", "model_metadata", "parse_infer"]

HEADER = "inference-header-content-length"
"""Bytes of JSON at the start of a body that goes on with binary tensors."""
VERSION = "1"
KEYS = ("id", "parameters", "inputs", "outputs")


@dataclass(frozen=True)
class Asked:
    """An inference request, parsed."""

    items: list[Any]
    """Inputs as the task reads them."""
    where: str
    """What a fault of one of them is called by."""
    id: str | None
    top_k: int
    sampling: Sampling | None
    wanted: list[str]
    """Names of outputs, in the order to give them."""
    binary: set[str]
    """Of these, the ones to give as bytes."""


def model_metadata(model: Model) -> dict[str, Any]:
    """The document of /v2/models/{name}; -1 stands for any size."""
    task = model.bundle.manifest.task
    return {
        "name": model.bundle.manifest.name,
        "versions": [VERSION],
        "platform": "edgekit_onnxruntime",
        "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in input_names(model)[0]],
        "outputs": [
            {"name": output.name, "datatype": output.datatype, "shape": [-1] * output.dimensions} for output in outputs_of(task)
        ],
    }


def parse_infer(request: Request, model: Model, batch: int) -> Asked:
    """What `request` asks of `model`, of at most `batch` texts.

    Raises:
        Refusal: 400 where anything in it cannot be used, 413 where it holds too many texts.
    """
    body = memoryview(request.body)
    size = len(body)
    if HEADER in request.headers:
        text = request.headers[HEADER]
        if not (text.isascii() and text.isdigit()) or int(text[:12]) > len(body) or len(text) > 12:
            raise Refusal(400, f"{text[:40]!r} is not a number of bytes up to the body's {len(body)}", where=HEADER)
        size = int(text)
    document = parse_json(bytes(body[:size]))
    check_names(document, KEYS, "body")
    given = _inputs(document.get("inputs"), model, batch, body[size:])
    asked_id = document.get("id")
    if asked_id is not None and not isinstance(asked_id, str):
        raise Refusal(400, f"a text is wanted, not {type(asked_id).__name__}", where="id")
    parameters = dict(_object(document.get("parameters", {}), "parameters"))
    every = parameters.pop("binary_data_output", False)
    if not isinstance(every, bool):
        raise Refusal(400, "binary_data_output is not true or false", where="parameters")
    wanted, binary = _outputs(document.get("outputs"), model, every)
    top_k, sampling = 1, None
    if model.language is not None:
        sampling = _sampling(parameters)
    elif model.bundle.manifest.task == "text-classification":
        check_names(parameters, ("top_k",), "parameters")
        top_k, most = parameters.get("top_k", 1), len(model.bundle.manifest.labels)
        if type(top_k) is not int or not 1 <= top_k <= most:
            raise Refusal(400, f"top_k {str(top_k)[:40]} is not a whole number from 1 to {most}", where="parameters")
    else:
        check_names(parameters, ("binary_data_output",), "parameters")
    return Asked(items_of(given), ", ".join(given), asked_id, top_k, sampling, wanted, binary)


def answer_response(model: Model, asked: Asked, answers: list[dict[str, Any]]) -> Response:
    """The answers to all items of `asked`."""
    manifest = model.bundle.manifest
    made = {column.name: column for column in columns(manifest.task, answers)}
    outputs, blob = write_columns([made[name] for name in asked.wanted], asked.binary)
    document: dict[str, Any] = {"model_name": manifest.name, "model_version": VERSION, "outputs": outputs}
    if asked.id is not None:
        document["id"] = asked.id
    if not asked.binary:
        return json_response(document)
    head = json.dumps(document, separators=(",", ":")).encode()
    return Response(200, head + blob, "application/octet-stream", {HEADER: str(len(head))})


def _inputs(given: Any, model: Model, batch: int, blob: memoryview) -> dict[str, list[Any]]:
    """The texts of each input, all alike many, in the task's order."""
    needed, optional = input_names(model)
    if not isinstance(given, list) or not given:
        raise Refusal(400, "no input tensors", where="inputs", fix=f"send {', '.join(needed)}")
    if len(given) > len(needed) + len(optional):
        raise Refusal(400, f"{len(given)} tensors; the model reads {', '.join(needed + optional)}", where="inputs")
    found: dict[str, list[Any]] = {}
    for number, tensor in enumerate(given):
        name, texts, taken = read_texts(tensor, f"inputs[{number}]", batch, blob)
        blob = blob[taken:]
        if name not in needed + optional or name in found:
            what = "stands twice" if name in found else f"is no input; the model reads {', '.join(needed + optional)}"
            raise Refusal(400, f"{name[:60]!r} {what}", where=f"inputs[{number}].name")
        found[name] = texts
    missing = [name for name in needed if name not in found]
    if missing:
        raise Refusal(400, f"missing: {', '.join(missing)}", where="inputs", fix=f"send {', '.join(needed)}")
    if len({len(texts) for texts in found.values()}) > 1:
        raise Refusal(400, "inputs of different numbers of texts", where="inputs")
    if len(blob):
        raise Refusal(400, f"{len(blob)} bytes of binary data belong to no input", where="body")
    return {name: found[name] for name in needed + optional if name in found}


def _outputs(given: Any, model: Model, every: bool) -> tuple[list[str], set[str]]:
    known = [output.name for output in outputs_of(model.bundle.manifest.task)]
    if given is None or given == []:
        return known, set(known) if every else set()
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise Refusal(400, "not a list of output objects", where="outputs")
    wanted, binary = [], set()
    for number, one in enumerate(given):
        where = f"outputs[{number}]"
        check_names(one, ("name", "parameters"), where)
        name = one.get("name")
        if name not in known or name in wanted:
            what = "stands twice" if name in wanted else f"is no output; known: {', '.join(known)}"
            raise Refusal(400, f"{str(name)[:60]!r} {what}", where=f"{where}.name")
        parameters = _object(one.get("parameters", {}), f"{where}.parameters")
        check_names(parameters, ("binary_data",), f"{where}.parameters")
        as_bytes = parameters.get("binary_data", every)
        if not isinstance(as_bytes, bool):
            raise Refusal(400, "binary_data is not true or false", where=f"{where}.parameters")
        wanted.append(name)
        binary |= {name} if as_bytes else set()
    return wanted, binary


def _sampling(parameters: dict[str, Any]) -> Sampling:
    check_names(parameters, [field.name for field in fields(Sampling)], "parameters")
    try:
        return parse_sampling(parameters)
    except BadInput as fault:
        raise Refusal(400, fault.what, where="parameters", faults=fault.faults) from None


def _object(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Refusal(400, f"an object is wanted, not {type(given).__name__}", where=where)
    return given
