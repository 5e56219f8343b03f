"""The model card that travels in the bundle: what it is, how it was made, how good it is, what it is not for."""

from __future__ import annotations

from typing import Any

from edgekit.data.texts import quality_limit, scored_rows
from edgekit.markdown import escape_markdown as safe
from edgekit.markdown import yaml_text
from edgekit.runtime.bundle.manifest import Manifest
from edgekit.runtime.bundle.quality import Agreement, Quality, SamePrefix, SameTokens
from edgekit.runtime.generate.chat import JINJA
from edgekit.runtime.pixels import PILLOW
from edgekit.runtime.processors import processor
from edgekit.runtime.providers.names import CPU
from edgekit.runtime.waveform import SOUND_LIBRARIES

__all__ = ["write_card"]

HUB_LICENCES = {
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0",
    "isc", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unlicense", "openrail", "llama2", "llama3", "llama3.1", "llama3.2", "gemma",
    "unknown", "other",
}  # fmt: skip
HUB_TASKS = {"multi-label-classification": "text-classification", "text-regression": "text-classification"}
"""Tasks that the hub calls otherwise."""
TEXT = '"your text"'
IN_BROWSERS = (
    'import { load } from "./runner.mjs"; // edgekit artifacts --web writes it, and a page',
    'const model = await load("bundle/");',
    "await model.verify();",
)
CHAT = f"Conversations are written by a template, which needs jinja2 beside numpy, onnxruntime and tokenizers: `pip install '{JINJA}'`."
IMAGE = f"Image files need Pillow beside numpy, onnxruntime and tokenizers: `pip install '{PILLOW}'`. Arrays of the model's size need nothing more."
SOUND = (
    "FLAC files, and files of another sampling rate than the model's, need soundfile and soxr beside numpy, onnxruntime and tokenizers: "
    "`pip install '{}' '{}'`. WAV files and samples at its own rate need nothing more."
).format(*SOUND_LIBRARIES)
EXAMPLES = {
    "audio-classification": "sound.wav",
    "automatic-speech-recognition": "speech.wav",
    "image-classification": "photo.jpg",
    "image-feature-extraction": "photo.jpg",
    "question-answering": """'{"question": "your question", "context": "your text"}'""",
    "zero-shot-classification": """'{"text": "your text", "labels": ["one label", "another"]}'""",
    "text-ranking": """'{"query": "your question", "passages": ["your text", "another text"]}'""",
}


def write_card(manifest: Manifest, audit: dict[str, Any]) -> str:
    """Markdown with Hugging Face front matter, from the manifest and the audit. No times: they are a machine's."""
    quality, target = manifest.quality, manifest.target
    article = "An" if manifest.task.startswith(("a", "i")) else "A"
    steps = safe(", ".join(manifest.steps)) or "no compression"
    fallbacks, counted = len(audit["fallbacks"]), audit.get("counted", "run in integer kernels")
    lines = [
        "---",
        *_licence(manifest.licence),
        f"pipeline_tag: {HUB_TASKS.get(manifest.task, manifest.task)}",
        "library_name: edgekit",
        "tags: [onnx, edge]",
        # A revision says that it is the hub's; a folder's name would point at somebody else's model.
        *([f"base_model: {yaml_text(str(manifest.base_model))}"] if manifest.source.revision else []),
        "---",
        "",
        f"# {safe(manifest.name)}",
        "",
        f"{article} {manifest.task} model for {safe(target.name)} ({safe(target.arch)}), made by edgekit {manifest.version}.",
        "",
        "## How it was made",
        "",
        f"From {safe(manifest.source.model)} by: {steps}; then exported to ONNX and quantized for the target.",
        "",
        "## How good it is",
        "",
        *_quality(quality, scored_rows(manifest.recipe)),
        *_agreement(manifest.agreement),
        *[f"Not compared with {safe(title)}: {safe(why)}." for title, why in (manifest.not_made or {}).items()],
        *([f"Scored with the kernels of {safe(used)}, not those of {target.provider}."] if (used := quality.scored_on) else []),
        "",
        "## What the runtime executes",
        "",
        f"{audit['matmuls_integer']} of {audit['matmuls_constant']} MatMuls with a constant weight {safe(counted)}; {fallbacks} fell back.",
        *(
            [f"{weight_only} unpack small weights inside their kernel, as noted below."]
            if (weight_only := audit["matmuls_weight_only"])
            else []
        ),
        *([f"Kept in float32 on purpose: {safe(', '.join(kept))}."] if (kept := audit["kept_float"]) else []),
        f"The kernels were {'' if audit['kernels_observed'] else 'not '}observed on the target's architecture.",
        *[f"- {safe(note)}" for note in audit["notes"]],
        "",
        "## How to run it",
        "",
        "```",
        *(IN_BROWSERS if manifest.target.arch == "wasm32" else _by_the_runner(manifest)),
        "```",
        "",
        *([CHAT, ""] if manifest.has_template else []),
        *([IMAGE, ""] if manifest.image is not None else []),
        *([SOUND, ""] if manifest.sound is not None else []),
        "## Limits",
        "",
        _limit(manifest),
        *_embeddings(manifest),
        *(
            [f"- It answers with {len(manifest.labels)} labels, whatever the {manifest.reads} is about."]
            if manifest.labels and processor(manifest.task).decided
            else []
        ),
        *(
            [f"- A label applies from a score of {threshold:g} on, as the validation rows chose it."]
            if (threshold := manifest.threshold)
            else []
        ),
        f"- Quality was measured on {quality_limit(manifest.recipe)}.",
        "",
    ]
    return "\n".join(lines)


