"""A recipe as results and bundles hold it: without the folders of the machine that it ran on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from edgekit.compress.registry import find_method
from edgekit.config.recipe import Data, Recipe, RowSource
from edgekit.data.splits import contents_digest
from edgekit.plan.facts import digest_of

__all__ = ["published"]


def published(recipe: Recipe, model_digest: str | None, locations: Mapping[str, str]) -> Recipe:
    """`recipe`, whose absolute paths each stand as the last name in them with the sha256 of what lies there; all else is as written.

    `model_digest`: of the model that it names; `locations`: the folder of each checkpoint that a step names, by what is written.
    """

    def checkpoint(written: str) -> str:
        return _named(written, digest_of(locations[written])) if _absolute(written) else written

    model, steps = recipe.model, []
    if model.id is not None and _absolute(model.id):
        model = model.model_copy(update={"id": _named(model.id, str(model_digest))})
    for settings in recipe.compress:
        named = find_method(settings.method).named_checkpoints(settings)
        update = {
            setting: checkpoint(written[0])
            if isinstance(getattr(settings, setting), str)
            else [checkpoint(one) for one in written]
            for setting, written in named.items()
            if any(map(_absolute, written))
        }
        steps.append(settings.model_copy(update=update) if update else settings)
    draft = recipe.draft
    if draft is not None:
        draft = draft.model_copy(update={"id": checkpoint(draft.id)})
    return recipe.model_copy(update={"draft": draft, "model": model, "data": _of_data(recipe.data), "compress": steps})


def _of_data(data: Data) -> Data:
    sources = {name: getattr(data, name) for name in ("file", "train", "validation", "test")}
    changes: dict[str, object] = {name: _of_rows(one) for name, one in sources.items() if one is not None}
    if data.unlabelled is not None:
        changes["unlabelled"] = [_of_rows(one) for one in data.unlabelled]
    return data.model_copy(update=changes)


def _of_rows(source: RowSource) -> RowSource:
    if source.path is None or not _absolute(source.path):
        return source
    return source.model_copy(update={"path": _named(source.path, contents_digest(source.path))})


def _absolute(written: str) -> bool:
    return PurePath(written).is_absolute()


def _named(path: str, digest: str) -> str:
    return f"{PurePath(path).name}@sha256:{digest}"
