"""What 4 bits cost where GPTQ reads another text, and where a share of the weights keeps 8: wiki-28m, blocks of 32.

    python -m benchmarks.language_quality.four_bits [--windows 32] [--models ../shared/models] [--data ../shared/data]

Graphs as a recipe makes them. What is lost is taken apart by the token that was to be told. Writes four_bits.json and README.md beside this
file; what is scored already is not scored again.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from benchmarks.language_quality.page import write_page
from benchmarks.language_quality.rounding import ROOT, SEED, chip, versions
from benchmarks.language_quality.trained import (
    BUILD,
    CALIBRATION,
    CONTEXT,
    FLOAT,
    PROMPT,
    ROUNDS,
    TOKENS,
    Texts,
    all_sums,
    calibration,
    each_window,
    make_all,
    of_wikipedia,
    of_wikitext,
    opened,
    timed,
)
from benchmarks.pages import perplexity_change, write_results
from edgekit.config.quantize import WeightOnly
from edgekit.progress import Show
from edgekit.quantize.decoder import quantize_decoder
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.runtime.bundle.names import GENERATION, MODEL, MODEL_DATA
from edgekit.tasks.decoders.text_generation import mean_probability

HERE = Path(__file__).resolve().parent
TOLD = 8
"""Tokens that are told of each text, those that bring most."""
WIKIPEDIA, WIKITEXT = "Wikipedia, training", "Wikitext-2, validation"
GPTQ = WeightOnly(format="int4-weights", rounding="gptq")
FORMS: dict[str, tuple[WeightOnly, str]] = {
    "INT8, blocks of 64": (WeightOnly(format="int8-weights", block=64), WIKIPEDIA),
    "INT4, GPTQ": (GPTQ, WIKIPEDIA),
    "INT4, GPTQ, calibrated on Wikitext-2": (GPTQ, WIKITEXT),
    **{
        f"INT4, GPTQ, {share:.0%} in INT8": (GPTQ.model_copy(update={"eight_bits": share}), WIKIPEDIA)
        for share in (0.1, 0.3, 0.5, 0.7)
    },
}
"""Name -> settings, and the text that is calibrated on."""


def main() -> None:
    """Parse, make, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--windows", type=int, default=32, help="windows of each text")
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models", help="folder that holds wiki-28m")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data", help="folder of wikipedia and wikitext2")
    asked = parser.parse_args()
    checkpoint, show = (asked.models / "wiki-28m").resolve(), Show()
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    texts = [of_wikipedia(tokenizer, asked.data, asked.windows), of_wikitext(tokenizer, asked.data, asked.windows)]
    whole = make_all(checkpoint, list, show, {FLOAT: None})[FLOAT]
    rows = {WIKIPEDIA: calibration(tokenizer, asked.data), WIKITEXT: of_validation(tokenizer, asked.data)}
    sums = {read: Sums(whole, ids) for read, ids in rows.items()}
    folders = {FLOAT: whole}
    for name, (settings, read) in FORMS.items():
        folders[name] = rounded(whole, name, settings, sums[read], show)
    before = {text.name: values_of(whole, checkpoint, text) for text in texts}
    found = {
        name: {
            text.name: told(text, before[text.name], values_of(folders[name], checkpoint, text), tokenizer) for text in texts
        }
        for name in FORMS
    }
    times = timed(folders, checkpoint)
    document = {
        "schema_version": 1, "command": f"python -m benchmarks.language_quality.four_bits --windows {asked.windows}",
        "machine": {"chip": chip(), "arch": platform.machine()}, "versions": versions(), "seed": SEED, "context": CONTEXT,
        "calibration_windows": CALIBRATION, "windows": asked.windows,
        "timing": {"threads": 1, "prompt": PROMPT, "tokens": TOKENS, "rounds": ROUNDS, "load": os.getloadavg()[0]},
        "results": [
            {
                "variant": name, "settings": FORMS[name][0].model_dump() if name in FORMS else None,
                "calibrated": FORMS[name][1] if name in FORMS else None,
                "megabytes": sum((folder / file).stat().st_size for file in (MODEL, MODEL_DATA)) / 1e6,
                **{kind: {"median": float(np.median(values)), "all": values} for kind, values in times[name].items()},
                "texts": found.get(name, {}),
            }
            for name, folder in folders.items()
        ],
    }  # fmt: skip
    write_results(HERE / "four_bits.json", document)
    write_page(HERE / "README.md")


