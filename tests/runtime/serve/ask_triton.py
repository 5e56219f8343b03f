"""Asks a server by Triton's own HTTP client, binary (its default) and as JSON. Usage: ask_triton.py HOST:PORT MODEL OUTPUT"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton

address, model, output = sys.argv[1:]
client = triton.InferenceServerClient(address)
texts = np.array([b"turn on the light", "ünïcode 🙂".encode()], dtype=object)


def asked(*, binary: bool) -> triton.InferInput:
    tensor = triton.InferInput("text", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(texts, binary_data=binary)
    return tensor


def refused(call: Any) -> str:
    try:
        call()
    except triton.InferenceServerException as fault:
        return str(fault)
    return ""


def listed(result: Any) -> Any:
    values = result.as_numpy(output)
    return [[one.decode() if isinstance(one, bytes) else one for one in row] for row in values.tolist()]


found: dict[str, Any] = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model ready": client.is_model_ready(model),
    "other ready": client.is_model_ready("other"),
    "server": client.get_server_metadata(),
    "metadata": client.get_model_metadata(model),
    "default": listed(client.infer(model, [asked(binary=True)])),
    "json in": listed(client.infer(model, [asked(binary=False)])),
    "all json": listed(
        client.infer(model, [asked(binary=False)], outputs=[triton.InferRequestedOutput(output, binary_data=False)])
    ),
    "chosen": listed(client.infer(model, [asked(binary=True)], outputs=[triton.InferRequestedOutput(output)], request_id="7")),
    "version": listed(client.infer(model, [asked(binary=True)], model_version="1")),
    "asynchronous": listed(client.async_infer(model, [asked(binary=True)]).get_result()),
    "no model": refused(lambda: client.infer("other", [asked(binary=True)])),
    "no input": refused(lambda: client.infer(model, [])),
    "compressed": refused(lambda: client.infer(model, [asked(binary=True)], request_compression_algorithm="gzip")),
    "class count": refused(
        lambda: client.infer(model, [asked(binary=True)], outputs=[triton.InferRequestedOutput(output, class_count=2)])
    ),
}
client.close()
print(json.dumps(found))
