"""README.md of this folder, made from results.json: `python -m benchmarks.diff.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["write_page"]

HERE = Path(__file__).resolve().parent
HEAD = """# Does `edgekit diff` name the fault?

Faults as conversions have them, each put into one place of a sound graph; then `edgekit diff` holds the bundle against the checkpoint.
It is right where the first part that it names is the one that the fault was put into: the part, not its layer alone.

```console
$ {command}
```

| | part named | layer named | of |
|---|---:|---:|---:|
{series}

The sound models, in each form: {false_alarms} of {sound} had a part named.

Not named: {missed}.

The models are the originals of two shipped recipes, as `edgekit export` trains them: `intents` (BERT, 4 layers of 192) and `reference-lm`
(Llama, 4 layers of 160). Their folders in the store are named by `lineage.json`.
"""
SERIES = {
    "rounded": "rounded: encoder in INT8, language model in INT4",
    "smoothed": "rounded: encoder in INT8, activations smoothed by half",
    "float32": "float32",
}
TABLE = """
## Fault by fault

| fault | model | it names | right answer | because |
|---|---|---|---|---|
{rows}
"""


def write_page(results: Path, out: Path) -> None:
    """Write the page of `results` to `out`."""
    document = json.loads(results.read_text(encoding="utf-8"))
    totals = document["totals"]
    series = [
        f"| {title} | {totals[name]['right']} | {totals[name]['right_layer']} | {totals[name]['of']} |"
        for name, title in SERIES.items()
        if name in totals and totals[name]["of"]
    ]
    missed = [
        f"{one['fault']} ({one['format']})" for one in document["results"] if one["fault"] is not None and not one["right"]
    ]
    text = HEAD.format(
        missed="; ".join(missed) or "none",
        command=document["command"],
        series="\n".join(series),
        **{name: totals[name] for name in ("false_alarms", "sound")},
    )
    text += TABLE.format(rows="\n".join(map(_row, document["results"])))
    out.write_text(text, encoding="utf-8")


def _row(one: dict[str, Any]) -> str:
    if one["fault"] is None:
        return f"| none | {one['model']}, {one['format']} | {one['named'] or 'nothing'} | nothing | {one['why'] or ''} |"
    named = one["named"] or "nothing"
    return (
        f"| {one['fault']} | {one['model']}, {one['format']} | {named if one['right'] else f'**{named}**'} | {one['right_answer']} "
        f"| {one['why'] or ''} |"
    )


if __name__ == "__main__":
    write_page(HERE / "results.json", HERE / "README.md")
