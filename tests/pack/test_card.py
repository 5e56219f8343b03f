"""The model card says what comes from outside, and obeys none of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from markdown_it import MarkdownIt

from edgekit.markdown import escape_markdown, yaml_text
from edgekit.pack.card import write_card
from edgekit.runtime.bundle.manifest import Source
from tests.tiny_manifest import tiny_manifest

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
AUDIT = {
    "fallbacks": [], "matmuls_integer": 1, "matmuls_constant": 1, "matmuls_weight_only": 0, "kept_float": [], "kernels_observed": True,
    "notes": [],
}  # fmt: skip
HOSTILE = ["1. a list", "- a list", "#", "---", "===",
    "# a heading\n---\nlicense: mit", "<script>alert(1)</script>", "![x](https://example.org/x.png)", "[click](javascript:alert(1))",
    "`code` *bold* ~~gone~~ | cell", "\x1b[31mred\x1b[0m", "a\u2028b\x85c\u202ed", "😀 ünï", '"quoted" \\ back', "]()<!-- -->&lt;",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_from_outside_is_obeyed(text: str) -> None:
    manifest = replace(
        tiny_manifest(labels=("a", "b"), vocabulary=10, golden=1), name=text, source=Source(text, text), licence=text,
        recipe={"compress": [{"method": text}], "model": {"id": text}}, not_made={text: text},
    )  # fmt: skip
    card = write_card(manifest, {**AUDIT, "notes": [text], "kept_float": [text], "counted": text})
    _, front, body = card.split("---\n", 2)
    fields = yaml.safe_load(front)
    assert set(fields) == {"license", "license_name", "pipeline_tag", "library_name", "tags", "base_model"}
    assert fields["license"] == "other"
    assert all(sign.isprintable() or sign == "\n" for sign in body)
    tokens = [inner for token in MARKDOWN.parse(body) for inner in (token, *(token.children or []))]
    obeyed = {
        "html_block",
        "html_inline",
        "link_open",
        "image",
        "s_open",
        "em_open",
        "strong_open",
        "table_open",
        "hr",
    }
    assert not {token.type for token in tokens} & obeyed
    assert {token.content for token in tokens if token.type == "code_inline"} == {"truncated"}
    assert [token.tag for token in tokens if token.type == "heading_open"].count("h1") == 1
    assert body.count(escape_markdown(text)) >= 6


@pytest.mark.parametrize("text", HOSTILE)
def test_yaml_reads_the_text_back_or_what_is_visible_of_it(text: str) -> None:
    read = yaml.safe_load(f"key: {yaml_text(text)}\n")["key"]
    assert isinstance(read, str)
    assert read == text or any(not sign.isprintable() for sign in text)
