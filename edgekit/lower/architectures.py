"""What the exporter knows of each architecture, registered with optimum's TasksManager: inputs, dummy inputs, tolerance."""

from __future__ import annotations

from functools import cache
from typing import Any

from optimum.exporters.base import ExporterConfig
from optimum.exporters.tasks import TasksManager
from optimum.utils import DummyTextInputGenerator, NormalizedTextConfig

from edgekit.errors import BadInput

__all__ = ["exporter_config", "supported"]

BACKEND = "edgekit"
register = TasksManager.create_register(BACKEND)


@register("bert", "text-classification", "token-classification", "question-answering", "feature-extraction")
class EncoderConfig(ExporterConfig):  # type: ignore[misc]  # optimum has no types
    """An encoder with two inputs; batch and sequence are dynamic axes. The base class is optimum's extension point."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
    DUMMY_INPUT_GENERATOR_CLASSES = (DummyTextInputGenerator,)
    ATOL_FOR_VALIDATION = 1e-4
    """Largest absolute difference of an output from eager PyTorch, as in optimum's own encoder configurations."""

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Input names with their dynamic axes."""
        return {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}


@cache
def supported(task: str) -> list[str]:
    """Model types that can be exported for `task`."""
    return sorted(TasksManager.get_supported_model_type_for_task(task, BACKEND))


def exporter_config(config: Any, task: str) -> Any:
    """optimum's exporter configuration for a transformers model configuration.

    Raises:
        BadInput: the architecture is not supported for the task.
    """
    if config.model_type not in supported(task):
        raise BadInput(
            f"architecture {config.model_type!r} cannot be exported for {task}",
            where="export",
            fix=f"use one of: {', '.join(supported(task))}",
        )
    constructors = TasksManager.get_supported_tasks_for_model_type(config.model_type, BACKEND, library_name="transformers")
    return constructors[task](config)
