"""/v1/embeddings of a sentence-transformers model: `dimensions` and `prompt_name`, as the library gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers.sentence_transformer import modules as st

from tests.runtime.serve.serving import Server, served
from tests.tiny_sentences import HIDDEN, bundled, imported, reference, write_sentences, write_transformer

TEXTS = ["the cat runs in Paris", "a dog"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model trained for its first 12 numbers, and its bundle."""
    place = tmp_path_factory.mktemp("nested")
    folder = write_sentences(
        write_transformer(place / "base"), place / "model", [st.Pooling(HIDDEN, "mean"), st.Normalize()], truncate_dim=12,
        prompts={"query": "query: "},
    )  # fmt: skip
    return folder, bundled(imported(folder, place / "checkpoint"), place).bundle.folder


@pytest.fixture(scope="module")
def server(folders: tuple[Path, Path]) -> Iterator[Server]:
    with served(folders[1], "plain") as found:
        yield found


def asked(server: Server, **more: object) -> tuple[int, np.ndarray | str]:
    status, _, found = server.ask("POST", "/v1/embeddings", {"model": server.name, "input": TEXTS, **more})
    return status, np.asarray([one["embedding"] for one in found["data"]]) if status == 200 else found["error"]["message"]


@pytest.mark.parametrize("dimensions", [None, 1, 5, 12])
def test_dimensions_are_those_of_truncate_dim(server: Server, folders: tuple[Path, Path], dimensions: int | None) -> None:
    status, found = asked(server, dimensions=dimensions)
    wanted = reference(folders[0]).encode(TEXTS, truncate_dim=dimensions)
    assert status == 200 and isinstance(found, np.ndarray) and found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-5


@pytest.mark.parametrize("dimensions", [0, 13, -1, True, "5", 2.5])
def test_dimensions_that_there_are_none_of(server: Server, dimensions: object) -> None:
    status, message = asked(server, dimensions=dimensions)
    assert status == 400 and "whole number from 1 to 12" in str(message)


def test_prompts_by_name(server: Server, folders: tuple[Path, Path]) -> None:
    wanted = reference(folders[0]).encode(TEXTS, prompt_name="query")
    status, found = asked(server, prompt_name="query")
    assert status == 200 and isinstance(found, np.ndarray) and np.abs(found - wanted).max() < 1e-5
    tensors = [
        {"name": name, "datatype": "BYTES", "shape": [2], "data": data}
        for name, data in (("text", TEXTS), ("prompt_name", ["query"] * 2))
    ]
    status, _, answer = server.ask("POST", f"/v2/models/{server.name}/infer", {"inputs": tensors})
    given = next(output for output in answer["outputs"] if output["name"] == "embedding")
    assert status == 200 and np.abs(np.reshape(given["data"], given["shape"]) - wanted).max() < 1e-5
    status, message = asked(server, prompt_name="passage")
    assert status == 400 and "no prompt 'passage'" in str(message)


def test_other_models_are_cut_where_the_server_is_told_so(embedding: Server) -> None:
    one = {"model": embedding.name, "input": "is it on", "dimensions": 1}
    status, _, found = embedding.ask("POST", "/v1/embeddings", one)
    assert status == 400 and "--any-dimensions" in found["error"]["message"]
    embedding.app.any_dimensions = True
    try:
        status, _, found = embedding.ask("POST", "/v1/embeddings", one)
        assert status == 200 and len(found["data"][0]["embedding"]) == 1
    finally:
        embedding.app.any_dimensions = False


def test_the_document_says_what_may_be_asked(server: Server) -> None:
    _, _, document = server.ask("GET", "/openapi.json")
    fields = document["paths"]["/v1/embeddings"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert fields["dimensions"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 12}
    assert set(fields["prompt_name"]["anyOf"][0]["enum"]) == {"query", "document"}
