"""All that a report states, read once from a result folder and checked."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.data.texts import ROWS, quality_limit, scored_rows
from edgekit.errors import BadInput
from edgekit.report.fields import Fields, finish, open_document
from edgekit.report.made_from import RECIPE, TARGET, made_from
from edgekit.report.measured import MeasuredVariant, Measurement, Ratio, read_measurement
from edgekit.report.records import Audit, Quality, Requirement, Stage, Variant
from edgekit.runtime.bench.measured import TIMED, is_of_bundle
from edgekit.runtime.bench.words import GRAPH, TEXT, in_engine
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from edgekit.runtime.bundle.quality import Agreement
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.reader import READER_NAMES
from edgekit.store import NOT_MADE

__all__ = ["Facts", "find_folder", "read_facts"]

BASELINES = ("eager-fp32", "ort-fp32", "ort-int8-stock")


SHIPPED = (MODEL, MODEL_DATA, *READER_NAMES)
"""Files of a bundle whose sizes are stated together: the model, and what reads its inputs."""


@dataclass(frozen=True)
class Facts:
    """One result: a recipe for a target."""

    folder: Path
    name: str
    recipe: str
    recipe_file: str
    """As seen from `folder`; of a recipe that ships with edgekit its name."""
    task: str
    target: str
    target_file: str
    """As seen from `folder`; of a target that ships with edgekit its name."""
    target_title: str
    source: str
    """The original model's name."""
    version: str
    """Of the edgekit that packed the bundle."""
    steps: tuple[JsonObject, ...]
    """The recipe's [[compress]] tables."""
    accept: Mapping[str, float]
    """The recipe's budgets that are set."""
    bundle_mb: float
    """Model and tokenizer of the bundle, MB (10^6 bytes)."""
    quality: Quality
    variants: tuple[Variant, ...]
    """Baselines first, then the chain, the bundle last."""
    stages: tuple[Stage, ...]
    chain: tuple[tuple[str, str], ...]
    """(stage key, variant name) along the chain: the model as it is after that stage, lowered like the bundle."""
    audit: Audit
    measurement: Measurement | None
    not_measured: str
    """Why there is no measurement; "" where there is one."""
    tools: Mapping[str, str]
    scored_rows: str = ROWS
    """What the rows are called that quality is of."""
    quality_limit: str = quality_limit(None)
    """What quality does not say."""
    agreement: Agreement | None = None
    """None where no library answers for such a model."""

    @property
    def is_decoder(self) -> bool:
        """Whether the model is a decoder, whose latency is that of a token."""
        return self.task == "text-generation"

    def variant(self, name: str) -> Variant | None:
        """The variant called `name`, if this run has it."""
        return next((variant for variant in self.variants if variant.name == name), None)

    @property
    def from_text(self) -> bool:
        """Whether times are from text to answer: not of a decoder, nor where an earlier edgekit measured."""
        return any(TEXT in variant.timings for variant in self.variants)

    @property
    def time_words(self) -> str:
        """What a time is of."""
        return "a token" if self.is_decoder else "text to answer" if self.from_text else "the graph"

    @property
    def time_column(self) -> str:
        """The same as the title of a narrow column."""
        return "an answer" if self.from_text else self.time_words

    def ratio(self, against: str) -> Ratio | None:
        """How many times faster the bundle is than `against`, from text to answer where that was measured."""
        found = self.measurement.ratios if self.measurement else ()
        scenario = TEXT if self.from_text else GRAPH
        return next(
            (ratio for ratio in found if (ratio.of, ratio.against, ratio.scenario) == ("bundle", against, scenario)), None
        )


def find_folder(path: Path) -> Path:
    """The result folder that `path` is, or whose bundle/ it is."""
    inside = path.name == "bundle" and not (path / "lineage.json").is_file() and (path.parent / "lineage.json").is_file()
    return path.parent if inside else path


