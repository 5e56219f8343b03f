"""README.md of this folder, made from results.json and greedy.json: `python -m benchmarks.guided.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["write_page"]

HERE = Path(__file__).resolve().parent
HEAD = """# What a form costs a language model's answers

wiki-28m (a Llama of 27.8 M weights, vocabulary 8,192) in INT4, {schemas} JSON schemas ([asked.json](asked.json)), answers of up to 200 tokens.
What the schema alone decides is read in one run, which is why an answer held to a schema can be faster than a plain one. The rows where every
token has a run of its own show what masks alone cost; drawing from the few tokens that a mask leaves costs less than drawing from all.
"""
TABLE = """
## {title}, {prompts} prompts for each schema

```console
$ {command}
```

{finished:,} of {answers:,} answers ended by themselves, and {valid:,} of those {finished:,} are documents of their schema by jsonschema; the
others were cut at 200 tokens, and say so ([{file}]({file})).

| way | ms a token | beyond plain (median of pairs, 95% interval) |
|---|---:|---:|
| plain answers of as many tokens | {plain:.3f} | |
| held to the schema | {held:.3f} | {held_extra} |
| held, and every token by a run of its own | {alone:.3f} | {alone_extra} |

Compiling a schema for the first time, with its trial in a child process: {compile:.1f} ms (median; at most {most:.0f} ms), and nothing after that.
"""
FOOT = """
Pairs of 8 tokens or more; the ways of a pair ran one after the other in a drawn order; intervals by a bootstrap over schemas. {chip},
{threads} thread, on a machine that others kept busy: shares within a pair mean more than milliseconds.
"""
TITLES = {"results.json": "Sampled at temperature 0.8", "greedy.json": "Greedy"}


def write_page(folder: Path, out: Path) -> None:
    """Write the page of the results in `folder`, those that are there, to `out`."""
    documents = {name: json.loads((folder / name).read_text(encoding="utf-8")) for name in TITLES if (folder / name).exists()}
    first = next(iter(documents.values()))
    tables = [_table(name, document) for name, document in documents.items()]
    text = HEAD.format(schemas=first["schemas"]) + "".join(tables)
    out.write_text(text + FOOT.format(chip=first["machine"]["chip"], threads=first["machine"]["threads"]), encoding="utf-8")


def _table(name: str, document: dict[str, Any]) -> str:
    totals = document["totals"]
    extra = {
        way: f"{one['median']:+.1%} ({one['ci95'][0]:+.1%} to {one['ci95'][1]:+.1%})" for way, one in totals["extra"].items()
    }
    return TABLE.format(
        title=TITLES[name], file=name, **{key: document[key] for key in ("prompts", "command")},
        **{key: totals[key] for key in ("answers", "finished", "valid")},
        plain=totals["ms_a_token"]["plain"], held=totals["ms_a_token"]["held"], alone=totals["ms_a_token"]["held, one by one"],
        held_extra=extra["held"], alone_extra=extra["held, one by one"], compile=totals["compile_ms"]["median"],
        most=totals["compile_ms"]["most"],
    )  # fmt: skip


if __name__ == "__main__":
    write_page(HERE, HERE / "README.md")
