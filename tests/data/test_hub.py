"""Hub data sets, without a network: a local folder stands in for the hub, or the library is told to fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.data.hub import parse_hub, read_hub
from edgekit.errors import BadInput, NotPossibleHere

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
COLUMNS = ("text", "label")


def table(labels: list[Any], texts: list[str] | None = None) -> Any:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["off", "on"])})
    return datasets.Dataset.from_dict({"text": texts or ["a", "b", "c"][: len(labels)], "label": labels}, features=features)


def serve(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    monkeypatch.setattr(datasets, "load_dataset", answer)
    monkeypatch.setattr("edgekit.data.hub.first_answer", lambda *_: 0)  # the hub answers


def fail(fault: Exception) -> Callable[..., Any]:
    def load(*_: object, **__: object) -> Any:
        raise fault

    return load


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("hub:owner/name", ("owner/name", None, None)),
        ("hub:owner/name@v1.2", ("owner/name", "v1.2", None)),
        ("hub:o-w/na.me#small", ("o-w/na.me", None, "small")),
        ("hub:owner/name@refs/convert/parquet#small", ("owner/name", "refs/convert/parquet", "small")),
    ],
)
def test_parts_of_a_source(source: str, parts: tuple[str, str | None, str | None]) -> None:
    assert parse_hub(source) == parts


@pytest.mark.parametrize(
    "source", ["hub:", "hub:name", "hub:a/b/c", "hub:a/b@", "hub:a/b#", "hub:a/b#x@y", "hub:a b/c", "hub:a/b\n"]
)
def test_malformed_source(source: str) -> None:
    with pytest.raises(BadInput, match="not a hub data set"):
        read_hub(source, "train", COLUMNS)


def test_class_labels_become_names_and_the_request_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(*args: Any, **named: Any) -> Any:
        asked.append((args, named))
        return table([1, 0])

    serve(monkeypatch, load)
    assert read_hub("hub:owner/name@abc#small", "test", COLUMNS) == [
        {"text": "a", "label": "on"},
        {"text": "b", "label": "off"},
    ]
    assert asked == [(("owner/name", "small"), {"split": "test", "revision": "abc"})]


@pytest.mark.parametrize("label", [-1, None])
def test_unlabelled_rows_are_refused(monkeypatch: pytest.MonkeyPatch, label: int | None) -> None:
    serve(monkeypatch, lambda *_, **__: table([0, label]))
    with pytest.raises(BadInput, match="'label' is null, not text") as caught:
        read_hub("hub:owner/name", "test", COLUMNS)
    assert caught.value.where == "hub:owner/name, split test:2"


def test_missing_column_and_empty_text(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, lambda *_, **__: table([0, 1], ["fine", " "]))
    with pytest.raises(BadInput, match="'text' is empty"):
        read_hub("hub:owner/name", "train", COLUMNS)
    with pytest.raises(BadInput, match="no column 'texts', perhaps 'text'"):
        read_hub("hub:owner/name", "train", COLUMNS, {"text": "texts"})


def test_local_folder_through_the_library_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("text,label\nturn it on,on\nturn it off,off\n", encoding="utf-8")
    real = datasets.load_dataset
    serve(
        monkeypatch,
        lambda name, config, **named: real(str(tmp_path / name), config, cache_dir=str(tmp_path / "cache"), **named),
    )
    datasets.disable_progress_bars()
    assert [row["label"] for row in read_hub("hub:owner/name", "train", COLUMNS)] == ["on", "off"]
    with pytest.raises(BadInput, match="Unknown split"):
        read_hub("hub:owner/name", "tset", COLUMNS)
    with pytest.raises(BadInput, match="BuilderConfig 'small' not found"):
        read_hub("hub:owner/name#small", "train", COLUMNS)


def test_offline_is_not_possible_here(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, fail(ConnectionError("Couldn't reach 'owner/name' on the Hub (OfflineModeIsEnabled)")))
    with pytest.raises(NotPossibleHere, match="check the name and the network") as caught:
        read_hub("hub:owner/name", "train", COLUMNS)
    assert caught.value.exit_code == 3


def test_unknown_data_set_and_own_code_are_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, fail(datasets.exceptions.DatasetNotFoundError("Dataset 'owner/name' doesn't exist on the Hub")))
    with pytest.raises(BadInput, match="no such data set"):
        read_hub("hub:owner/name", "train", COLUMNS)
    serve(monkeypatch, fail(RuntimeError("Dataset scripts are no longer supported, but found name.py")))
    with pytest.raises(BadInput, match="no code of a data set is run"):
        read_hub("hub:owner/name", "train", COLUMNS)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(NotPossibleHere, match="need the `datasets` package"):
        read_hub("hub:owner/name", "train", COLUMNS)