def read_facts(folder: Path) -> Facts:
    """Facts of `folder` (`build/<recipe>-<target>/`), from lineage.json, bundle/manifest.json, bundle/audit.json, bench.json.

    Without bench.json, or with one of another bundle, `measurement` is None and `not_measured` says why.

    Raises:
        BadInput: a document other than bench.json is missing, or any is malformed, holds NaN, or is_decoder of another target.
    """
    folder = find_folder(folder)
    paths = [folder / "lineage.json", folder / "bundle" / "manifest.json", folder / "bundle" / "audit.json"]
    lineage, manifest, audit = (open_document(path) for path in paths)
    recipe, target, block = lineage.object("recipe"), lineage.object("target"), manifest.object("edgekit")
    accept = recipe.maybe_object("accept")
    assets = manifest.object("assets")
    quality = block.object("quality")
    facts = Facts(
        folder=folder,
        name=manifest.text("name"),
        recipe=recipe.text("name"),
        recipe_file=made_from(folder, RECIPE) or recipe.text("name"),
        task=block.text("task"),
        target=target.text("name"),
        target_file=made_from(folder, TARGET) or target.text("name"),
        target_title=target.text("title", ""),
        source=block.object("source").text("model"),
        version=block.text("version"),
        steps=tuple(step.value for step in recipe.objects("compress")),
        accept={name: accept.number(name) for name in accept.value if accept.has(name)} if accept else {},
        bundle_mb=_bundle_mb(assets, SHIPPED),
        quality=_quality(quality, quality.number("bundle")),
        scored_rows=scored_rows(recipe.value),
        quality_limit=quality_limit(recipe.value),
        variants=_variants(lineage, assets, folder),
        stages=tuple(_stage(stage) for stage in lineage.objects("stages")),
        chain=_chain(lineage),
        audit=_audit(audit),
        measurement=None,
        not_measured="",
        tools={name: str(version) for name, version in block.object("tools").value.items()},
        agreement=_agreement(block.maybe_object("agreement")),
    )
    bundle = facts.variant("bundle")
    if facts.quality.ratio is None and bundle and bundle.quality:  # a bundle packed before manifests stated it
        facts = replace(facts, quality=replace(facts.quality, ratio=bundle.quality.ratio))
    digests = {name: assets.object(name).text("sha256") for name in TIMED if assets.has(name)}
    for document, path in zip((lineage, manifest, audit), paths, strict=True):
        finish(document, path)
    if audit.value["target"] != facts.target:
        raise BadInput(f"audits target {audit.value['target']}; this result is for {facts.target}", where=str(paths[2]))
    return _with_measurement(facts, digests, lineage)


def _with_measurement(facts: Facts, digests: Mapping[str, str], lineage: Fields) -> Facts:
    """`facts` with what bench.json adds, or with the reason why nothing is added."""
    path = facts.folder / "bench.json"
    if not os.path.lexists(path):
        lacks = lineage.texts("lacks") if lineage.has("lacks") else ()
        if lineage.value.get("timed_here", True):
            return replace(facts, not_measured="no measurement was made yet; run edgekit bench")
        why = "; ".join(lacks) or "it only emulates the target"
        return replace(
            facts,
            not_measured=f"this host is not the target {facts.target}: it lacks {why}"
            if lacks
            else f"this host is not the target: {why}",
        )
    document = open_document(path)
    read = read_measurement(document)
    facts = replace(facts, variants=_also_elsewhere(facts.variants, read.variants))
    known = {variant.name for variant in facts.variants}
    for name in read.variants:
        if name not in known:
            document.faults.append(f"variants: {name!r} is not in lineage.json")
    finish(document, path)
    if read.measurement.target and read.measurement.target != facts.target:
        raise BadInput(f"times target {read.measurement.target}; this result is for {facts.target}", where=str(path))
    if not is_of_bundle(document.value, digests):
        return replace(facts, not_measured="bench.json is of an earlier bundle; run edgekit bench")
    variants = tuple(_timed(variant, read.variants.get(variant.name)) for variant in facts.variants)
    return replace(facts, variants=variants, measurement=read.measurement)


def _also_elsewhere(variants: tuple[Variant, ...], timed: Collection[str]) -> tuple[Variant, ...]:
    """`variants`, with those that were timed in a second engine too: the same files under the name that `in_engine` gives."""
    beyond = [
        replace(variant, name=name) for variant in variants for name in timed if name.startswith(in_engine(variant.name, ""))
    ]
    return tuple(sorted((*variants, *beyond), key=lambda variant: _rank(variant.name)))


def _timed(variant: Variant, measured: MeasuredVariant | None) -> Variant:
    """`variant` with its measurements; sizes that bench.json states replace those of the files."""
    if measured is None:
        return variant
    return replace(
        variant,
        timings=measured.timings,
        phases=measured.phases,
        peak_mb=measured.peak_mb,
        above_baseline_mb=measured.above_baseline_mb,
        file_mb=variant.file_mb if measured.file_mb is None else measured.file_mb,
        total_mb=variant.total_mb if measured.total_mb is None else measured.total_mb,
    )


