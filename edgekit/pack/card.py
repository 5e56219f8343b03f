"""The model card that travels in the bundle: what it is, how it was made, how good it is, what it is not for."""

from __future__ import annotations

import json
from typing import Any

from edgekit.runtime.providers.names import CPU

__all__ = ["write_card"]

HUB_LICENCES = {
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0",
    "isc", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unlicense", "openrail", "llama2", "llama3", "llama3.1", "llama3.2", "gemma",
    "unknown", "other",
}  # fmt: skip
TEXT = '"your text"'
EXAMPLES = {"question-answering": """'{"question": "your question", "context": "your text"}'"""}


def write_card(name: str, block: dict[str, Any], audit: dict[str, Any]) -> str:
    """Markdown with Hugging Face front matter, from the manifest's edgekit block and the audit. No times: they are a machine's."""
    quality, target = block["quality"], block["target"]
    steps = [step["method"] for step in block["recipe"].get("compress", [])]
    fallbacks, counted = len(audit["fallbacks"]), audit.get("counted", "run in integer kernels")
    lines = [
        "---",
        *_licence(block["licence"]),
        f"pipeline_tag: {block['task']}",
        "library_name: edgekit",
        "tags: [onnx, edge]",
        # A revision says that it is the hub's; a folder's name would point at somebody else's model.
        *([f"base_model: {json.dumps(block['recipe']['model']['id'])}"] if block["source"].get("revision") else []),
        "---",
        "",
        f"# {name}",
        "",
        f"A {block['task']} model for {target['name']} ({target['arch']}), made by edgekit {block['version']}.",
        "",
        "## How it was made",
        "",
        f"From `{block['source']['model']}` by: {', '.join(steps) or 'no compression'}; then exported to ONNX and quantized for the target.",
        "",
        "## How good it is",
        "",
        *_quality(quality),
        *(
            [f"Scored with the kernels of {used}, not those of {target['provider']}."]
            if (used := quality.get("scored_on"))
            else []
        ),
        "",
        "## What the runtime executes",
        "",
        f"{audit['matmuls_integer']} of {audit['matmuls_constant']} products with a constant weight {counted}; {fallbacks} fell back.",
        *(
            [f"{weight_only} unpack small weights inside their kernel, as noted below."]
            if (weight_only := audit["matmuls_weight_only"])
            else []
        ),
        *([f"Kept in float32 on purpose: {', '.join(kept)}."] if (kept := audit["kept_float"]) else []),
        f"The kernels were {'' if audit['kernels_observed'] else 'not '}observed on the target's architecture.",
        *[f"- {note}" for note in audit["notes"]],
        "",
        "## How to run it",
        "",
        "```",
        "python3 runner.pyz verify bundle",
        f"python3 runner.pyz run bundle {EXAMPLES.get(block['task'], TEXT)}",
        "```",
        "",
        "## Limits",
        "",
        _limit(block),
        *([f"- It answers with {len(block['labels'])} labels, whatever the text is about."] if block["labels"] else []),
        "- Quality was measured on the recipe's own test rows; other text may fare worse.",
        "",
    ]
    return "\n".join(lines)


def _quality(quality: dict[str, Any]) -> list[str]:
    """The metric and what became of it; of a language model its perplexity, and how often it says what the original says."""
    rows = f"{quality['n']:,} test rows"
    if quality["metric"] != "1/perplexity" or not (ratio := quality.get("ratio")):
        low, high = quality["ci95"]
        return [
            f"{quality['metric']} on {rows}: {quality['bundle']:.4f}; the original has {quality['original']:.4f}.",
            f"Difference {quality['difference']:+.4f} (paired 95% interval {low:+.4f} to {high:+.4f}).",
        ]
    value, low, high = (1 / share - 1 for share in (ratio["value"], *reversed(ratio["ci95"])))
    lines = [
        f"Perplexity on {rows}: {1 / quality['bundle']:.4g}; the original has {1 / quality['original']:.4g}.",
        f"Change {value:+.2%} (paired 95% interval {low:+.2%} to {high:+.2%}).",
    ]
    if greedy := quality.get("greedy"):
        same, prefix = greedy["agreement"], greedy["prefix"]
        lines += [
            f"The most probable next token is the original's in {_spread(same, '.1%')} of {same['tokens']:,} places.",
            f"Greedy answers begin with the same {_spread(prefix, '.1f')} of {prefix['tokens']} tokens, over {prefix['prompts']} prompts.",
        ]
    return lines


def _spread(found: dict[str, Any], form: str) -> str:
    low, high = (format(end, form) for end in found["ci95"])
    return f"{found['value']:{form}} (95% interval {low} to {high})"


def _licence(name: str) -> list[str]:
    """The hub knows some licences by name, in lower case; every other is `other` with its name."""
    if name.lower() in HUB_LICENCES:
        return [f"license: {name.lower()}"]
    return ["license: other", f"license_name: {json.dumps(name)}"]


def _limit(block: dict[str, Any]) -> str:
    longest = block["tokenizer"]["max_length"]
    if generation := block.get("generation"):
        wide = 4 if block["target"]["provider"] == CPU else 2
        size = 2 * generation["layers"] * generation["kv_heads"] * generation["head_size"]
        size *= 1 if generation.get("cache") == "int8" else wide
        return (
            f"- Prompt and answer together have room for {longest} tokens; an answer that fills it ends there and says `context`. "
            f"Each of them takes {size:,} bytes of memory."
        )
    return f"- Text beyond {longest} tokens is cut; answers then say `truncated`."
