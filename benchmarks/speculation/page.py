"""README.md of this folder, from results.json, code.json and drafted.json alone."""

from __future__ import annotations

from typing import Any

from benchmarks.commands import command_today
from benchmarks.pages import row

__all__ = ["page"]


COLUMNS = """| prompts | tokens/s plain | with guesses | faster by | a prompt in ten below, median, one in ten above | guesses read | of them right |
|---|---:|---:|---:|---:|---:|---:|
"""
TITLES = {"float32": "float32", "int8-weights": "INT8", "int4-weights": "INT4"}


def page(document: dict[str, Any], code: dict[str, Any], drafted: dict[str, Any]) -> str:
    """README.md from the results of guesses that are looked up, by wiki-28m and by a model of code, and of a small model's."""
    return _looked_up(document) + _code(code) + _drafted(drafted)


def _code(document: dict[str, Any]) -> str:
    load, made = document["load"], document["made"]
    table = "".join(f"{row(_cells(one))}\n" for one in document["sets"])
    text = f"{made['passes']:.0f} passes of {made['tokens_of_text'] / 1e6:.1f} million tokens"
    script = (
        f"[A script](code_model.py) trained it in {made['seconds'] / 60:.0f} minutes of one {made['machine']}."
        if "machine" in made
        else "[A script](code_model.py) trains one like it; the one measured here was made before there was that script."
    )
    return f"""
## A model of code

code-28m has the same shape and was trained from nothing on Python's standard library, {text}, on a GPU (perplexity
{made["perplexity_unseen"]:.1f} on files that it never saw). The 60 prompts are of 20 modules that it never saw: stretches to be continued,
stretches with a name exchanged, and stretches whose definitions are to be named. {document["model"]};
threads {document["threads"]}, rounds {document["rounds"]}, load {load["before"]} before and {load["after"]} after.
{script}
[The numbers](code.json). Regenerate with

    {command_today(document["command"])}

{COLUMNS}{table}
Prompts and answers are some 700 tokens, and every row of a run attends to all of them, which the small model's weights do not outweigh: even where
most guesses are right, less is gained than on short texts, and than with larger models.
"""


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
    made, same = document["draft"], document["draft"]["agreement"]
    blocks, hidden = made["shape"].split("x")
    return f"""
## A small model that guesses

Where nothing is found in the text, a small model of the same vocabulary guesses: here one of {blocks} block{"s" * (blocks != "1")} and
hidden size {hidden}, in INT4, that was distilled from wiki-28m's logits ([distil.py](distil.py)), on {made["tokens"] / 1e6:.0f} million tokens of
its training texts and of what it writes after their beginnings. It agrees with wiki-28m on {same["held"]:.0%} of the likeliest tokens of texts
that wiki-28m wrote by them, and on {same["validation"]:.0%} of those of Wikipedia's validation texts. One of two blocks, distilled on twice as many
tokens of the training texts alone, agreed on 62% of the latter and made INT8 1.23 times as fast: what a draft learns from counts for more than
its size.
Lookup is on as well. The prompts are the 60 *free* ones. {document["chip"]}, onnxruntime {document["onnxruntime"]}, Python
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