def _quality(node: Fields, value: float) -> Quality:
    low, high = node.pair("ci95")
    stated = node.maybe_object("ratio")
    ratio = None if stated is None else (stated.number("value", above=0), *stated.pair("ci95", above=0))
    beside = node.maybe_object("beside")
    more = {} if beside is None else {name: beside.object(name).number("value") for name in beside.value}
    return Quality(node.text("metric"), value, node.count("n"), node.number("difference"), low, high, ratio, more)


def _agreement(node: Fields | None) -> Agreement | None:
    if node is None:
        return None
    return Agreement(node.text("reference"), node.count("inputs"), node.count("refused"), node.number("largest", above=-1e-9))


def _variants(lineage: Fields, assets: Fields, folder: Path) -> tuple[Variant, ...]:
    found = []
    for name, node in lineage.members("variants").items():
        quality = node.maybe_object("quality")
        file_mb, total_mb = _sizes(folder / node.text("folder"), node.text("file", MODEL))
        if name == "bundle":
            file_mb, total_mb = (
                _bundle_mb(assets, (MODEL, MODEL_DATA)),
                _bundle_mb(assets, SHIPPED),
            )
        found.append(
            Variant(
                name,
                node.text("title", name),
                None if quality is None else _quality(quality, quality.number("value")),
                file_mb,
                total_mb,
                not_made=node.text(NOT_MADE, ""),
            )
        )
    if "bundle" not in {variant.name for variant in found}:
        lineage.wrong("variants", "the bundle is missing")
    return tuple(sorted(found, key=lambda variant: _rank(variant.name)))


def _bundle_mb(assets: Fields, names: tuple[str, ...]) -> float:
    return sum(assets.object(name).count("size") for name in names if name == MODEL or assets.has(name)) / 1e6


def _rank(name: str) -> tuple[int, int, str]:
    """Baselines in their order, then `after-<n>-<method>` by number, then anything else, the bundle last."""
    if name in BASELINES:
        return (0, BASELINES.index(name), name)
    number = name.split("-")[1] if name.startswith("after-") else ""
    if number.isdigit():
        return (1, int(number), name)
    return (3 if name == "bundle" else 2, 0, name)


def _sizes(folder: Path, file: str) -> tuple[float | None, float | None]:
    """MB of the model, and of model and tokenizer, where the files are still there."""
    try:
        model = (folder / file).stat().st_size
        readers = sum((folder / name).stat().st_size for name in READER_NAMES if (folder / name).is_file())
        beside = folder / f"{file}.data"
        model += beside.stat().st_size if beside.exists() else 0
    except OSError:
        return None, None
    return model / 1e6, (model + readers) / 1e6


def _stage(node: Fields) -> Stage:
    metrics = node.object("metrics")
    parameters, size = (metrics.count(name) if metrics.has(name) else None for name in ("parameters", "bytes"))
    seconds = node.number("seconds", above=-1e-9)
    return Stage(
        node.text("stage"),
        node.text("title", node.text("stage")),
        node.text("key"),
        seconds,
        node.flag("hit"),
        parameters,
        size,
        metrics.maybe_number("times_differ", above=-1e-9),
        metrics.texts("doubts") if metrics.has("doubts") else (),
    )


def _chain(lineage: Fields) -> tuple[tuple[str, str], ...]:
    keys = lineage.texts("chain")
    after = {name.split("-")[1]: name for name in lineage.object("variants").value if name.startswith("after-")}
    names = [after.get(str(number), "") for number in range(len(keys))]
    if names and (len(names) > 1 or not names[-1]):  # without steps it is the quantized original
        names[-1] = "bundle"
    return tuple(zip(keys, names, strict=True))


def _audit(node: Fields) -> Audit:
    nodes, fused = node.object("nodes"), node.object("fused")
    node.text("target")
    return Audit(
        arch=node.object("observed_on").text("arch"),
        observed=node.flag("kernels_observed"),
        constant=node.count("matmuls_constant"),
        integer=node.count("matmuls_integer"),
        weight_only=node.count("matmuls_weight_only"),
        kept_float=node.texts("kept_float"),
        activation=node.count("matmuls_activation"),
        fallbacks=tuple((item.text("node"), item.text("why")) for item in node.objects("fallbacks")),
        stray_qdq=node.count("stray_qdq"),
        casts=node.count("casts"),
        fused={name: fused.count(name) for name in fused.value},
        nodes=(nodes.count("file"), nodes.count("optimised")),
        requirements=tuple(
            Requirement(item.text("name"), item.flag("holds"), str(item.value.get("found", "")))
            for item in node.objects("requirements")
        ),
        ok=node.flag("ok"),
        notes=node.texts("notes"),
        counted=str(node.value.get("counted", "run in integer kernels")),
        stand_in=str(node.value.get("stand_in", "")),
    )
