"""What an answer to a recording costs, from its file on: a bundle beside PyTorch, ONNX Runtime and its own dynamic INT8, interleaved in one process.

    python -m benchmarks.sounds.times build/spoken-digits-7-x86-vnni build/spoken-digits-8-x86-vnni build/spoken-digits-9-x86-vnni

It takes the folders that `edgekit export` made of spoken-digits.toml with several seeds, of which the first is timed, and writes times.json, and
README.md from it. One thread; features are the runtime's for all but PyTorch, which has transformers' own.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.images.times import FILES, NAMES, Answer, measured, notes, quality_shown, written
from edgekit.runtime.waveform import decoded

HERE = Path(__file__).parent
ROUNDS = 1000


def main() -> None:
    """Measure, and write both files."""
    written(__doc__, HERE, ROUNDS, heard, page)


def heard(results: list[Path], rounds: int) -> dict[str, Any]:
    """Milliseconds of every contender, and how long the recordings are on average."""
    return {**measured(results, rounds, "sounds", "audio", by_transformers), "seconds": fmean(seconds_of(results[0]))}


def seconds_of(result: Path) -> list[float]:
    """How long the recordings are that are asked about."""
    lineage = json.loads((result / "lineage.json").read_text(encoding="utf-8"))
    rows = (result / lineage["rows"]).read_text(encoding="utf-8").splitlines()[:FILES]
    sounds = [decoded(base64.b64decode(json.loads(row)["audio"]), None) for row in rows]
    return [len(samples) / rate for samples, rate, _ in sounds]


def by_transformers(folder: Path) -> Answer:
    """How transformers answers the bytes of a recording's file with the checkpoint in `folder`, in float32 on one thread."""
    import soundfile
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    torch.set_num_threads(1)
    reader = AutoFeatureExtractor.from_pretrained(folder)
    network = AutoModelForAudioClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def ask(data: bytes) -> Any:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
        with torch.inference_mode():
            return network(**reader(samples, sampling_rate=rate, return_tensors="pt")).logits.softmax(-1).max(-1)

    return ask


def page(document: dict[str, Any]) -> str:
    """The README of this folder."""
    contenders = document["contenders"]
    stock, eager = (contenders[name]["p50_ms"] for name in ("ort-int8-stock", "eager-fp32"))
    lines = [
        "# Sounds",
        "",
        "What an answer to a recorded digit costs from its WAV file on (`spoken-digits.toml`: an Audio Spectrogram Transformer of 0.43 M weights,",
        "trained from nothing), written by `times.py` from `times.json`; in one process every contender answers the same recording, one thread,",
        f"{document['rounds']:,} rounds. The recordings are {document['seconds']:.2f} s long on average; the real-time factor is a median answer",
        f"over that. Accuracy is of all {contenders['ort-fp32']['n']:,} test rows. Regenerate with",
        "",
        f"    {document['command']}",
        "",
        "| contender | file to answer, median (quartiles) | real-time factor | to PyTorch | to off-the-shelf INT8 | accuracy | points | model |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in contenders.items():
        accuracy, change = quality_shown(one)
        lines.append(
            f"| {NAMES.get(name, f'**bundle of `{name}`**').replace('image processor', 'feature extractor')} "
            f"| {one['p50_ms']:.3f} ms ({one['p25_ms']:.3f} to {one['p75_ms']:.3f}) | {one['p50_ms'] / 1000 / document['seconds']:.4f} "
            f"| {eager / one['p50_ms']:.2f}x | {stock / one['p50_ms']:.2f}x | {accuracy} | {change} | {one['mb']:.2f} MB |"
        )
    return "\n".join([*lines, *notes(document), ""])


if __name__ == "__main__":
    main()
