"""What each rounding costs a language model that was really trained: perplexity, greedy agreement, size and time, for every format on offer.

    python -m benchmarks.language_quality.trained [--wikipedia 96] [--wikitext 32] [--models ../shared/models] [--data ../shared/data]

Model: wiki-28m, a Llama of 27.8 million weights trained on 14 million tokens of Wikipedia. Texts: Wikipedia's validation documents and
Wikitext-2's test text, joined by the end token and cut into windows of 512 tokens, of which a fixed draw is scored; Wikitext-2, which is of
another kind than what the model learned, by one format of each kind. GPTQ and the cache's scales read windows of Wikipedia's training text.
What is scored already for the same graph and text is not scored again, so an interrupted run goes on where it stopped, and more windows add
to those that are there. Writes trained.json and README.md beside this file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from benchmarks.language_quality.page import write_page
from benchmarks.language_quality.rounding import ROOT, SEED, chip, versions
from benchmarks.pages import write_results
from edgekit.bench.greedy import CONTINUED, PREDICTED, agreement, continued
from edgekit.config.quantize import WeightOnly
from edgekit.exporter.decoder import export_decoder
from edgekit.models.files import digest
from edgekit.progress import Show
from edgekit.quantize.decoder import quantize_decoder
from edgekit.quantize.hessians import hessians_of
from edgekit.quantize.kv_cache import cache_ranges
from edgekit.runtime.bench.statistics import paired_difference
from edgekit.runtime.bundle.names import GENERATION, MODEL, MODEL_DATA
from edgekit.runtime.generate.generation import parse_generation
from edgekit.runtime.generate.model import LanguageModel, language_model
from edgekit.runtime.providers.session import open_session, own_cores
from edgekit.store import sha256_file
from edgekit.tasks.decoders.text_generation import mean_probability

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "language-quality" / "wiki-28m"
CONTEXT = 512
CALIBRATION = 128
"""Windows that GPTQ and the cache's scales read."""
FLOAT = "float32"
EVIDENCE = "evidence.npy"
BLOCKS: tuple[Literal[32, 64, 128], ...] = (32, 64, 128)
PROMPT, TOKENS, ROUNDS = 256, 24, 5
"""Tokens of the prompt that is timed, tokens made after it, and how often each variant is asked in turn."""


def _formats() -> Iterator[tuple[str, WeightOnly]]:
    for block in BLOCKS:
        yield f"INT8, blocks of {block}", WeightOnly(format="int8-weights", block=block)
    yield "INT8, blocks of 32, float32 products", WeightOnly(format="int8-weights", accuracy_level=0)
    roundings: tuple[tuple[Literal["clip", "hqq", "gptq"], str], ...] = (("clip", "clipped"), ("hqq", "HQQ"), ("gptq", "GPTQ"))
    for rounding, title in roundings:
        for block in BLOCKS:
            yield f"INT4, {title}, blocks of {block}", WeightOnly(format="int4-weights", rounding=rounding, block=block)
    gptq = WeightOnly(format="int4-weights", rounding="gptq")
    for block in BLOCKS[::2]:
        for share in (0.1, 0.3, 0.5):
            settings = WeightOnly(format="int4-weights", rounding="gptq", block=block, eight_bits=share)
            yield f"INT4, GPTQ, blocks of {block}, {share:.0%} in INT8", settings
    yield "INT4, GPTQ, blocks of 32, float32 products", gptq.model_copy(update={"accuracy_level": 0})
    yield "INT4, GPTQ, blocks of 32, cache in INT8", gptq.model_copy(update={"cache": "int8"})
    yield "INT4, GPTQ, blocks of 32, embeddings in INT4", gptq.model_copy(update={"embeddings": "int4"})
    yield "INT4, GPTQ, blocks of 128, embeddings in INT4", gptq.model_copy(update={"embeddings": "int4", "block": 128})


