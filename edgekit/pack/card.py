"""The model card that travels in the bundle: what it is, how it was made, how good it is, what it is not for."""

from __future__ import annotations

from typing import Any

__all__ = ["write_card"]


TEXT = '"your text"'
EXAMPLES = {"question-answering": """'{"question": "your question", "context": "your text"}'"""}


def write_card(name: str, block: dict[str, Any], audit: dict[str, Any]) -> str:
    """Markdown with Hugging Face front matter, from the manifest's edgekit block and the audit. No times: they are a machine's."""
    quality, target = block["quality"], block["target"]
    low, high = quality["ci95"]
    steps = [step["method"] for step in block["recipe"].get("compress", [])]
    fallbacks = len(audit["fallbacks"])
    lines = [
        "---",
        f"license: {block['licence']}",
        f"pipeline_tag: {block['task']}",
        "library_name: edgekit",
        f"base_model: {block['source']['model']}",
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
        f"{quality['metric']} on {quality['n']:,} test rows: {quality['bundle']:.4f}; the original has {quality['original']:.4f}.",
        f"Difference {quality['difference']:+.4f} (paired 95% interval {low:+.4f} to {high:+.4f}).",
        "",
        "## What the runtime executes",
        "",
        f"{audit['matmuls_integer']} of {audit['matmuls_constant']} products with a constant weight run in integer kernels; {fallbacks} fell back.",
        *(
            [f"{weight_only} store small weights and multiply in floating point."]
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


def _limit(block: dict[str, Any]) -> str:
    longest = block["tokenizer"]["max_length"]
    if "generation" in block:
        return f"- Prompt and answer together have room for {longest} tokens; an answer that fills it ends there and says `context`."
    return f"- Text beyond {longest} tokens is cut; answers then say `truncated`."
