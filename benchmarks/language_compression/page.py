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
    results, speed = (json.loads((HERE / name).read_text(encoding="utf-8")) for name in ("results.json", "speed.json"))
    verdict = (HERE / "verdict.md").read_text(encoding="utf-8")
    (HERE / "README.md").write_text(page(results, speed, verdict), encoding="utf-8")


def page(results: dict[str, Any], speed: dict[str, Any], verdict: str) -> str:
    """What follows, what pruning costs, what training gives back, and what the shapes save."""
    original, whole = results["original"], speed["shapes"]["the original"]
    pruned = "".join(f"{row(_pruned(one))}\n" for one in [{"shape": "the original", **original}, *results["shapes"]])
    trained = "".join(f"{row(_trained(one))}\n" for one in results["trained"])
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
{results["scored"]}

| shape | trained by | learning rate | rows | before | after |
|---|---|---:|---:|---:|---:|
{trained}
## What the shapes save

INT8 as a recipe ships it, one thread of an {speed["chip"]}, {speed["rounds"]} rounds in turn (load {speed["load"]["before"]} before,
{speed["load"]["after"]} after): a token after a prompt of {speed["prompt"]}, and that prompt. Zeros change neither.

| shape | MB | ms a token | faster by | ms of the prompt | faster by |
|---|---:|---:|---:|---:|---:|
{sizes}
[The numbers](results.json), [of speed](speed.json). Regenerate with

    {results["command"]}
    python -m benchmarks.language_compression.join build/language-compression/results.tar.xz
    {speed["command"]}
"""


def _pruned(one: dict[str, Any]) -> list[str]:
    cells = [one["shape"], f"{one['parameters'] / 1e6:.1f} M", f"{one['multiplications'] / 1e6:.1f} M"]
    for name in (WIKIPEDIA, WIKITEXT):
        text = one["texts"][name]
        low, high = text["change"]["ci95"]
        spread = (
            f" ({min(text['by_seed']):.1f} to {max(text['by_seed']):.1f})"
            if min(text["by_seed"]) < max(text["by_seed"])
            else ""
        )
        is_original = one["shape"] == "the original"
        change = "" if is_original else f"{text['change']['value']:+.1%} ({low:+.1%} to {high:+.1%})"
        cells += [f"{text['perplexity']:.1f}{spread}", change, "" if is_original else f"{text['same']:.0%}"]
    return cells


def _trained(one: dict[str, Any]) -> list[str]:
    step = one["step"]
    return [
        one["shape"], one["recovery"], f"{step['learning_rate']:g}", f"{step['rows'] * step['epochs']:,}", f"{one['before']:.1f}",
        f"{one['after']:.1f}",
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