VARIANTS: dict[str, WeightOnly | None] = {FLOAT: None, **dict(_formats())}
OF_EACH_KIND = (
    FLOAT, "INT4, GPTQ, blocks of 32", "INT8, blocks of 128", "INT8, blocks of 32", "INT8, blocks of 64", "INT4, clipped, blocks of 32",
    "INT4, HQQ, blocks of 32", "INT4, GPTQ, blocks of 128", "INT4, GPTQ, blocks of 32, cache in INT8",
)  # fmt: skip


@dataclass(frozen=True)
class Texts:
    """Windows of token ids int64 (n, 512) that are scored, in the order in which they are: a fixed draw of all there are."""

    name: str
    sha256: str
    windows: np.ndarray
    every: int
    """Windows that the whole text has."""
    variants: tuple[str, ...]
    """Those that are scored on it."""


def main() -> None:
    """Parse, make, score, time, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--wikipedia", type=int, default=96, help="windows of Wikipedia's validation documents, at most")
    parser.add_argument("--wikitext", type=int, default=32, help="windows of Wikitext-2's test text, at most")
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models", help="folder that holds wiki-28m")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data", help="folder of wikipedia and wikitext2")
    asked = parser.parse_args()
    checkpoint = (asked.models / "wiki-28m").resolve()
    show = Show()
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    texts = [of_wikipedia(tokenizer, asked.data, asked.wikipedia), of_wikitext(tokenizer, asked.data, asked.wikitext)]
    folders = make_all(checkpoint, lambda: calibration(tokenizer, asked.data), show)
    found = {}
    for text in texts:
        for name in text.variants:
            with show.stage(f"{name}: {text.name}") as progress:
                found[text.name, name] = scored(folders[name], checkpoint, text, progress)
    times = timed(folders, checkpoint)
    document = {
        "schema_version": 1,
        "command": f"python -m benchmarks.language_quality.trained --wikipedia {asked.wikipedia} --wikitext {asked.wikitext}",
        "machine": {"chip": chip(), "arch": platform.machine()},
        "versions": versions(), "seed": SEED, "context": CONTEXT, "calibration_windows": CALIBRATION,
        "scales": "by what is left",
        "timing": {"threads": 1, "prompt": PROMPT, "tokens": TOKENS, "rounds": ROUNDS, "load": os.getloadavg()[0]},
        "texts": {text.name: {"sha256": text.sha256, "windows": len(text.windows), "of": text.every} for text in texts},
        "results": [result(name, folder, texts, found, times[name]) for name, folder in folders.items()],
    }  # fmt: skip
    write_results(HERE / "trained.json", document)
    write_page(HERE / "README.md")


def of_wikipedia(tokenizer: Tokenizer, data: Path, windows: int) -> Texts:
    """So many windows of the validation documents."""
    path = data / "wikipedia" / "validation.jsonl.xz"
    return _texts("Wikipedia, validation", path, _joined(tokenizer, documents(path)), windows, tuple(VARIANTS))


def of_wikitext(tokenizer: Tokenizer, data: Path, windows: int) -> Texts:
    """So many windows of the test text."""
    path = data / "wikitext2" / "test.txt"
    return _texts("Wikitext-2, test", path, _joined(tokenizer, [path.read_text(encoding="utf-8")]), windows, OF_EACH_KIND)


def calibration(tokenizer: Tokenizer, data: Path) -> list[np.ndarray]:
    """Windows of training text, one a document."""
    found = []
    for text in documents(data / "wikipedia" / "train.jsonl.xz"):
        ids = tokenizer.encode(text).ids
        if len(ids) >= CONTEXT:
            found.append(np.asarray(ids[:CONTEXT], dtype=np.int64))
        if len(found) == CALIBRATION:
            break
    return found


def documents(path: Path) -> Iterator[str]:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield str(json.loads(line)["text"])


def _joined(tokenizer: Tokenizer, documents: Any) -> np.ndarray:
    """Ids of all documents, each ended by token 0, the model's end of text."""
    return np.concatenate([np.asarray([*tokenizer.encode(text).ids, 0], dtype=np.int64) for text in documents])


