"""README.md of this folder, made of its results.

python -m benchmarks.web.page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import row

__all__ = ["HERE", "page", "write_page"]

HERE = Path(__file__).resolve().parent


def write_page(path: Path = HERE / "README.md") -> None:
    """Write it."""
    path.write_text(page(json.loads((HERE / "results.json").read_text(encoding="utf-8"))), encoding="utf-8")


def page(found: dict[str, Any]) -> str:
    """The page."""
    answer, original, faster, first = (found[name] for name in ("answer", "original", "faster", "first_answer"))
    downloads = found["downloads"]
    runtime = sum(size for name, size in downloads.items() if name.startswith("runner/"))
    bundle = sum(size for name, size in downloads.items() if name.startswith("bundle/"))
    about = (
        f"{found['chip']}, {found['cores']} cores; load {found['load'][0]:.1f} before, {found['load'][1]:.1f} after, of others beside it. "
        f"{found['runtime']}, one thread, {found['processes']} new Chromiums each, in turn, {found['texts']} texts of the test rows; medians of the "
        "processes' medians, 95% intervals between processes. The original is the uncompressed MiniLM in the INT8 of onnxruntime's "
        f"`quantize_dynamic`, by `{found['peer']}` in the same Chromium. [The numbers](results.json). {found['note']} Regenerate with"
    )
    lines = [
        "# In a browser",
        "",
        about,
        "",
        f"    {found['command']}",
        "",
        row(["", found["bundle"], "the original by transformers.js"]),
        row(["---", "---:", "---:"]),
        row(["an answer, from text", _time(answer), _time(original)]),
        row(["faster by", f"{faster['speedup']:.1f}x ({faster['ci95'][0]:.1f} to {faster['ci95'][1]:.1f})", ""]),
        row([found["quality"]["metric"], f"{found['quality']['value']:.2%}", f"{found['original_quality']['value']:.2%}"]),
        row(
            [
                "first answer of a new tab, warm caches",
                f"{first['p50_ms']:.0f} ms ({first['ci95_ms'][0]:.0f} to {first['ci95_ms'][1]:.0f})",
                "",
            ]
        ),
        row(["all that the page downloads, gzipped", f"{sum(downloads.values()) / 1e6:.2f} MB", ""]),
        row(["of it ONNX Runtime, the tokenizers library and the runner", f"{runtime / 1e6:.2f} MB", ""]),
        row(["of it the bundle", f"{bundle / 1e6:.2f} MB", ""]),
        "",
    ]
    return "\n".join(lines)


def _time(found: dict[str, Any]) -> str:
    return f"{found['p50_ms']:.2f} ms ({found['ci95_ms'][0]:.2f} to {found['ci95_ms'][1]:.2f})"


if __name__ == "__main__":
    write_page()
