"""The model that a recipe names: a folder, an adapter's folder with its base, or a hub id."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgekit.config.recipe import Recipe
from edgekit.models.adapter import Adapter, adapter_faults, digest_of_adapter, read_adapter, tokenizer_folder
from edgekit.models.hub import find_checkpoint, is_hub_id, no_such_folder
from edgekit.tasks import find_task

__all__ = ["Source", "source_faults", "source_of"]


@dataclass(frozen=True)
class Source:
    """Where the uncompressed model comes from; nothing of it where the recipe trains one."""

    model: str | None = None
    """Folder, also of a hub model that is here; else hub id."""
    digest: str | None = None
    """Of its files; of an adapter those of its base as well."""
    adapter: Adapter | None = None
    title: str | None = None
    """What it is called."""
    note: str | None = None
    """What has to be said of it."""

    @property
    def tokenizer(self) -> str | None:
        """The folder or hub id that its tokenizer is in."""
        return self.model if self.adapter is None else str(tokenizer_folder(self.adapter))


def source_of(recipe: Recipe, path: Path) -> Source:
    """The source of the model of `recipe`, read from `path`, which a folder is relative to.

    Raises:
        BadInput: no such folder, files that are no checkpoint, an adapter that cannot be merged into its base.
    """
    if recipe.model.id is None:
        return Source()
    folder, name = Path(os.path.realpath(path.parent / recipe.model.id)), Path(recipe.model.id).name
    if folder.is_dir():
        from edgekit.models.files import digest

        if (adapter := read_adapter(folder, path.parent)) is not None:
            return Source(str(folder), digest_of_adapter(adapter), adapter, f"{name}, merged into {adapter.base_name}")
        return Source(str(folder), digest(folder), title=name)
    if not is_hub_id(recipe.model.id, path.parent):
        raise no_such_folder(
            folder, "check [model] id; a folder is meant relative to the recipe, and ~ is no home folder there"
        )
    digest_, located = f"{recipe.model.id}@{recipe.model.revision}", find_checkpoint(recipe.model.id, recipe.model.revision)
    if located is None:
        return Source(recipe.model.id, digest_, title=name)
    from edgekit.models.files import digest

    here = digest(located.path)  # of the hub's own files for what it sees in them alone: the revision says which they are
    if located.stands_in:
        return Source(str(located.path), here, title=name, note=f"{name}: {located.stands_in}")
    return Source(str(located.path), digest_, title=name)


def source_faults(adapter: Adapter, recipe: Recipe) -> list[str]:
    """What an adapter and its base do not have in common, or not with the task of `recipe`."""
    task = find_task(recipe.task)
    return [
        f"model: {fault}" for fault in adapter_faults(adapter, task.auto, task.name, new_head=recipe.model.finetune is not None)
    ]