def _texts(name: str, path: Path, ids: np.ndarray, windows: int, variants: tuple[str, ...]) -> Texts:
    whole = ids[: len(ids) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)
    drawn = whole[np.random.default_rng(SEED).permutation(len(whole))[:windows]]
    return Texts(name, sha256_file(path), drawn, len(whole), variants)


def make_all(
    checkpoint: Path, rows: Callable[[], list[np.ndarray]], show: Show, variants: Mapping[str, WeightOnly | None] | None = None
) -> dict[str, Path]:
    """The folder of each variant's graph, made where it is not there for the same model, settings and calibration. `variants`: None for all."""
    ids: list[np.ndarray] = []
    sums: dict[str, np.ndarray] = {}
    folders = {}
    whole = BUILD / FLOAT
    for name, settings in (VARIANTS if variants is None else variants).items():
        out = folders[name] = BUILD / name.replace(",", "").replace(" ", "-").lower()
        key = {"checkpoint": digest(checkpoint), "settings": settings and settings.model_dump(), "calibration": CALIBRATION}
        if _known(out, key):
            continue
        out.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with show.stage(name) as progress:
            if settings is None:
                export_decoder(checkpoint, out, max_length=CONTEXT, progress=progress)
            else:
                ids = ids or rows()
                if settings.rounding == "gptq" and not sums:
                    sums |= all_sums(whole, ids, out / "scratch")
                ranges = cache_ranges(whole / MODEL, ids) if settings.cache == "int8" else None
                quantize_decoder(
                    whole,
                    out,
                    settings,
                    hessians=sums.__getitem__,
                    cache=ranges,
                    texts=ids,
                    scratch=out / "sensitivity",
                    progress=progress,
                )
                shutil.rmtree(out / "sensitivity", ignore_errors=True)
                stated = json.loads((whole / GENERATION).read_text(encoding="utf-8"))
                cache = {} if settings.cache == "float32" else {"cache": settings.cache}
                (out / GENERATION).write_text(json.dumps(stated | cache), encoding="utf-8")
        (out / "key.json").write_text(json.dumps({**key, "seconds": time.perf_counter() - started}), encoding="utf-8")
    return folders


def all_sums(whole: Path, ids: list[np.ndarray], scratch: Path) -> dict[str, np.ndarray]:
    """Every sum that GPTQ asks for, kept, as several variants ask for the same."""
    import onnx_ir as ir

    from edgekit.onnx_graph.linear import linear_nodes
    from edgekit.quantize.decoder import untie

    graph = ir.load(whole / MODEL).graph
    untie(graph)
    find = hessians_of(whole, ids, scratch)
    names = dict.fromkeys(str(linear.node.inputs[0].name) for linear in linear_nodes(graph))
    return {name: find(name) for name in names}


