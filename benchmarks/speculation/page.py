"""README.md of this folder, from results.json and drafted.json alone."""

from __future__ import annotations

from typing import Any

from benchmarks.commands import command_today
from benchmarks.pages import row

__all__ = ["page"]


COLUMNS = """| prompts | tokens/s plain | with guesses | faster by | a prompt in ten below, median, one in ten above | guesses read | of them right |
|---|---:|---:|---:|---:|---:|---:|
"""
TITLES = {"float32": "float32", "int8-weights": "INT8", "int4-weights": "INT4"}


def page(document: dict[str, Any], drafted: dict[str, Any]) -> str:
    """README.md from the results of guesses that are looked up, and of a small model's."""
    return _looked_up(document) + _drafted(drafted)


def _looked_up(document: dict[str, Any]) -> str:
    costs = ", ".join(f"{width} rows {cost:.2f}" for width, cost in document["costs"].items())
    proved = ", ".join(map(str, document["proved"])) or "none"
    load = document["load"]
    head = f"""# Guessing next tokens from the text so far

{document["model"]}; {document["threads"]} threads of an {document["chip"]}, onnxruntime {document["onnxruntime"]},
Python {document["python"]}; other work ran on the machine (load {load["before"]} before, {load["after"]} after). {document["rounds"]} rounds, each
prompt asked plainly and with guesses in turn; medians of a prompt's rounds, sums over prompts, 95% intervals over prompts. What is timed
is from the first token to the last. Every answer had the same tokens on both sides. [The numbers](results.json). Regenerate with

    {command_today(document["command"])}

Of the 60 prompts that ask for quoting, 20 want sentences out of a passage of SQuAD, 20 a passage with a name exchanged, and 20 are
stretches of Python's own standard library, to be continued. *Answers as asked* are those that were written for them, token for token, as
a model would say them that does as it is told: the model computes every token's logits and is not asked. *Its own answers* are what this
model of 28 million weights says, which follows no instruction and repeats itself. *Free* prompts are 60 beginnings of articles, which
have nothing to quote: they show what guessing costs where it does not pay.

{COLUMNS}"""
    table = "".join(f"{row(_cells(one))}\n" for one in document["sets"])
    return f"""{head}{table}
Cost of a run of several rows, in runs of one, by the processor's time of the thread that answers: {costs}. Widths that were
proved to give the bits of single runs: {proved}.
"""


def _drafted(document: dict[str, Any]) -> str:
    runs = document["runs"]
    named = [
        {**one, "name": f"{TITLES[kind]}, {one['name'].removeprefix('free, ')}"}
        for kind, run in runs.items()
        for one in run["sets"]
    ]
    table = "".join(f"{row(_cells(one))}\n" for one in named)
    costs = "".join(
        f"- {TITLES[kind]}: {', '.join(f'{width} rows {cost:.2f}' for width, cost in run['costs'].items())}; one guess {run['guess']:.2f}\n"
        for kind, run in runs.items()
    )
    said = ", ".join(
        f"{TITLES[kind]} {run['threads']} and {run['rounds']} (load {run['load']['before']} before, {run['load']['after']} after)"
        for kind, run in runs.items()
    )
    return f"""
## A small model that guesses

Where nothing is found in the text, a small model of the same vocabulary guesses: here one of 4 million weights (2 blocks, hidden size 256,
in INT4) that was distilled from wiki-28m's logits on its training texts and agrees with it on 62% of the likeliest tokens of the validation
texts. Lookup is on as well. The prompts are the 60 *free* ones. {document["chip"]}, onnxruntime {document["onnxruntime"]}, Python
{document["python"]}; threads and rounds: {said}.
Every answer had the same tokens on both sides. [The numbers](drafted.json). Regenerate with

    {command_today(document["command"])}

{COLUMNS}{table}
What decides is what reading guesses costs beside a run of one token, in such runs, by the processor's time:

{costs}
The cheaper a further row and a guess are beside a run of one, the more is gained. Drawn tokens are guessed seldom, so that little is read: what
guesses of one kind may lose has a limit.
"""


def _cells(one: dict[str, Any]) -> list[str]:
    low, high = one["ci95"]
    share = f"{one['accepted'] / one['drafted']:.0%}" if one["drafted"] else ""
    return [
        one["name"],
        f"{one['plain_tokens_per_s']:.0f}",
        f"{one['tokens_per_s']:.0f}",
        f"{one['faster_by']:.2f}x ({low:.2f} to {high:.2f})",
        ", ".join(f"{value:.2f}" for value in one["of_prompts"]),
        f"{one['drafted']:,}",
        share,
    ]
