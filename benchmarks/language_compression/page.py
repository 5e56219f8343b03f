"""Write README.md from results.json and speed.json: `python -m benchmarks.language_compression.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import row

__all__ = ["page", "write_page"]

HERE = Path(__file__).resolve().parent
WIKIPEDIA, WIKITEXT = "Wikipedia, validation", "Wikitext-2, test"


def write_page() -> None:
    """README.md from what lies beside it."""
    results, speed, tried = (
        json.loads((HERE / name).read_text(encoding="utf-8")) for name in ("results.json", "speed.json", "tried.json")
    )
    verdict = (HERE / "verdict.md").read_text(encoding="utf-8")
    (HERE / "README.md").write_text(page(results, speed, tried, verdict), encoding="utf-8")


def page(results: dict[str, Any], speed: dict[str, Any], tried: dict[str, Any], verdict: str) -> str:
    """What follows, what pruning costs, what training gives back, and what the shapes save."""
    original, whole = results["original"], speed["shapes"]["the original"]
    pruned = "".join(f"{row(_pruned(one))}\n" for one in [{"shape": "the original", **original}, *results["shapes"]])
    trained = "".join(f"{row(_trained(one))}\n" for one in _beside_untrained(results))
    rates = "".join(f"{row(_tried(one))}\n" for one in tried["tried"])
    most = max(len(one["seeds"]) for one in results["trained"])
    sizes = "".join(f"{row(_speed(name, one, whole))}\n" for name, one in sorted(speed["shapes"].items(), key=_slowest))
    windows = ", ".join(f"{original['texts'][name]['windows']} windows of {name}" for name in (WIKIPEDIA, WIKITEXT))
    return f"""# Smaller shapes of a language model that was really trained

{verdict.strip()}

## Pruned, and not trained

wiki-28m, a Llama of 27.8 million weights trained on 14 million tokens of Wikipedia, as it is in 8 bits a weight; perplexity in float32 on
{windows}, of 512 tokens each, by {results["machine"]}.
Where seeds draw the calibration rows, their log-probabilities are averaged, with the least and the most of a seed beside.
Changes are against the original, with paired 95% intervals over windows; *same* is the share of likeliest next tokens that are the original's.

| shape | weights | multiplications a token | {WIKIPEDIA} | against the original | same | {WIKITEXT} | against the original | same |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
{pruned}
## What training gives back

Each for the same cost in multiplications, reading with the teacher included: that of teaching four of eight blocks, half by the teacher and half by
the labels, on {results["cost_tokens"]:,} tokens. Adapters (LoRA, rank 16) on labels alone cost less a token, so that they see more of them.
{most} seeds where nothing else is said; log-probabilities of a window are averaged over them, with the least and the most of a seed beside.

| shape | trained by | rows | {WIKIPEDIA} | against the original | same | {WIKITEXT} | against the original | same |
|---|---|---:|---:|---:|---:|---:|---:|---:|
{trained}
### Learning rates

Tried once, one seed, at the cost of {tried["cost_tokens"]:,} tokens; the best is what all trainings above have.
{tried["scored"]}

| shape | trained by | learning rate | rows | before | after |
|---|---|---:|---:|---:|---:|
{rates}
## What the shapes save

INT8 as a recipe ships it, one thread of an {speed["chip"]}, {speed["rounds"]} rounds in turn (load {speed["load"]["before"]} before,
{speed["load"]["after"]} after): a token after a prompt of {speed["prompt"]}, and that prompt. Zeros change neither.

| shape | MB | ms a token | faster by | ms of the prompt | faster by |
|---|---:|---:|---:|---:|---:|
{sizes}
[The numbers](results.json), [of speed](speed.json), [of learning rates](tried.json). Regenerate with

    {results["command"]}
    python -m benchmarks.language_compression.join build/language-compression/results.tar.xz
    {speed["command"]}
"""


def _pruned(one: dict[str, Any]) -> list[str]:
    return [one["shape"], f"{one['parameters'] / 1e6:.1f} M", f"{one['multiplications'] / 1e6:.1f} M", *_scores(one)]


def _scores(one: dict[str, Any]) -> list[str]:
    """Of both texts perplexity, its change and the share of equal tokens; the original has its perplexity alone."""
    cells, is_original = list[str](), one["shape"] == "the original"
    for name in (WIKIPEDIA, WIKITEXT):
        text = one["texts"][name]
        low, high = text["change"]["ci95"]
        spread = (
            f" ({min(text['by_seed']):.1f} to {max(text['by_seed']):.1f})"
            if min(text["by_seed"]) < max(text["by_seed"])
            else ""
        )
        change = "" if is_original else f"{text['change']['value']:+.1%} ({low:+.1%} to {high:+.1%})"
        cells += [f"{text['perplexity']:.1f}{spread}", change, "" if is_original else f"{text['same']:.0%}"]
    return cells


def _beside_untrained(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Trained models by shape, each shape after itself untrained."""
    trained = results["trained"]
    shapes = [one for one in results["shapes"] if any(other["shape"] == one["shape"] for other in trained)]
    return [each for shape in shapes for each in (shape, *(one for one in trained if one["shape"] == shape["shape"]))]


def _trained(one: dict[str, Any]) -> list[str]:
    if "recovery" not in one:
        return [one["shape"], "", "", *_scores(one)]
    seeds = "" if len(one["seeds"]) > 2 else f" ({'one seed' if len(one['seeds']) == 1 else 'two seeds'})"
    return [one["shape"], f"{one['recovery']}{seeds}", f"{one['step']['rows'] * one['step']['epochs']:,}", *_scores(one)]


def _tried(one: dict[str, Any]) -> list[str]:
    return [
        one["shape"], one["recovery"], f"{one['learning_rate']:g}", f"{one['rows']:,}", f"{one['before']:.1f}", f"{one['after']:.1f}",
    ]  # fmt: skip


def _slowest(item: tuple[str, dict[str, Any]]) -> float:
    return -float(item[1]["token_ms"]["median"])


def _speed(name: str, one: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    token, prompt = (one[kind]["median"] for kind in ("token_ms", "prompt_ms"))
    return [
        name, f"{one['megabytes']:.1f}", f"{token:.3f}", f"{whole['token_ms']['median'] / token:.2f}x", f"{prompt:.1f}",
        f"{whole['prompt_ms']['median'] / prompt:.2f}x",
    ]  # fmt: skip


if __name__ == "__main__":
    write_page()
