"""README.md of this folder, made from results.json: `python -m benchmarks.language_quality.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.commands import command_today

__all__ = ["write_page"]

HERE = Path(__file__).resolve().parent
HEAD = """# What rounding costs a language model

Perplexity and greedy agreement of compressed weights against float32, on two small trained models. Made by

```console
$ {command}
```

which writes [results.json](results.json) and this page. Agreement: of all places in the texts, the share where both models find the same
token most probable. Identical tokens: how many a greedy answer begins with, on average over 16 answers. Brackets: paired bootstrap 95%
intervals over texts. Blocks of 32 weights share a scale, embeddings are in INT8, and products multiply in integers (`accuracy_level` 4).
The aim is at most {int8} more perplexity with INT8 and {int4} with INT4; "met" and "not met" are said where the whole interval lies on one
side, else "not told apart".
"""
TABLE = """
## {model}, {text}

{texts:,} texts, {tokens:,} tokens; float32 has a perplexity of {perplexity:.2f} and takes {megabytes:.2f} MB.

| weights | MB | perplexity | change | agreement | identical tokens | aim |
|---|---:|---:|---:|---:|---:|---|
"""
ROW = "| {variant} | {megabytes:.2f} | {perplexity:.2f} | {change} | {agreement} | {prefix} | {verdict} |\n"
FOOT = """
Both models are small: 0.26 and 1.6 million parameters have less to spare than the models that people deploy. stories260k never
saw text like Wikitext-2, and its GPTQ is calibrated on Wikitext-2's validation text, which is like what it is scored on; calibration on its own
stories was not measured. Without calibration, INT4 does not keep to 4% on it.
reference-lm knows the Python language reference alone; its perplexity on Wikitext-2 says how the rounding behaves on text that a model
was not made for, where a change below zero is no gain.

{machine}; {versions}.
"""


def write_page(document: dict[str, Any], out: Path) -> None:
    """Write the page of `document`, what results.json holds, to `out`."""
    limits = {kind: f"{limit:.1%}".replace(".0%", "%") for kind, limit in document["limits"].items()}
    text = HEAD.format(command=command_today(document["command"]), int8=limits["int8-weights"], int4=limits["int4-weights"])
    text += _sentences(document["results"])
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in document["results"]:
        groups.setdefault((result["model"], result["text"]), []).append(result)
    for (model, name), (whole, *others) in groups.items():
        text += TABLE.format(**{**whole, "model": model, "text": "its own text" if name == "its own" else name})
        text += "".join(
            ROW.format(**{**one, "change": _change(one), "agreement": _agreement(one), "prefix": _prefix(one)})
            for one in others
        )
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    text += FOOT.format(machine=document["machine"]["chip"], versions=versions)
    out.write_text(text, encoding="utf-8")


def _sentences(results: list[dict[str, Any]]) -> str:
    """Which aims are met where."""
    lines = []
    for variant in dict.fromkeys(result["variant"] for result in results if result["limit"] is not None):
        said = [f"{one['verdict']} on {one['model']}, {one['text']}" for one in results if one["variant"] == variant]
        lines.append(f"- **{variant}**: {'; '.join(said)}.")
    return "\n" + "\n".join(lines) + "\n"


def _change(result: dict[str, Any]) -> str:
    low, high = result["change"]["ci95"]
    return f"{result['change']['value']:+.2%} ({low:+.2%} to {high:+.2%})"


def _agreement(result: dict[str, Any]) -> str:
    low, high = result["agreement"]["ci95"]
    return f"{result['agreement']['value']:.1%} ({low:.1%} to {high:.1%})"


def _prefix(result: dict[str, Any]) -> str:
    return f"{result['prefix']['value']:.1f} of {result['prefix']['tokens']}"


if __name__ == "__main__":
    write_page(json.loads((HERE / "results.json").read_text(encoding="utf-8")), HERE / "README.md")
