"""The table of README.md: quality as the mean of three trainings, and text in, answer out, of one bundle.

Times come from text_to_answer/results.json where the recipe's bundle is there, from `edgekit bench` elsewhere; quality from results/seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, mode
from typing import Any

from benchmarks.pages import perplexity_change, row, shortened
from edgekit.report.format import plural
from edgekit.runtime.bench.words import GRAPH, TEXT

__all__ = ["lead", "name_of", "of_trainings", "rise", "shown_quality", "summary", "timed"]

HEAD = [
    (
        "| bundle for `{target}` | quality, original → bundle, mean of three trainings (lowest to highest) | text in, answer out "
        "| of it the graph | faster than `transformers.pipeline` | than the libraries' own INT8 | model + tokenizer |"
    ),
    "|---|---|---:|---:|---:|---:|---:|",
]


def lead(bench: Mapping[str, Any]) -> str:
    """The scenario that tables lead with: from text to answer; the graph alone of a language model, and of what was measured before."""
    return TEXT if any(item["name"] == TEXT for variant in bench["variants"] for item in variant["scenarios"]) else GRAPH


def timed(variant: Mapping[str, Any], scenario: str) -> dict[str, Any]:
    """What was measured of a variant in a scenario."""
    found: dict[str, Any] = next(item for item in variant["scenarios"] if item["name"] == scenario)
    return found


def rise(quality: Mapping[str, Any]) -> str:
    """The interval of a perplexity's relative rise."""
    _, low, high = perplexity_change(quality["ratio"])
    return f"{100 * low:+.2f} to {100 * high:+.2f}%"


def summary(
    documents: Sequence[Mapping[str, Any]], seeds: Mapping[str, Mapping[str, Any]], beside: Mapping[str, Any]
) -> list[str]:
    """One line a result, and how they were measured.

    `seeds`: recipe -> its three trainings (results/seeds); `beside`: text_to_answer/results.json.
    """
    cells = {cell["bundle"]: cell for cell in beside["cells"]}
    lines = []
    for target in sorted({document["bench"]["target"]["requested"] for document in documents}):
        lines += [line.format(target=target) for line in HEAD]
        for document in documents:
            bench = document["bench"]
            if bench["target"]["requested"] == target:
                lines.append(_line(document, seeds.get(bench["recipe"]), cells.get(f"{bench['recipe']}-{target}")))
        lines.append("")
    chips = sorted({*(document["bench"]["target"]["detected"]["cpu"] for document in documents), beside["machine"]["chip"]})
    shaky = sum(not document["bench"]["validity"]["stable"] for document in documents)
    return [
        *lines,
        (
            f"Texts are test rows, one at a time, on {_threads(documents)} of {', '.join(chips)}; medians with 95% intervals, all variants "
            "interleaved in one run. The pipeline is the original in PyTorch; the libraries' INT8 is optimum's or sentence-transformers' own. "
            f"{_others(documents, cells)}Others use the machine: in {shaky} of {len(documents)} runs of `edgekit bench` two processes of one "
            "variant differed by more than 10%; the intervals say how much that can matter. Commands, JSON, ONNX Runtime's fp32, and which "
            "bundle each figure is of: [text to answer](benchmarks/text_to_answer/README.md), "
            "[every variant and every training](benchmarks/README.md)."
        ),
        "",
    ]


def _line(document: Mapping[str, Any], seeds: Mapping[str, Any] | None, cell: Mapping[str, Any] | None) -> str:
    bench = document["bench"]
    variants = {variant["name"]: variant for variant in bench["variants"]}
    bundle, scenario = variants["bundle"], lead(bench)
    ratios = {item["against"]: item for item in bench["ratios"] if item["scenario"] == scenario}
    speaks = "language" in bench
    alone = scenario == GRAPH and not speaks
    if cell:
        answer, graph = (f"{cell['median_ms'][name]:.3f} ms" for name in ("edgekit", "graph"))
        against = [_faster(cell["faster_than"][name]) for name in ("pipeline", "int8")]
    else:
        answer, graph = (
            "" if alone else f"{timed(bundle, scenario)['p50_ms']:.3f} ms",
            f"{timed(bundle, GRAPH)['p50_ms']:.3f} ms",
        )
        eager = _faster(ratios.get("eager-fp32"))
        against = [eager and f"PyTorch eager: {eager}", _faster(ratios.get("ort-int8-stock"))]
    cells = [
        f"`{bench['recipe']}`",
        _quality(document, seeds),
        f"{answer} a token" if speaks else answer,
        "" if speaks else graph,
        *against,
        f"{variants['ort-fp32']['total_mb']:.1f} → {bundle['total_mb']:.1f} MB",
    ]
    return row(cells)


def _quality(document: Mapping[str, Any], seeds: Mapping[str, Any] | None) -> str:
    """The mean of three trainings; of a recipe that was trained once, that training with the interval of its change."""
    quality = document["quality"]
    if seeds is not None:
        original, bundle = (of_trainings(seeds, kind) for kind in ("original", "quality"))
        return f"{name_of(seeds['metric'])} {original[0]} → {bundle[0]} ({bundle[1]} to {bundle[2]})"
    metric, value = quality["metric"], quality["bundle"]
    change = (
        rise(quality) if metric == "1/perplexity" else "{:+.2f} to {:+.2f}".format(*(100 * bound for bound in quality["ci95"]))
    )
    before, after = (shown_quality(metric, one) for one in (value - quality["difference"], value))
    return f"{name_of(metric)} {before} → {after}, one training (95% interval of the change {change})"


def of_trainings(seeds: Mapping[str, Any], kind: str) -> tuple[str, str, str]:
    """(mean, lowest, highest) of the `kind` ("quality", "original") of every training, as tables show them."""
    values = [1 / one[kind] if seeds["metric"] == "1/perplexity" else 100 * one[kind] for one in seeds["trainings"]]
    mean, least, most = (f"{value:.2f}" for value in (fmean(values), min(values), max(values)))
    return mean, least, most


def name_of(metric: str) -> str:
    """A metric as tables show it."""
    return "perplexity" if metric == "1/perplexity" else metric.partition(" by ")[0]


def shown_quality(metric: str, value: float) -> str:
    """A metric's value as tables show it: points, or a perplexity."""
    return f"{1 / value:.2f}" if metric == "1/perplexity" else f"{100 * value:.2f}"


def _others(documents: Sequence[Mapping[str, Any]], cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Whose times are of a bundle that was trained for less than its recipe says."""
    shown = [cells.get(f"{document['bench']['recipe']}-{document['bench']['target']['requested']}") for document in documents]
    names = [f"`{cell['of']['recipe']}`" for cell in shown if cell and shortened(cell["of"]["recipe"], cell["of"]["epochs"])]
    return f"Of {', '.join(names)} what was timed has the recipe's shape, but was trained for fewer epochs. " if names else ""


def _threads(documents: Sequence[Mapping[str, Any]]) -> str:
    """How many threads each was timed with: the usual number, and which results have another."""
    counts = {document["bench"]["recipe"]: int(document["bench"]["protocol"]["threads"]) for document in documents}
    usual = mode(counts.values())
    others = [f"{name}: {count}" for name, count in sorted(counts.items()) if count != usual]
    return plural(usual, "thread") + (f" ({', '.join(others)})" if others else "")


def _faster(ratio: Mapping[str, Any] | None) -> str:
    return f"**{ratio['speedup']:.1f}x** ({ratio['ci95'][0]:.1f} to {ratio['ci95'][1]:.1f})" if ratio else ""