def _known(folder: Path, key: dict[str, Any]) -> bool:
    try:
        made = json.loads((folder / "key.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all(made.get(name) == value for name, value in json.loads(json.dumps(key)).items())


def opened(folder: Path, checkpoint: Path, threads: int) -> LanguageModel:
    """The language model in a folder."""
    generation = parse_generation(json.loads((folder / GENERATION).read_text(encoding="utf-8")), str(folder / GENERATION))
    return language_model(open_session(folder / MODEL, threads=threads), generation, checkpoint / "tokenizer.json")


def each_window(language: LanguageModel, windows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`forced` of each of `windows` (n, 512), in their order; as many at once as there are cores."""
    with ThreadPoolExecutor(own_cores()) as pool:
        yield from pool.map(language.forced, list(windows))


def scored(folder: Path, checkpoint: Path, text: Texts, progress: Any) -> Path:
    """The folder of a variant's scores of the windows of `text`; those that are there already are kept."""
    out = folder / f"score-{text.name.split(',')[0].lower()}"
    key = {"model": _sum(folder / MODEL, folder / MODEL_DATA), "text": text.sha256, "seed": SEED}
    out.mkdir(exist_ok=True)
    evidence, predicted = np.empty((0, 2)), np.empty(0, dtype=np.int32)
    if _known(out, key):
        evidence, predicted = np.load(out / EVIDENCE), np.load(out / PREDICTED)
    wanted = text.windows[len(evidence) :]
    if not len(wanted):
        return out
    language = opened(folder, checkpoint, 1)
    sums, likeliest = [], []
    for number, (values, tokens) in enumerate(each_window(language, wanted)):
        progress(number, len(wanted), f"window {number} of {len(wanted)}")
        sums.append([float(values.sum()), float(len(values))])
        likeliest.append(tokens.astype(np.int32))
    np.save(out / EVIDENCE, np.concatenate([evidence, np.asarray(sums)]))
    np.save(out / PREDICTED, np.concatenate([predicted, *likeliest]))
    if not (out / CONTINUED).is_file():
        np.save(out / CONTINUED, continued(language, list(text.windows[:16]), progress))
    (out / "key.json").write_text(json.dumps(key), encoding="utf-8")
    return out


def _sum(*files: Path) -> str:
    return hashlib.sha256("".join(sha256_file(file) for file in files).encode()).hexdigest()


def timed(folders: dict[str, Path], checkpoint: Path) -> dict[str, dict[str, list[float]]]:
    """Milliseconds a token after a prompt, and of reading the prompt, of every variant asked in turn, one thread."""
    times: dict[str, dict[str, list[float]]] = {name: {"token_ms": [], "prompt_ms": []} for name in folders}
    ids = np.random.default_rng(SEED).integers(1, 8000, PROMPT)
    languages = {name: opened(folder, checkpoint, 1) for name, folder in folders.items()}
    for number in range(ROUNDS + 1):  # the first one warms up
        for name, language in languages.items():
            cache = language.graph.empty(1, PROMPT + TOKENS)
            start = time.perf_counter()
            language.graph.read(ids, cache)
            read, made = time.perf_counter(), []
            for token in range(TOKENS):
                before = time.perf_counter()
                language.graph.run(np.array([[token + 1]]), cache)
                made.append(time.perf_counter() - before)
            if number:
                times[name]["prompt_ms"].append(1e3 * (read - start))
                times[name]["token_ms"].append(1e3 * float(np.median(made)))
    return times


def result(
    name: str, folder: Path, texts: list[Texts], found: dict[tuple[str, str], Path], times: dict[str, list[float]]
) -> dict[str, Any]:
    """All that is known of a variant."""
    settings = VARIANTS[name]
    on = {}
    for text in texts:
        if (text.name, name) not in found:
            continue
        base, other = found[text.name, FLOAT], found[text.name, name]
        before, after = (np.load(place / EVIDENCE) for place in (base, other))
        ratio = paired_difference(before, after, SEED, mean_probability)["ratio"]
        low, high = ratio["ci95"]
        on[text.name] = {
            "perplexity": 1 / mean_probability(after), "tokens": int(after[:, 1].sum()), "windows": len(after),
            "change": {"value": 1 / ratio["value"] - 1, "ci95": [1 / high - 1, 1 / low - 1]},
            **agreement(base, other, EVIDENCE, SEED),
        }  # fmt: skip
    return {
        "variant": name, "settings": settings and settings.model_dump(),
        "megabytes": sum((folder / file).stat().st_size for file in (MODEL, MODEL_DATA)) / 1e6,
        **{kind: {"median": float(np.median(values)), "all": values} for kind, values in times.items()}, "texts": on,
    }  # fmt: skip


if __name__ == "__main__":
    main()