def of_validation(tokenizer: Tokenizer, data: Path) -> list[np.ndarray]:
    """Windows of Wikitext-2's validation text, a fixed draw."""
    ids = np.asarray(tokenizer.encode((data / "wikitext2" / "valid.txt").read_text(encoding="utf-8")).ids, dtype=np.int64)
    whole = ids[: len(ids) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)
    return list(whole[np.sort(np.random.default_rng(SEED).permutation(len(whole))[:CALIBRATION])])


class Sums:
    """What GPTQ rounds by, found once for all graphs that are calibrated on `rows`, and where one is made."""

    def __init__(self, whole: Path, rows: list[np.ndarray]) -> None:
        self.rows, self._whole = rows, whole
        self._found: dict[str, np.ndarray] = {}

    def __call__(self, name: str) -> np.ndarray:
        if not self._found:
            scratch = BUILD.parent / "four-bits" / "scratch"
            self._found = all_sums(self._whole, self.rows, scratch)
            shutil.rmtree(scratch)
        return self._found[name]


def rounded(whole: Path, name: str, settings: WeightOnly, sums: Sums, show: Show) -> Path:
    """The folder of the graph with `settings` that is calibrated as `sums` are; one that is there is kept."""
    out = BUILD.parent / "four-bits" / name.replace(",", "").replace(" ", "-").replace("%", "").lower()
    if (out / GENERATION).is_file():
        return out
    out.mkdir(parents=True, exist_ok=True)
    scratch = out / "scratch"
    with show.stage(name) as progress:
        quantize_decoder(whole, out, settings, hessians=sums, texts=sums.rows, scratch=scratch, progress=progress)
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copyfile(whole / GENERATION, out / GENERATION)
    return out


def values_of(folder: Path, checkpoint: Path, text: Texts) -> np.ndarray:
    """Log-probabilities float64 (windows, 511) of the windows of `text`; those that are there are kept."""
    path = folder / f"values-{text.name.split(',')[0].lower()}.npy"
    known = np.load(path) if path.is_file() else np.empty((0, CONTEXT - 1))
    wanted = text.windows[len(known) :]
    if len(wanted):
        language = opened(folder, checkpoint, 1)
        known = np.concatenate([known, np.stack([values for values, _ in each_window(language, wanted)])])
        np.save(path, known)
    return np.asarray(known[: len(text.windows)])


def told(text: Texts, before: np.ndarray, after: np.ndarray, tokenizer: Tokenizer) -> dict[str, Any]:
    """The change of perplexity, with its interval over windows, and what the tokens that change most bring to it."""
    first, second = (np.stack([values.sum(axis=1), np.full(len(values), CONTEXT - 1.0)], axis=1) for values in (before, after))
    value, low, high = perplexity_change(paired_difference(first, second, SEED, mean_probability)["ratio"])
    targets, lost = text.windows[:, 1:].reshape(-1), (before - after).reshape(-1)
    by_token = np.bincount(targets, weights=lost) / len(lost)
    counts = np.bincount(targets)
    most = np.argsort(-np.abs(by_token))[:TOLD]
    tokens = [
        {"token": tokenizer.decode([int(one)]), "count": int(counts[one]), "brings": float(by_token[one])} for one in most
    ]
    return {"change": value, "ci95": [low, high], "log_change": float(lost.mean()), "tokens": tokens}


if __name__ == "__main__":
    main()
