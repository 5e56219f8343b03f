"""What a recipe asks for that cannot work, seen from its text and the model's configuration before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from edgekit.config.recipe import Recipe
from edgekit.config.target import Target
from edgekit.host import Host
from edgekit.models.positions import positions_of
from edgekit.plan.decoder_steps import decoder_step_faults, serves_faults
from edgekit.plan.inside import inside_faults
from edgekit.plan.outside import config_of, outside_faults
from edgekit.plan.sizes import size_faults
from edgekit.runtime.providers.names import CPU, CUDA
from edgekit.tasks import find_task

__all__ = ["faults_of"]

LEARNED_POSITIONS = {"gpt2", "opt"}
"""Decoders that add a table's row to each token."""


def faults_of(
    recipe: Recipe,
    targets: list[Target],
    model: str | None,
    *,
    pairs: bool = False,
    alone: bool = False,
    places: Mapping[str, str] = MappingProxyType({}),
    host: Host | None = None,
) -> list[str]:
    """Every such fault, in words.

    `model`: the folder or hub id of the source model, None where the recipe trains one. `pairs`: rows have a second text.
    `alone`: they are texts alone, held against the original's embeddings. `places`: folder or hub id of each checkpoint that
    steps name. `host`: the machine that the plan is for, where one is known.
    """
    found = [f"{target.name}: {fault}" for target in targets if recipe.quantize for fault in target.unsound(recipe.quantize)]
    config = _config(recipe, model)
    if find_task(recipe.task).kind == "decoder":
        return found + _decoder_faults(recipe, targets, config)
    if recipe.quantize and recipe.quantize.cache != "float32":
        found.append(f'quantize, cache = "{recipe.quantize.cache}": only a language model has a cache; leave it out')
    found += (
        serves_faults(recipe, "encoders")
        + _data_faults(recipe)
        + _model_faults(recipe, config)
        + _order_faults(recipe, pairs)
        + _depth_faults(recipe, _depth(config), places)
        + size_faults(recipe, config, places, alone=alone)
        + outside_faults(recipe, model, places)
        + inside_faults(recipe, model, config, places)
    )
    return found + _training_faults(recipe, targets) + (_host_faults(recipe, targets, host) if host else [])


def _decoder_faults(recipe: Recipe, targets: list[Target], config: dict[str, Any]) -> list[str]:
    """What language models cannot be asked for."""
    from edgekit.models.decoders import decoder_types

    faults = decoder_step_faults(recipe, config)
    if config.get("model_type") and config["model_type"] not in decoder_types():
        known = ", ".join(decoder_types())
        faults.append(f"model: no decoder of architecture {config['model_type']!r} is known here; use one of {known}")
    if recipe.model.finetune is not None:
        faults.append("model, finetune: puts a new head on an encoder; a language model has its head")
    if recipe.quantize and not recipe.quantize.weight_only and recipe.quantize.format != "float16":
        faults.append(
            f'quantize, format = "{recipe.quantize.format}": a language model takes "int8-weights", "int4-weights" or, on a GPU, "float16"'
        )
    faults += [
        f"{target.name}: language models are lowered for the CPU and the CUDA provider; their attention is no operator of {target.provider}"
        for target in targets
        if target.provider not in (CPU, CUDA)
    ]
    faults += [
        f"{target.name}: {config['model_type']} looks its positions up by numbers that ONNX Runtime keeps on the CPU; export it for a CPU"
        for target in targets
        if target.provider == CUDA and config.get("model_type") in LEARNED_POSITIONS
    ]
    return faults


def _host_faults(recipe: Recipe, targets: list[Target], host: Host) -> list[str]:
    """Number formats that this machine could write and neither audit nor score."""
    return [
        f"{target.name}: bf16 has kernels on the {target.provider} alone, and this machine, which has to audit and score the "
        "result, is without it; export it where the provider is, or use float16"
        for target in targets
        if (recipe.quantize or target.quantize).format == "bf16"
        and target.provider != CPU
        and target.provider not in host.providers
    ]


def _data_faults(recipe: Recipe) -> list[str]:
    """Names under [data.columns] that no row of this task is read by."""
    task = find_task(recipe.task)
    known = {*task.columns, *task.optional, *(["text"] if task.alone or recipe.data.unlabelled else [])}
    return [
        f"data, columns: {name!r} is no column of {recipe.task}, whose rows have {', '.join(sorted(known))}"
        for name in sorted(set(recipe.data.columns) - known)
    ]