def _quality(quality: Quality, called: str) -> list[str]:
    """The metric and what became of it; of a language model its perplexity, and how often it says what the original says. `called`: the rows."""
    rows = f"{quality.n:,} {called}"
    if quality.metric != "1/perplexity" or quality.ratio is None:
        low, high = quality.ci95
        return [
            f"{safe(quality.metric)} on {rows}: {quality.bundle:.4f}; the original has {quality.original:.4f}.",
            f"Difference {quality.difference:+.4f} (paired 95% interval {low:+.4f} to {high:+.4f}).",
            *(
                f"{safe(name)}: {other.value:.4f}; the original has {other.original:.4f}."
                for name, other in (quality.beside or {}).items()
            ),
        ]
    value, low, high = (1 / share - 1 for share in (quality.ratio.value, *reversed(quality.ratio.ci95)))
    lines = [
        f"Perplexity on {rows}: {1 / quality.bundle:.4g}; the original has {1 / quality.original:.4g}.",
        f"Change {value:+.2%} (paired 95% interval {low:+.2%} to {high:+.2%}).",
    ]
    if quality.greedy is not None:
        same, prefix = quality.greedy.agreement, quality.greedy.prefix
        lines += [
            f"The most probable next token is the original's in {_spread(same, '.1%')} of {same.tokens:,} positions.",
            f"Greedy answers begin with the same {_spread(prefix, '.1f')} of {prefix.tokens} tokens, over {prefix.prompts} prompts.",
        ]
    return lines


def _agreement(found: Agreement | None) -> list[str]:
    if found is None:
        return []
    return [
        f"Before compression its answers to {found.inputs} inputs were those of {safe(found.reference)} (largest difference {found.largest:.1g})."
    ]


def _spread(figure: SameTokens | SamePrefix, form: str) -> str:
    low, high = (format(end, form) for end in figure.ci95)
    return f"{figure.value:{form}} (95% interval {low} to {high})"


def _licence(name: str) -> list[str]:
    """The hub knows some licences by name, in lower case; every other is `other` with its name."""
    if name.lower() in HUB_LICENCES:
        return [f"license: {name.lower()}"]
    return ["license: other", f"license_name: {yaml_text(name)}"]


def _embeddings(manifest: Manifest) -> list[str]:
    """How embeddings are compared, whether they have length 1, and what is put before their texts."""
    if (kept := manifest.embeddings) is None:
        return []
    lines = [
        f"- Embeddings are compared by {kept.similarity}; {'each has' if kept.normalised else 'they are not brought to'} length 1."
    ]
    if prompt := kept.prompts.before():
        lines.append(f"- {safe(yaml_text(prompt))} is put before every text (the prompt {safe(repr(kept.prompts.default))}).")
    others = [safe(repr(name)) for name, text in kept.prompts.texts.items() if text and name != kept.prompts.default]
    return lines + ([f"- It has other prompts, which `prompt_name` asks for: {', '.join(others)}."] if others else [])


def _by_the_runner(manifest: Manifest) -> tuple[str, str]:
    return "python3 runner.pyz verify bundle", f"python3 runner.pyz run bundle {EXAMPLES.get(manifest.task, TEXT)}"


def _limit(manifest: Manifest) -> str:
    if manifest.image is not None:
        return (
            f"- Images are brought to {manifest.image.width} x {manifest.image.height} pixels first, whatever size they have."
        )
    if (sound := manifest.sound) is not None:
        return f"- Of a sound {sound.seconds:g} seconds at most are read, at {sound.sampling_rate:,} samples a second; others are resampled first."
    longest = manifest.max_length
    if (generation := manifest.generation) is not None:
        float_bytes = 4 if manifest.target.provider == CPU else 2
        size = 2 * generation.layers * generation.kv_heads * generation.head_size
        size *= 1 if generation.cache == "int8" else float_bytes
        return (
            f"- Prompt and answer together have room for {longest} tokens; an answer that fills it ends there and says `context`. "
            f"Each of them takes {size:,} bytes of memory."
        )
    return f"- Text beyond {longest} tokens is cut; answers then say `truncated`."
