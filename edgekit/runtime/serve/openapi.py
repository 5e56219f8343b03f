"""The OpenAPI document of a served bundle: its routes, names and limits, from the tables that the handlers use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from edgekit import __version__
from edgekit.runtime.generate.constraint import MOST_CHOICES
from edgekit.runtime.generate.sample import LARGEST_BIAS, LARGEST_ID, LONGEST_STOP, MOST_STOP_IDS, MOST_STOPS, RANGES
from edgekit.runtime.generate.tools import MOST_TOOLS
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.model import Model
from edgekit.runtime.processors import processor
from edgekit.runtime.serve.completions import IGNORED, NEUTRAL_CHAT, NEUTRAL_COMPLETION
from edgekit.runtime.serve.embeddings import sizes_of
from edgekit.runtime.serve.limits import Limits
from edgekit.runtime.serve.rerank import NEUTRAL as NEUTRAL_RERANK
from edgekit.runtime.serve.rerank import RERANK_V1, RERANK_V2
from edgekit.runtime.serve.tasks import Input, inputs_of, outputs_of

__all__ = ["openapi"]

Faults: TypeAlias = Literal["plain", "openai", "cohere"]
"""Whose clients read what is wrong: of the Open Inference Protocol, OpenAI's, Cohere's."""
TEXT: JsonObject = {"type": "string"}
COUNT: JsonObject = {"type": "integer", "minimum": 0}
JSON = "application/json"
PROBLEMS = {
    400: "The request cannot be used; the body says what, where and what to do.", 403: "Asked by a foreign name or web page.",
    404: "Not here.", 405: "Another method is needed.", 408: "The request came too slowly.", 413: "The body or the batch is too large.",
    415: "Not application/json.", 431: "The headers are too large.", 500: "The model or the server failed.",
    501: "This machine lacks what it takes.",
    503: "Not ready, ending, or the queue is full; see Retry-After.",
}  # fmt: skip


def openapi(model: Model, limits: Limits, *, any_dimensions: bool = False) -> JsonObject:
    """The document, OpenAPI 3.1."""
    name, task = model.bundle.manifest.name, model.bundle.manifest.task
    model_document = _object(
        {"name": {"const": name}, "versions": _list(TEXT), "platform": TEXT, "inputs": _list(_ANY), "outputs": _list(_ANY)}
    )
    of_language: JsonObject = {} if model.language is None else {"together": COUNT, "one_by_one": TEXT}
    ready = _object({"ready": {"const": True}, "name": {"const": name}, **of_language}, needed=("ready", "name"))
    one_model = _object({"id": {"const": name}, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT})
    paths: dict[str, JsonObject] = {
        "/v2/health/live": _get("Whether the process answers.", _object({"live": {"const": True}})),
        "/v2/health/ready": _get("Whether the golden inputs passed and requests are taken.", ready),
        "/v2": _get("The server.", _object({"name": TEXT, "version": TEXT, "extensions": _list(TEXT)})),
        f"/v2/models/{name}": _get("What the model reads and gives.", model_document),
        f"/v2/models/{name}/ready": _get("Whether the model is ready.", ready),
        f"/v2/models/{name}/infer": _post(
            "An inference (Open Inference Protocol v2).", _infer(model, limits), _inferred(model), more=_BINARY
        ),
        "/metrics": _get("Counters for Prometheus.", TEXT, kind="text/plain"),
        "/v1/models": _get("The model, as OpenAI's clients list it.", _object({"object": {"const": "list"}, "data": _list(one_model)})),
        f"/v1/models/{name}": _get("The model, as OpenAI's clients read it.", one_model),
    }  # fmt: skip
    if task == "feature-extraction":
        embeddings = _embeddings(model, limits, any_dimensions)
        paths["/v1/embeddings"] = _post("Embeddings of texts.", embeddings, _embedded(name), faults="openai")
    if task == "text-ranking":
        clients: tuple[tuple[str, str, Faults], ...] = (
            (RERANK_V1, "Jina's and Cohere's clients", "openai"),
            (RERANK_V2, "Cohere's later clients", "cohere"),
        )
        for path, asking, faults in clients:
            what = f"The order of documents, as {asking} ask for it."
            paths[path] = _post(what, _rerank(name, limits), _reranked(name), faults=faults)
    if model.language is not None:
        made = _object(
            {"id": TEXT, "object": TEXT, "created": COUNT, "model": {"const": name}, "choices": _list(_ANY), "usage": _ANY}
        )
        streams = {"text/event-stream": {"schema": _object({"data": TEXT})}}
        paths["/v1/completions"] = _post(
            "Completions of prompts.", _completion(model, limits), made, faults="openai", more=streams
        )
        if model.language.template is not None:
            paths["/v1/chat/completions"] = _post("The next message.", _chat(model), made, faults="openai", more=streams)
    about = {"title": name, "version": __version__, "description": f"A bundle for {task}, served by edgekit."}
    return {"openapi": "3.1.0", "info": about, "paths": paths}


_ANY: JsonObject = {"type": "object"}
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
"""Content of a response whose outputs are returned as bytes."""


def _object(
    properties: JsonObject, *, needed: tuple[str, ...] | None = None, closed: bool = False, nulls: bool = False
) -> JsonObject:
    """An object; `needed`: its required properties (all by default); `closed`: without others, `nulls`: others may be null alone."""
    rest: JsonObject = {"additionalProperties": {"type": "null"} if nulls else False} if closed or nulls else {}
    return {"type": "object", "properties": properties, "required": [*(properties if needed is None else needed)], **rest}


def _list(item: JsonObject, least: int = 0, most: int | None = None) -> JsonObject:
    return {"type": "array", "items": item, "minItems": least, **({} if most is None else {"maxItems": most})}


def _or_null(schema: JsonObject) -> JsonObject:
    return {"anyOf": [schema, {"type": "null"}]}


def _problems(faults: Faults = "plain") -> JsonObject:
    fault = _object({"message": TEXT, "type": TEXT, "param": _or_null(TEXT), "code": _or_null(TEXT)})
    message = "message" if faults == "cohere" else "error"
    plain: JsonObject = {message: TEXT, "what": TEXT, "where": _or_null(TEXT), "fix": _or_null(TEXT), "faults": _list(TEXT)}
    schema = _object({"error": fault}) if faults == "openai" else _object(plain)
    return {str(status): {"description": text, "content": {JSON: {"schema": schema}}} for status, text in PROBLEMS.items()}


def _get(summary: str, schema: JsonObject, kind: str = JSON) -> JsonObject:
    answer: JsonObject = {"description": summary, "content": {kind: {"schema": schema}}}
    return {"get": {"summary": summary, "responses": {"200": answer, **_problems()}}}


def _post(
    summary: str, request: JsonObject, response: JsonObject, *, faults: Faults = "plain", more: JsonObject | None = None
) -> JsonObject:
    body: JsonObject = {"required": True, "content": {JSON: {"schema": request}}}
    answer: JsonObject = {"description": summary, "content": {JSON: {"schema": response}, **(more or {})}}
    return {"post": {"summary": summary, "requestBody": body, "responses": {"200": answer, **_problems(faults)}}}


def _range(name: str) -> JsonObject:
    kind, low, high = RANGES[name]
    least: JsonObject = {"exclusiveMinimum": 0} if name == "top_p" else {"minimum": low}
    return {"type": "integer" if kind is int else "number", **least, "maximum": high}


def _stop() -> JsonObject:
    one: JsonObject = {"type": "string", "minLength": 1, "maxLength": LONGEST_STOP}
    return {"anyOf": [one, _list(one, most=MOST_STOPS)]}


def _stop_ids(model: Model) -> JsonObject:
    most = model.language.tokens - 1 if model.language is not None else LARGEST_ID
    return {**_list({"type": "integer", "minimum": 0, "maximum": most}, most=MOST_STOP_IDS), "uniqueItems": True}


def _infer(model: Model, limits: Limits) -> JsonObject:
    """The request; that `shape` and `data` agree cannot be said in a schema."""
    known, task = inputs_of(model), processor(model.bundle.manifest.task)
    plain = [one for one in known if one.instead_of is None]
    least = min(sum(one.needed for one in plain), *(1 for one in known if one.instead_of is not None), len(known))
    said = " ".join(filter(None, map(_said, known)))
    names = [output.name for output in outputs_of(model.bundle.manifest.task)]
    tensor = _object(
        {
            "name": {"enum": [one.name for one in known], **({"description": said} if said else {})},
            "datatype": {"const": "BYTES"},
            "shape": {"type": "array", "prefixItems": [{"type": "integer", "minimum": 1, "maximum": limits.batch}, {"const": 1}],
                      "items": False, "minItems": 1, "maxItems": 2},
            "data": _list(TEXT, 1, limits.batch),
        },
        closed=True,
    )  # fmt: skip
    if model.language is not None:
        ranges = {name: _range(name) for name in RANGES if name != "logprobs"}
        forms: JsonObject = {"json_schema": {}, "regex": TEXT, "grammar": TEXT, "choice": _list(TEXT, 1, MOST_CHOICES)}
        parameters = {**ranges, "stop": _stop(), "stop_token_ids": _stop_ids(model), "logit_bias": _bias(), **forms}
    elif task.lists != "nothing":
        parameters = {"top_k": {"type": "integer", "minimum": 1, "maximum": len(model.bundle.manifest.labels)}}
    else:
        parameters = {}
    flag: JsonObject = {"type": "boolean"}
    parameters |= dict.fromkeys(task.flags, flag)
    output = _object(
        {"name": {"enum": names}, "parameters": _object({"binary_data": flag}, needed=(), closed=True)},
        needed=("name",),
        closed=True,
    )
    return _object(
        {
            "id": _or_null(TEXT),
            "parameters": _object({**parameters, "binary_data_output": flag}, needed=(), closed=True),
            "inputs": _list(tensor, least, len(plain)),
            "outputs": _list(output, most=len(names)),
        },
        needed=("inputs",),
        closed=True,
    )


def _said(kind: Input) -> str | None:
    """What a schema of names cannot say of an input."""
    if kind.needed and not kind.listed:
        return None
    need = "" if kind.needed else f", instead of {kind.instead_of}" if kind.instead_of else ", optional"
    form = f"{'a text, or ' if kind.alone else ''}a JSON list of texts" if kind.listed else "a text"
    return f"{kind.name}{need}: {form} each."


def _inferred(model: Model) -> JsonObject:
    tensor = _object({"name": TEXT, "datatype": TEXT, "shape": _list(COUNT)})
    return _object({"model_name": {"const": model.bundle.manifest.name}, "model_version": TEXT, "outputs": _list(tensor, 1)})


def _embeddings(model: Model, limits: Limits, any_dimensions: bool) -> JsonObject:
    text: JsonObject = {"type": "string", "minLength": 1}
    fewest, most = sizes_of(model, any_dimensions=any_dimensions)
    return _object(
        {
            "model": {"const": model.bundle.manifest.name},
            "input": {"anyOf": [text, _list(text, 1, limits.batch)]},
            "encoding_format": _or_null({"enum": ["float", "base64"]}),
            "user": {},
            "dimensions": _or_null({"type": "integer", "minimum": fewest, "maximum": most}),
            "prompt_name": _or_null({"enum": prompts}) if (prompts := [*model.reader.prompts.texts]) else {"type": "null"},
        },
        needed=("model", "input"),
        nulls=True,
    )


def _rerank(name: str, limits: Limits) -> JsonObject:
    text: JsonObject = {"type": "string", "minLength": 1}
    documents = _list({"anyOf": [text, _object({"text": text}, closed=True)]}, 1, limits.batch)
    own: JsonObject = {
        "model": {"const": name},
        "query": text,
        "documents": documents,
        "top_n": _or_null({"type": "integer", "minimum": 1}),
        "return_documents": _or_null({"type": "boolean"}),
        **{key: {} for key in NEUTRAL_RERANK},
    }
    return _object(own, needed=("model", "query", "documents"), nulls=True)


def _reranked(name: str) -> JsonObject:
    one = _object(
        {
            "index": COUNT,
            "relevance_score": {"type": "number"},
            "document": _object({"text": TEXT}),
            "truncated": {"const": True},
        },
        needed=("index", "relevance_score"),
    )
    return _object({"object": {"const": "list"}, "model": {"const": name}, "results": _list(one, 1), "usage": _ANY})


def _embedded(name: str) -> JsonObject:
    vector: JsonObject = {"anyOf": [_list({"type": "number"}, 1), TEXT]}
    one = _object({"object": {"const": "embedding"}, "index": COUNT, "embedding": vector})
    return _object({"object": {"const": "list"}, "model": {"const": name}, "data": _list(one, 1), "usage": _ANY})


def _sampled(model: Model) -> JsonObject:
    """The fields that both kinds of completion share."""
    ranges = {key: _or_null(_range(key)) for key in RANGES if key not in ("max_new_tokens", "logprobs")}
    structured: JsonObject = {"json": {}, "regex": {}, "choice": {}, "grammar": {}, "json_object": {}}
    return {
        "model": {"const": model.bundle.manifest.name}, **ranges, "stop": _or_null(_stop()),
        "stop_token_ids": _or_null(_stop_ids(model)), "max_tokens": _or_null(_range("max_new_tokens")),
        "n": _or_null({"type": "integer", "minimum": 1}), "logit_bias": _or_null(_bias()),
        "response_format": _or_null(_response_format()), "structured_outputs": _or_null(_object(structured, needed=(), closed=True)),
        "guided_json": {}, "guided_regex": _or_null(TEXT), "guided_grammar": _or_null(TEXT), "guided_choice": _or_null(_list(TEXT, 1)),
        "stream": _or_null({"type": "boolean"}), **{key: {} for key in IGNORED},
        "stream_options": _or_null(_object(
            {"include_usage": _or_null({"type": "boolean"}), "include_obfuscation": {"enum": [False, None]}}, needed=(), nulls=True,
        )),
    }  # fmt: skip


def _bias() -> JsonObject:
    number: JsonObject = {"type": "number", "minimum": -LARGEST_BIAS, "maximum": LARGEST_BIAS}
    return {"type": "object", "propertyNames": {"pattern": "^[0-9]{1,11}$"}, "additionalProperties": number}


def _response_format() -> JsonObject:
    plain = _object({"type": {"enum": ["text", "json_object"]}}, closed=True)
    asked = _object({"name": {}, "description": {}, "schema": _ANY, "strict": {}}, needed=("schema",), closed=True)
    return {"anyOf": [plain, _object({"type": {"const": "json_schema"}, "json_schema": asked}, closed=True)]}


def _neutral(fields: Mapping[str, Sequence[JsonValue]]) -> JsonObject:
    return {key: {"enum": [*values, None]} for key, values in fields.items()}


def _completion(model: Model, limits: Limits) -> JsonObject:
    text: JsonObject = {"type": "string", "minLength": 1}
    ids = _list({"type": "integer", "minimum": 0, "maximum": 2**31 - 1}, 1)
    own: JsonObject = {
        "prompt": {"anyOf": [text, ids, _list({"anyOf": [text, ids]}, 1, limits.batch)]},
        "logprobs": {"anyOf": [_range("logprobs"), {"enum": [False, None]}]},
        **_neutral(NEUTRAL_COMPLETION),
    }  # fmt: skip
    return _object({**_sampled(model), **own}, needed=("model", "prompt"), nulls=True)


def _chat(model: Model) -> JsonObject:
    part = _object({"type": {"const": "text"}, "text": TEXT}, closed=True)
    called = _object({"id": TEXT, "type": {}, "function": _object({"name": TEXT, "arguments": {}})})
    function = _object({"name": TEXT, "description": {}, "parameters": {}, "strict": {}}, needed=("name",), closed=True)
    tool = _object({"type": {"const": "function"}, "function": function}, closed=True)
    named = _object({"type": {"const": "function"}, "function": _ANY})
    message = _object(
        {
            "role": {"type": "string", "minLength": 1},
            "content": _or_null({"anyOf": [TEXT, _list(part, 1)]}),
            "name": _or_null(TEXT),
            "annotations": {"enum": [[], None]},
            "tool_calls": _or_null(_list(called)),
            "tool_call_id": _or_null(TEXT),
        },
        needed=("role",),
        nulls=True,
    )
    own: JsonObject = {
        "messages": _list(message, 1),
        "max_completion_tokens": _or_null(_range("max_new_tokens")),
        "logprobs": _or_null({"type": "boolean"}),
        "top_logprobs": _or_null(_range("logprobs")),
        "tools": _or_null(_list(tool, most=MOST_TOOLS)),
        "tool_choice": {"anyOf": [{"enum": ["auto", "none", "required", None]}, named]},
        "parallel_tool_calls": _or_null({"type": "boolean"}),
        **_neutral(NEUTRAL_CHAT),
    }
    return _object({**_sampled(model), **own}, needed=("model", "messages"), nulls=True)
