"""A measurement belongs to the very files that were timed."""

from __future__ import annotations

import pytest

from edgekit.runtime.bench.measured import is_of_bundle, timed_files

FILES = {"model.onnx": "a", "model.onnx.data": "b", "tokenizer.json": "c", "README.md": "d"}


def test_files_that_no_time_depends_on_do_not_count() -> None:
    assert timed_files(FILES) == {"model.onnx": "a", "model.onnx.data": "b", "tokenizer.json": "c"}
    document = {"artifact_sha256": "a", "files_sha256": timed_files(FILES)}
    assert is_of_bundle(document, FILES) and is_of_bundle(document, {**FILES, "README.md": "e"})


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json"])
def test_every_other_file_does(name: str) -> None:
    document = {"artifact_sha256": "a", "files_sha256": timed_files(FILES)}
    assert not is_of_bundle(document, {**FILES, name: "other"})
    if name != "model.onnx":
        assert not is_of_bundle(document, {other: digest for other, digest in FILES.items() if other != name})


def test_an_older_document_names_the_graph_alone() -> None:
    assert is_of_bundle({"artifact_sha256": "a"}, FILES)
    assert is_of_bundle({"artifact_sha256": "a"}, {**FILES, "model.onnx.data": "other"})
    assert not is_of_bundle({"artifact_sha256": "other"}, FILES)
    assert not is_of_bundle({}, FILES)
