"""What a recipe asks for that cannot work, seen from its text and the model's configuration before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekit.recipe import Recipe
from edgekit.target import Target
from edgekit.tasks import find_task

__all__ = ["faults_of"]


def faults_of(recipe: Recipe, targets: list[Target], model: str | None) -> list[str]:
    """Every such fault, in words. `model`: the folder or hub id of the source model, None where the recipe trains one."""
    found = [f"{target.name}: {fault}" for target in targets if recipe.quantize for fault in target.unsound(recipe.quantize)]
    config = _config(recipe, model)
    found += _model_faults(recipe, config) + _order_faults(recipe) + _depth_faults(recipe, _depth(config))
    return found + _training_faults(recipe, targets)


def _model_faults(recipe: Recipe, config: dict[str, Any]) -> list[str]:
    """Training that the task's rows cannot give, and inputs that the model has no positions for."""
    faults = []
    tables = [table for table in ("new", "finetune") if getattr(recipe.model, table) is not None]
    if tables and not find_task(recipe.task).supervised:
        faults.append(f"model, {tables[0]}: rows of {recipe.task} do not say what to learn; name a trained model with `id`")
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and config.get("model_type") in ("roberta", "xlm-roberta", "mpnet"):
        positions -= 2  # they count from beyond their padding id
    if isinstance(positions, int) and recipe.model.max_length > positions:
        faults.append(f"model, max_length: {recipe.model.max_length} tokens, but the model has positions for {positions}")
    return faults


def _order_faults(recipe: Recipe) -> list[str]:
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
            if settings.unlabelled and task.pairs:
                faults.append(f"{where}: a text alone is no input of {recipe.task}, so unlabelled rows are of no use")
        vocabulary_cut = vocabulary_cut or settings.method == "prune-vocabulary"
    return faults


def _depth_faults(recipe: Recipe, depth: int | None) -> list[str]:
    """Layers that are not there; nothing where the depth is not known yet (a hub model)."""
    if depth is None:
        return []
    faults, current = [], depth
    for number, settings in enumerate(recipe.compress, 1):
        where = f"compress {number}, {settings.method}"
        if settings.method == "distill":
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
            if settings.relation_layer is not None and not 0 <= settings.relation_layer < depth:
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
    if recipe.model.new is not None:
        return {"num_hidden_layers": recipe.model.new.layers}
    try:
        found = json.loads((Path(str(model)) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # the stage that loads the model says what is wrong with it
    return found if isinstance(found, dict) else {}


def _depth(config: dict[str, Any]) -> int | None:
    layers = config.get("num_hidden_layers") or config.get("n_layers")
    return layers if isinstance(layers, int) else None
