"""README.md of this folder, made from trained.json and results.json: `python -m benchmarks.language_quality.page`."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks.commands import command_today
from benchmarks.pages import row

__all__ = ["page", "write_page"]

HERE = Path(__file__).resolve().parent
TRAINED = """# What rounding costs a language model

Perplexity, greedy agreement, size and time of every number format against float32, on wiki-28m: a Llama of 27.8 million weights that was
really trained, on 14 million tokens of Wikipedia. Two smaller models stand [below](#two-small-models). Made by

```console
$ {command}
```

which writes [trained.json](trained.json) and this page. Windows of {context} tokens, a fixed draw: {texts}. Brackets: paired bootstrap 95%
intervals over windows. Agreement: the share of places where both models find the same token most probable. Times: one thread, medians of
{rounds} rounds in which all are asked in turn, after and of a prompt of {prompt} tokens. Embeddings are in INT8 and products in integers
(`accuracy_level` 4) where nothing else is said; GPTQ and the scales of a cache in INT8 read {calibration} windows of Wikipedia's training text.
"""
HEAD = """
## Two small models

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
### {model}, {text}

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


BEFORE = [
    "",
    "GPTQ chooses its scales otherwise since, by the error that later weights cannot take up; its rows are of the choice before. On 32 windows each,",
    "blocks of 32, perplexity is since +0.70% (0.50 to 0.91) on Wikipedia, where the choice before has +0.57% (0.33 to 0.83) on these, and on",
    "Wikitext-2 +1.8% (1.5 to 2.2), where that has +3.0% (2.6 to 3.5).",
]
"""What is said of figures that were made before."""
TITLES = {
    "8 bits": "8 bits, clipped", "8 bits, blocks of 128": "8 bits, clipped, blocks of 128", "clip": "clipped",
    "GPTQ, weighed scales, 4 rounds after": "all of GPTQ: weighed scales, 4 rounds after",
    "AWQ, clipped": "AWQ by llmcompressor 0.14.0.1, clipped", "AutoRound, 200 steps": "AutoRound 0.16.1, 200 steps a layer",
}  # fmt: skip
NEAR, OFFERED = 0.001, 0.005
"""Perplexity that may be lost: what 4 bits are asked for, and what a default is."""
FOUR = """
## A share in 8 bits, and another text to calibrate on

GPTQ with blocks of 32 again, as a recipe has it now, on {windows} windows of each text; embedding and head have 8 bits in all. Made by

```console
$ {command}
```

which writes [four_bits.json](four_bits.json). The share is `eight_bits` of `[quantize]`.{times}

| weights | MB | {first} | within 0.1% | {second} |{columns}
|---|---:|---:|---|---:|{rule}
"""
LINE = """
## How long the whole line takes

`edgekit export` from nothing, without timing the bundle, with {tokens:,} test tokens, on {cores} cores. Made by

```console
$ {command}
```

which writes [line.json](line.json).

| weights | minutes | seconds of CPU | load before | the longest stages |
|---|---:|---:|---:|---|
"""
WAYS = """
## How 4 bits are rounded best

Every window of both texts: {windows}. In torch with activations in float32, on one {machine}. Made by

```console
$ {command}
```

which writes [bits.json](bits.json). Bits: of a weight of the layers, with its scales. Divergence: mean KL of next tokens on 32 windows of
training text that nothing was calibrated on. "GPTQ" alone finds scales by each block's own error.

| layers | bits | {first} | {second} | divergence |
|---|---:|---:|---:|---:|
"""
BUSY = 2.0
"""Load from which times are of a machine that others used."""


def write_page(out: Path) -> None:
    """Write the page to `out`."""
    names = ("trained.json", "four_bits.json", "bits.json", "results.json")
    out.write_text(page(*(json.loads((HERE / name).read_text(encoding="utf-8")) for name in names)), encoding="utf-8")


def page(trained: dict[str, Any], four: dict[str, Any], bits: dict[str, Any], small: dict[str, Any]) -> str:
    """The page of what trained.json, four_bits.json, bits.json and results.json hold."""
    texts = ", ".join(f"{text['windows']} of {text['of']} of {name}" for name, text in trained["texts"].items())
    head = TRAINED.format(
        command=trained["command"], context=trained["context"], texts=texts, calibration=trained["calibration_windows"], **{
            name: trained["timing"][name] for name in ("rounds", "prompt")
        },
    )  # fmt: skip
    load = trained["timing"].get("load", 0.0)
    busy = [
        "",
        f"**Times were taken on a busy machine (load {load:.0f}): they are no claims, and not to be read one against another.**",
    ]
    lines = [
        *([] if trained.get("scales") == "by what is left" else BEFORE),
        *(busy if load > BUSY else []),
        *_trained(trained),
        "",
    ]
    versions = ", ".join(f"{name} {version}" for name, version in trained["versions"].items())
    lines += [f"{trained['machine']['chip']}; {versions}.", ""]
    timed = HERE / "line.json"
    line = _line(json.loads(timed.read_text(encoding="utf-8"))) if timed.is_file() else ""  # where a quiet machine has run it
    return head + "\n".join(lines) + _four_bits(four) + _ways(bits) + line + _small(small)


def _line(document: dict[str, Any]) -> str:
    """How long each export took, and its longest stages."""
    text = LINE.format(tokens=document["tokens"], cores=document["machine"]["cores"], command=document["command"])
    for one in document["results"]:
        longest = sorted(one["stages"], key=lambda stage: -stage["seconds"])[:4]
        told = ", ".join(f"{stage['stage']} {stage['seconds']:.0f} s" for stage in longest)
        text += (
            row([one["variant"], f"{one['seconds'] / 60:.1f}", f"{one['cpu_seconds']:.0f}", f"{one['load']:.1f}", told]) + "\n"
        )
    return text


def _four_bits(document: dict[str, Any]) -> str:
    """Shares in 8 bits and another calibration text, and what they say."""
    others = [one for one in document["results"] if one["texts"]]
    first, second = others[0]["texts"]
    quiet = document["timing"]["load"] <= BUSY
    text = FOUR.format(
        windows=document["windows"], command=document["command"], first=first, second=second,
        times="" if quiet else " What a token takes was asked on a busy machine, and is not told.",
        columns=" ms a token | ms a prompt |" if quiet else "", rule="---:|---:|" if quiet else "",
    )  # fmt: skip
    for one in others:
        near, far = one["texts"][first], one["texts"][second]
        cells = [one["variant"], f"{one['megabytes']:.1f}", _lost(near), within(near["ci95"], NEAR), _lost(far)]
        times = [f"{one['token_ms']['median']:.2f}", f"{one['prompt_ms']['median']:.0f}"] if quiet else []
        text += row([*cells, *times]) + "\n"
    by_name = {one["variant"]: one for one in others}
    plain, elsewhere = by_name["INT4, GPTQ"], by_name["INT4, GPTQ, calibrated on Wikitext-2"]
    shares = [one for one in others if one["settings"]["eight_bits"] is not None]
    told = plain["texts"][second]
    tokens = ", ".join(f"`{one['token']}` {one['brings']:+.2%}" for one in told["tokens"][:6])
    calibrated = (
        f"Calibrated on the validation text of Wikitext-2, GPTQ loses {_lost(elsewhere['texts'][second])} on its test text, where it loses "
        f"{_lost(told)} calibrated on Wikipedia; on Wikipedia it is {_lost(elsewhere['texts'][first])} beside {_lost(plain['texts'][first])}."
    )
    few = (
        "What Wikitext-2 loses lies in a few tokens that stand everywhere in it and that the model never read so: the pieces of `<unk>` and the "
        f"spaces before marks. Of {told['log_change']:+.2%} of log-perplexity, calibrated on Wikipedia, they bring {tokens}. They move "
        "together in every window, so that an interval over windows does not hold what another rounding does to them."
    )
    points = [_reach(shares, first, by_name["INT8, blocks of 64"]), calibrated, few]
    return text + "\n" + "\n".join(_bullets(points)) + "\n"


def _reach(shares: list[dict[str, Any]], text: str, eight: dict[str, Any]) -> str:
    """Which share stays within what is asked, and what it takes."""
    least = {
        limit: min((one for one in shares if one["texts"][text]["change"] <= limit), key=size, default=None)
        for limit in (NEAR, OFFERED)
    }
    said = [
        f"within {limit:.1%} on {text} the smallest share measured is {one['settings']['eight_bits']:.0%} in 8 bits, {size(one):.1f} MB"
        if one is not None else f"within {limit:.1%} on {text} is none of the shares measured"
        for limit, one in least.items()
    ]  # fmt: skip
    return (
        f"{'; '.join(said)[0].upper()}{'; '.join(said)[1:]}. INT8 with blocks of 64, the default, takes {size(eight):.1f} MB."
    )


def _lost(text: dict[str, Any]) -> str:
    low, high = text["ci95"]
    return f"{text['change']:+.2%} ({low:+.2%} to {high:+.2%})"


def _ways(document: dict[str, Any]) -> str:
    """Roundings beside one another on all windows."""
    first, second = document["windows"]
    windows = ", ".join(f"{count} of {name}" for name, count in document["windows"].items())
    text = WAYS.format(windows=windows, machine=document["machine"], command=document["command"], first=first, second=second)
    ways = sorted(document["ways"].items(), key=lambda item: (-item[1]["bits_a_weight"], item[1]["divergence"]))
    for name, way in ways:
        text += row(
            [TITLES.get(name, name), f"{way['bits_a_weight']:.2f}", _lost(way["texts"][first]), _lost(way["texts"][second]),
             f"{way['divergence']:.4f}"]
        ) + "\n"  # fmt: skip
    others = {name: document["ways"][name] for name in ("clip", "AWQ, clipped", "AutoRound, 200 steps")}
    like = [way for name, way in ways if way["bits_a_weight"] == 5 and name not in others]

    def span(values: list[float], form: str) -> str:
        return f"{min(values):{form}} to {max(values):{form}}"

    near, far = (span([way["texts"][text]["change"] for way in like], "+.2%") for text in (first, second))
    draw = (
        f"The {len(like)} ways of GPTQ with blocks of 32 diverge by {span([way['divergence'] for way in like], '.4f')} and lose {near} on {first}. "
        f"On {second}, the same ways lose {far}: a figure of 4 bits on text that is foreign to the model is one draw, however many "
        "windows it is of."
    )
    rounds = (
        "Scales weighed by the inverse Hessian and rounds after it lower the divergence by a tenth; calibration on what rounded layers give, and on "
        "four times the windows, by little more."
    )
    clip, awq, tuned = (
        f"{_lost(way['texts'][first])} on {first}, and {_lost(way['texts'][second])} on {second}" for way in others.values()
    )
    packages = (
        f"AutoRound, which the method `auto-round` calls, loses {tuned}: of the ways with 5 bits a weight the least on text like that which they "
        f"were calibrated on. AWQ's scales, folded into the norms before weights are clipped, lose {awq}, where clipping alone loses {clip}. "
        "Both by their own packages on the same windows, with transformers 5.17."
    )
    return text + "\n" + "\n".join(_bullets([draw, rounds, packages])) + "\n"


def _bullets(points: list[str]) -> list[str]:
    return [
        line
        for point in points
        for line in fill(f"- {point}", 140, subsequent_indent="  ", break_on_hyphens=False).splitlines()
    ]


def _trained(document: dict[str, Any]) -> list[str]:
    """A table a text, and what follows from them."""
    whole, *others = document["results"]
    lines = []
    for name in document["texts"]:
        base = whole["texts"][name]
        lines += [
            "", f"## wiki-28m, {name}", "",
            f"{base['windows']} windows, {base['tokens']:,} tokens; float32 has a perplexity of {base['perplexity']:.2f}, takes",
            f"{whole['megabytes']:.1f} MB and {whole['token_ms']['median']:.2f} ms a token.", "",
            "| weights | MB | perplexity | change | within 0.5% | agreement | ms a token | ms a prompt |",
            "|---|---:|---:|---:|---|---:|---:|---:|",
        ]  # fmt: skip
        for one in others:
            if (found := one["texts"].get(name)) is not None:
                lines.append(row(
                    [one["variant"], f"{one['megabytes']:.1f}", f"{found['perplexity']:.2f}", _change(found), within(found["change"]["ci95"]),
                     _agreement(found), f"{one['token_ms']['median']:.2f}", f"{one['prompt_ms']['median']:.0f}"]
                ))  # fmt: skip
    return [*lines, "", "### What to choose", "", *_choice(document)]


def within(interval: list[float], limit: float = 0.005) -> str:
    """Whether a change stays below a limit, said where the whole interval lies on one side."""
    return "yes" if interval[1] <= limit else "no" if interval[0] > limit else "not told apart"


ALONE = {("int8-weights", 32), ("int8-weights", 64), ("int4-weights", 32)}
"""Formats and blocks whose rows have, in a run of several, the bits that they have alone (edgekit/runtime/generate/neighbours.py)."""


def size(one: dict[str, Any]) -> float:
    """Megabytes."""
    return float(one["megabytes"])


def held(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Formats that stay within 0.5% on every text."""
    return [
        one for one in document["results"][1:] if all(within(text["change"]["ci95"]) == "yes" for text in one["texts"].values())
    ]


def default_of(document: dict[str, Any]) -> dict[str, Any]:
    """The smallest of these with products in integers whose rows have the bits that they have alone."""
    exact = [one for one in held(document) if (one["settings"]["format"], one["settings"]["block"]) in ALONE]
    return min((one for one in exact if one["settings"]["accuracy_level"]), key=size)


def _choice(document: dict[str, Any]) -> list[str]:
    """What the tables say, in words, from their numbers."""
    others = document["results"][1:]
    by_name = {one["variant"]: one for one in others}
    first, other = document["texts"]

    def change(name: str, text: str = first) -> str:
        return f"{by_name[name]['texts'][text]['change']['value']:+.2%}"

    best, least = default_of(document), min(held(document), key=size)
    gptq = [f"INT4, GPTQ, blocks of {block}" for block in (32, 64, 128)]
    clip, hqq = "INT4, clipped, blocks of 32", "INT4, HQQ, blocks of 32"
    integers, floats = "INT8, blocks of 32", "INT8, blocks of 32, float32 products"
    slower = by_name[floats]["token_ms"]["median"] / by_name[integers]["token_ms"]["median"]
    points = [
        f"**{best['variant']}** is what a recipe of a language model gets that says nothing of numbers: {size(best):.1f} MB,",
        f"{change(best['variant'])} on {first}. {least['variant']} stays within 0.5% too and takes {size(least):.1f} MB, but there a row's bits",
        "depend on whether others are beside it; with the default an answer is the same, to the bit, alone and among others, which is what",
        "batching and guessing ahead rest on.", "",
        f"4 bits pay where every byte counts and a percent or two may go: {size(by_name[gptq[2]]):.1f} MB with blocks of 128. On text like",
        f"that which GPTQ was calibrated on it loses least: {', '.join(map(change, gptq))} with blocks of 32, 64 and 128, where clipping costs",
        f"{change(clip)} and HQQ {change(hqq)} with blocks of 32. On {other}, which is of another kind, it is {change(gptq[0], other)} by GPTQ,",
        f"{change(clip, other)} by clipping and {change(hqq, other)} by HQQ: calibrate on what the model will read, or clip.", "",
        "Larger blocks read prompts faster ([kernels](../decoders/README.md#where-the-time-of-a-prompt-goes)).", "",
        "ONNX Runtime's kernel takes 2, 4 and 8 bits, so there are no 3.", "",
        f"Products in float32 (`accuracy_level` 0) change perplexity by nothing that can be told ({change(integers)} and {change(floats)} in 8",
        f"bits) and take {slower:.1f} times as long a token.", "",
        "The methods `auto-round` and `quantize-aware-decoder`, which tune weights in 4 bits with torch, are not in these tables: they take minutes",
        "on a GPU and hours on this machine. AWQ is not offered: pip finds no release of autoawq, and llmcompressor 0.14.0.1 asks for transformers",
        "up to 5.17. In an environment of its own it scales weights on a CPU once its pinning of memory is turned off, which fails without an",
        "accelerator; the study of roundings below has what it and AutoRound's package lose.",
    ]  # fmt: skip
    whole = " ".join(points).split("  ")
    return [line for point in whole for line in fill(f"- {point}", 140, subsequent_indent="  ").splitlines()]


def _small(document: dict[str, Any]) -> str:
    """The part on the two small models, of what results.json holds."""
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
    return text


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
    write_page(HERE / "README.md")
