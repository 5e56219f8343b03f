"""A model's folder is opened as what comes from outside: plain files of bounded size, parsed in line with their size."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import BadInput
from edgekit.models.documents import read_document
from edgekit.models.files import check_files
from edgekit.models.shards import INDEX, tensor_shapes, weight_files
from tests.bounded import grows_in_line

NAMES = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "vocab.txt", "merges.txt",
    "spiece.model", "chat_template.jinja", "model.safetensors", "other.safetensors", INDEX,
)  # fmt: skip
"""Files that a library opens by itself, each by its own code."""


def pipe(path: Path) -> None:
    os.mkfifo(path)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 * 1024**3)


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (pipe, "is a named pipe"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is a device|a link that leaves the folder"),
    "a folder": (lambda path: path.mkdir(), "is a folder, not a file"),
    "8 GB": (sparse, "larger than"),
}


@pytest.mark.parametrize("kind", SPOILT)
@pytest.mark.parametrize("name", NAMES)
def test_no_file_that_can_be_read(tmp_path: Path, name: str, kind: str) -> None:
    """Told by its name, before anything is opened, waited for or read; weights may be large."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).unlink(missing_ok=True)
    SPOILT[kind][0](tmp_path / name)
    if kind == "8 GB" and name.endswith(".safetensors"):
        return
    with pytest.raises(BadInput, match=SPOILT[kind][1]) as fault:
        check_files(tmp_path)
    assert fault.value.where == str(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 5000, "nested deeper than 64"), ('{"a": 1, "a": 2}', "key 'a' is given twice"), ('{"a": ' + "1" * 5000 + "}", "5000 digits"),
        ('{"a": NaN}', "NaN is no JSON number"), ("", "not sound JSON"), ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ("[" + "[]," * 1_000_001 + "[]]", "more than 1,000,000 lists"), ("[1]", "holds no JSON object"),
    ],
)  # fmt: skip
def test_documents(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInput, match=says) as fault:
        check_files(tmp_path)
    assert len(fault.value.text()) < 500


def test_a_length_of_any_text(tmp_path: Path) -> None:
    """What transformers writes for a tokenizer without a limit is beyond 64 bits."""
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": int(1e30)}))
    assert read_document(tmp_path / "tokenizer_config.json") == {"model_max_length": int(1e30)}


def index(folder: Path, names: dict[str, str]) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))


def test_an_index_of_more_files_than_any_model(tmp_path: Path) -> None:
    index(tmp_path, {f"a{number}": f"{number}.safetensors" for number in range(40_000)})
    with pytest.raises(BadInput, match="an index of 40,000 files"):
        weight_files(tmp_path)


def test_a_large_index_is_read_in_line_with_its_size(tmp_path: Path) -> None:
    """Each of its names a fault."""

    def work(size: int) -> Callable[[], None]:
        index(tmp_path, {f"a{number}": f"{number}/" for number in range(size)})

        def act() -> None:
            with pytest.raises(BadInput, match="an index that cannot be used") as fault:
                weight_files(tmp_path)
            assert len(fault.value.text()) < 10_000

        return act

    grows_in_line(work, 1000)


@pytest.mark.parametrize(
    ("claimed", "says"),
    [(2**63, "a header beyond 25 MB"), (30_000_000, "a header beyond 25 MB"), (20_000_000, "not a readable")],
)
def test_a_header_that_is_not_there(tmp_path: Path, claimed: int, says: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", claimed) + b"{}")
    with pytest.raises(BadInput, match=says):
        tensor_shapes(tmp_path)
