"""How each architecture is exported, registered with optimum's TasksManager: inputs, dummy inputs, tolerance."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from optimum.exporters.base import ExporterConfig
from optimum.exporters.tasks import TasksManager
from optimum.utils import (
    DummyAudioInputGenerator,
    DummyTextInputGenerator,
    DummyVisionInputGenerator,
    NormalizedTextConfig,
    NormalizedVisionConfig,
)

from edgekit.errors import BadInput
from edgekit.models.anatomy import ENCODERS
from edgekit.models.image_families import IMAGE_FAMILIES, families_for
from edgekit.models.sound_families import SOUND_FAMILIES, reads_samples
from edgekit.runtime.pixels import PIXEL_VALUES
from edgekit.tasks import encoder_task

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["TASKS", "exporter_config", "supported"]

BACKEND = "edgekit"
TASKS = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForTokenClassification": "token-classification",
    "AutoModelForQuestionAnswering": "question-answering",
    "AutoModel": "feature-extraction",
}
"""Class with the model's head -> optimum's name of the task that it is exported for; several of our tasks may share a head."""
IMAGE_TASKS = {"AutoModelForImageClassification": "image-classification", "AutoModel": "feature-extraction"}
"""The same of encoders that read images."""
SOUND_TASKS = {"AutoModelForAudioClassification": "audio-classification", "AutoModelForCTC": "automatic-speech-recognition"}
"""The same of encoders that read sounds."""


class EncoderConfig(ExporterConfig):  # type: ignore[misc]  # optimum has no types
    """An encoder of token ids; batch and sequence are dynamic axes. The base class is optimum's extension point."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
    DUMMY_INPUT_GENERATOR_CLASSES = (DummyTextInputGenerator,)
    ATOL_FOR_VALIDATION = 1e-4
    """Largest absolute difference of an output from eager PyTorch, as in optimum's own encoder configurations."""

    @property
    def token_types(self) -> bool:
        """Whether the graph takes `token_type_ids`: where a feed holds two texts and the model can tell them apart."""
        return self.task == TASKS["AutoModelForQuestionAnswering"] and (getattr(self._config, "type_vocab_size", None) or 0) > 1

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Input names with their dynamic axes."""
        names = ("input_ids", "attention_mask", *(("token_type_ids",) if self.token_types else ()))
        return {name: {0: "batch", 1: "sequence"} for name in names}


class ImageConfig(ExporterConfig):  # type: ignore[misc]  # optimum has no types
    """An encoder of images of one size; the batch is a dynamic axis."""

    NORMALIZED_CONFIG_CLASS = NormalizedVisionConfig
    DUMMY_INPUT_GENERATOR_CLASSES = (DummyVisionInputGenerator,)
    ATOL_FOR_VALIDATION = 1e-4

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Input names with their dynamic axes."""
        return {PIXEL_VALUES: {0: "batch"}}


class SoundConfig(ExporterConfig):  # type: ignore[misc]  # optimum has no types
    """An encoder of sounds: the batch is a dynamic axis, and so are the samples of one that reads them."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
    DUMMY_INPUT_GENERATOR_CLASSES = (DummyAudioInputGenerator,)
    ATOL_FOR_VALIDATION = 1e-4

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Input names with their dynamic axes."""
        name = SOUND_FAMILIES[self._config.model_type].input_name
        return {name: {0: "batch", 1: "samples"} if reads_samples(self._config.to_dict()) else {0: "batch"}}


register = TasksManager.create_register(BACKEND)
for family in ENCODERS:
    register(family, *TASKS.values())(EncoderConfig)
for auto, named in IMAGE_TASKS.items():
    for family in families_for(auto):
        register(family, named)(ImageConfig)
for family in SOUND_FAMILIES:
    heads = SOUND_TASKS if reads_samples({"model_type": family}) else ["AutoModelForAudioClassification"]
    register(family, *(SOUND_TASKS[auto] for auto in heads))(SoundConfig)


FAMILIES = {"text": (TASKS, [*ENCODERS]), "image": (IMAGE_TASKS, [*IMAGE_FAMILIES]), "sound": (SOUND_TASKS, [*SOUND_FAMILIES])}
"""What a task reads -> optimum's names of such tasks, and the architectures that read it."""


def _named(task: str) -> str:
    """optimum's name of `task`."""
    kind = encoder_task(task)
    return FAMILIES[kind.reads][0][kind.auto]


@cache
def supported(task: str) -> list[str]:
    """Model types that can be exported for the encoders' task `task`."""
    known = TasksManager.get_supported_model_type_for_task(_named(task), BACKEND)
    return sorted({*known} & {*FAMILIES[encoder_task(task).reads][1]})


def exporter_config(config: PreTrainedConfig, task: str) -> EncoderConfig | ImageConfig | SoundConfig:
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
    exporter: EncoderConfig | ImageConfig | SoundConfig = constructors[_named(task)](config)
    return exporter
