"""Modules named by the end of their path."""

from __future__ import annotations

from edgekit.models.module_paths import absent_endings, ends_in

PATHS = ["bert.layer.0.attention.query", "bert.layer.1.attention.query", "classifier"]


def test_whole_names_only() -> None:
    assert ends_in(PATHS[0], "query") and ends_in(PATHS[0], "0.attention.query") and ends_in("classifier", "classifier")
    assert not ends_in(PATHS[0], "uery") and not ends_in("query", "attention.query")


def test_what_no_path_ends_in_has_the_nearest_that_does() -> None:
    assert absent_endings(["query", "layer.1.attention.query", PATHS[0]], PATHS) == {}
    absent = absent_endings(["querry", "zzz"], PATHS)
    assert absent["querry"][0] == "query" and absent["zzz"] == []
    assert absent_endings(["query"], []) == {"query": []}