def _model_faults(recipe: Recipe, config: dict[str, Any]) -> list[str]:
    """Training that the task's rows cannot give, and inputs that the model has no positions for."""
    faults = []
    tables = [table for table in ("new", "finetune") if getattr(recipe.model, table) is not None]
    if tables and not find_task(recipe.task).supervised:
        faults.append(f"model, {tables[0]}: rows of {recipe.task} do not say what to learn; name a trained model with `id`")
    positions = positions_of(config)
    if positions is not None and recipe.model.max_length > positions:
        faults.append(f"model, max_length: {recipe.model.max_length} tokens, but the model has positions for {positions}")
    return faults


def _order_faults(recipe: Recipe, pairs: bool) -> list[str]:
    """Compression steps that cannot follow one another, or that this task has no use for."""
    faults, vocabulary_cut = [], False
    task = find_task(recipe.task)
    for number, settings in enumerate(recipe.compress, 1):
        where = f"compress {number}, {settings.method}"
        if settings.method == "distill":
            deep = (settings.hidden != "none" and settings.hidden_weight > 0) or settings.relations != "none"
            if vocabulary_cut and (deep or task.per_token):
                faults.append(
                    f"{where}: distil cannot compare tokens once prune-vocabulary has changed them; put prune-vocabulary last"
                    + ("" if task.per_token else ', or set hidden = "none" and relations = "none"')
                )
            if settings.unlabelled and recipe.data.unlabelled is None:
                faults.append(f"{where}: unlabelled = {settings.unlabelled}, but [data] names no `unlabelled` rows")
            if settings.unlabelled and (task.pairs or pairs):
                what = "rows of pairs" if pairs else recipe.task
                faults.append(f"{where}: a text alone is no input of {what}, so unlabelled rows are of no use")
        vocabulary_cut = vocabulary_cut or settings.method == "prune-vocabulary"
    return faults


def _depth_faults(recipe: Recipe, depth: int | None, places: Mapping[str, str]) -> list[str]:
    """Layers that are not there; nothing where the depth is not known yet (a hub model)."""
    if depth is None:
        return []
    faults: list[str] = []
    current = depth
    for number, settings in enumerate(recipe.compress, 1):
        where = f"compress {number}, {settings.method}"
        if settings.method == "distill":
            if settings.student is not None:
                own = _depth(config_of(places.get(settings.student, settings.student)))
                if own is None:
                    return faults
                current = own
            take = settings.take or []
            wrong = [layer for layer in take if not 0 <= layer < current]
            if wrong:
                faults.append(f"{where}: take = {take} names layers {wrong} of a model of {current}")
            asked = len(take) if settings.take is not None else settings.layers or current
            if asked > current:
                faults.append(f"{where}: a student of {asked} layers cannot start from a model of {current}")
            current = min(asked, current)
            if settings.hidden in ("skip", "last") and current < 2:
                faults.append(f'{where}: hidden = "{settings.hidden}" leaves out the last layer, and the student has one')
            taught = settings.teacher != "none"  # else the first of `teachers` has a depth of its own
            if taught and settings.relation_layer is not None and not 0 <= settings.relation_layer < depth:
                faults.append(f"{where}: relation_layer = {settings.relation_layer} is no layer of a teacher of {depth}")
        elif getattr(settings, "layers", None) is not None:
            if settings.layers >= current:
                faults.append(f"{where}: layers = {settings.layers} removes nothing from a model of {current}")
            current = min(settings.layers, current)
    return faults


def _training_faults(recipe: Recipe, targets: list[Target]) -> list[str]:
    """Ranges that training learns and that nothing would use."""
    places = [number for number, settings in enumerate(recipe.compress, 1) if settings.method == "quantize-aware"]
    if not places:
        return []
    faults = []
    if places != [len(recipe.compress)]:
        faults.append(f"compress {places[0]}, quantize-aware: later steps would change what its ranges fit; put it last, once")
    for target in targets:
        quantize = recipe.quantize or target.quantize
        if quantize.format != "int8" or quantize.mode != "static":
            faults.append(
                f"compress {places[0]}, quantize-aware: {target.name} quantizes {quantize.mode} {quantize.format}, which uses no learned "
                'ranges; write a [quantize] table with mode = "static"'
            )
    return faults


def _config(recipe: Recipe, model: str | None) -> dict[str, Any]:
    """What is known of the original's configuration: the recipe's own, or that of a local folder; else nothing."""
    new = recipe.model.new
    if new is None:
        return config_of(model)
    return {
        "num_hidden_layers": new.layers, "hidden_size": new.width, "num_attention_heads": new.heads, "intermediate_size": new.neurons,
    }  # fmt: skip


def _depth(config: dict[str, Any]) -> int | None:
    layers = config.get("num_hidden_layers") or config.get("n_layers")
    return layers if isinstance(layers, int) else None
