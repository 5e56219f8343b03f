"""README.md of this folder, from results.json alone: `python -m benchmarks.threads.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import row

__all__ = ["HERE", "page"]

HERE = Path(__file__).resolve().parent
HEAD = """# How many threads one answer is worth

Sessions with each number of threads take turns in {rounds} fresh processes a subject, on {cores} cores of an {chip} that
others use too (load {load[0]} before and {load[1]} after, this at {priority}); medians with 95% intervals over processes, batch 1,
onnxruntime {tools[onnxruntime]}. A token of a language model is made over {read} that were read. Threads that wait for work sleep, spin until the
run ends (`session.force_spinning_stop`, as targets have it), or spin for a while after it too (ONNX Runtime's default, which after each
run burns {burnt:.0f} ms of a core; the others {others:.2f} ms at most). `auto` is what `threads = "auto"` found in three fresh processes, with
the seconds that took.
[The numbers](results.json). Regenerate with

    {command}

| one answer | 1 thread | {more} | auto |
|---|---:|{lines}---|
"""
TALK = """
## A talk that goes on

The time to the first token of each turn of a talk with {model}, on all cores: {new} tokens said by the user and {answer} answered in each turn.
Kept: what was read of earlier prompts, in whole blocks of 128 tokens, is used again, which `run` and `serve` do by themselves; anew: the whole
prompt is read in each turn (`--no-prefix-cache`). The answers were {same}: what lies beyond the last whole block, and the last answer, is
read again, because the runs that made them had another shape and their rounding could change a later token.

| turn | tokens of the prompt | kept | anew | gain |
|---:|---:|---:|---:|---:|
"""


def page(document: dict[str, Any]) -> str:
    """README.md from the results."""
    names = sorted(name for name in document["subjects"][0]["variants"] if name != "1")
    more, lines = " | ".join(names), "---:|" * len(names)
    after = {name: [subject["variants"][name]["burnt_ms"] for subject in document["subjects"]] for name in names}
    burnt = max(after[f"{document['cores']}, spinning"])
    others = max(max(values) for name, values in after.items() if not name.endswith(", spinning"))
    parts = [HEAD.format(**document, more=more, lines=lines, burnt=burnt, others=others)]
    parts += [f"{row(_cells(subject, names))}\n" for subject in document["subjects"]]
    talk = document["talk"]
    if talk["turns"]:
        same = "the same, token by token" if all(turn["same"] for turn in talk["turns"]) else "not all the same"
        parts.append(TALK.format(**talk, same=same))
        parts += [
            f"{row([str(one['turn']), str(one['prompt']), *(f'{one[key]:.1f} ms' for key in ('kept_ms', 'anew_ms')), _gain(one)])}\n"
            for one in talk["turns"]
        ]
    return "".join(parts)


def _gain(turn: dict[str, Any]) -> str:
    return f"{turn['anew_ms'] / turn['kept_ms']:.1f}x"


def _cells(subject: dict[str, Any], names: list[str]) -> list[str]:
    variants = subject["variants"]
    one = variants["1"]
    chosen = sorted({str(auto["threads"]) for auto in subject["auto"]})
    seconds = max(auto["seconds"] for auto in subject["auto"])
    return [
        subject["name"],
        f"{one['p50_ms']:.3f} ms ({one['ci95_ms'][0]:.3f} to {one['ci95_ms'][1]:.3f})",
        *(_against(variants[name]) for name in names),
        f"{' or '.join(chosen)} ({seconds:.1f} s)",
    ]


def _against(variant: dict[str, Any]) -> str:
    faster = variant["faster"]
    low, high = faster["ci95"]
    return f"{variant['p50_ms']:.3f} ms, {faster['speedup']:.2f}x ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    (HERE / "README.md").write_text(page(json.loads((HERE / "results.json").read_text(encoding="utf-8"))), encoding="utf-8")
