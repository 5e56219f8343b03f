"""Encoders of sounds that are served: what they read, what their tensors are called, and how long a sound has to be.

AST and Whisper read features of one length. Wav2Vec2, HuBERT and WavLM read the samples themselves, as many as there are: convolutions make
a frame of every 320, as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.runtime.sound import AST, INPUT_FEATURES, INPUT_VALUES, KALDI_FRAME, WAV2VEC2, WHISPER

__all__ = [
    "SOUND_FAMILIES",
    "SoundFamily",
    "fewest_samples",
    "frames_of",
    "frames_read",
    "is_of_sounds",
    "reads_samples",
    "sound_faults",
    "unserved_sounds",
]


@dataclass(frozen=True)
class SoundFamily:
    """One family, by the names that transformers gives its tensors."""

    extractor: str
    """transformers' class that reads its sounds."""
    parts: tuple[str, ...]
    """Tensors that every model of it has beside its layers."""
    sizes: tuple[tuple[str, str, int], ...] = ()
    """(key of the configuration, end of the name of a tensor, axis of it that is as long)."""

    @property
    def input_name(self) -> str:
        """Name of what the model reads."""
        return INPUT_FEATURES if self.extractor == WHISPER else INPUT_VALUES


_SAMPLES = SoundFamily(
    WAV2VEC2,
    ("feature_extractor.conv_layers.0.conv.weight", "feature_projection.projection.weight",
     "encoder.pos_conv_embed.conv.bias", "encoder.layer_norm.weight"),
    (
        ("hidden_size", "feature_projection.projection.weight", 0),
        ("num_conv_pos_embeddings", "pos_conv_embed.conv.parametrizations.weight.original1", 2),
    ),
)  # fmt: skip
SOUND_FAMILIES: Mapping[str, SoundFamily] = {
    "audio-spectrogram-transformer": SoundFamily(AST, ("patch_embeddings.projection.weight", "cls_token", "position_embeddings")),
    "hubert": _SAMPLES,
    "wav2vec2": _SAMPLES,
    "wavlm": _SAMPLES,
    "whisper": SoundFamily(
        WHISPER,
        ("encoder.conv1.weight", "encoder.conv2.weight", "encoder.embed_positions.weight", "encoder.layer_norm.weight"),
        (
            ("d_model", "encoder.conv1.weight", 0),
            ("num_mel_bins", "encoder.conv1.weight", 1),
            ("max_source_positions", "encoder.embed_positions.weight", 0),
        ),
    ),
}  # fmt: skip
"""`model_type` -> the family; of Whisper its encoder."""
EXTRA_TOKENS = 2
"""Tokens of an AST beside its patches."""
CONVOLUTION = "feature_extractor.conv_layers.{}.conv.weight"
"""(channels, channels before, kernel)."""
LONGEST_FRAME = 1000
"""Samples that one frame is made of; of the published models 400."""
HEADS = ("ForSequenceClassification", "ForAudioClassification", "ForCTC", "ForPreTraining", "Model")
"""Ends of names of transformers' classes that are served; the last two have no head, which is trained on the rows."""
UNSERVED: Mapping[str, tuple[object, str]] = {
    "add_adapter": (False, "convolutions after the last layer, which no graph here has; use a model without an adapter"),
    "adapter_attn_dim": (None, "adapters of a language in every layer, as of MMS, which are not loaded here; use a model without them"),
    "conv_pos_batch_norm": (False, "a batch normalisation before the convolution of positions, which is not served; use a model without it"),
}  # fmt: skip
"""Key of a configuration -> (its value where nothing is amiss, what any other means)."""


def is_of_sounds(config: Mapping[str, object]) -> bool:
    """Whether a model of this configuration reads sounds."""
    return str(config.get("model_type")) in SOUND_FAMILIES


def reads_samples(config: Mapping[str, object]) -> bool:
    """Whether a model of this configuration reads samples, of sounds of any length."""
    family = SOUND_FAMILIES.get(str(config.get("model_type")))
    return family is not None and family.extractor == WAV2VEC2


def frames_read(config: Mapping[str, Any]) -> int:
    """Positions of one sound in a model with a sound configuration: of AST the patches of its features and the tokens beside them; 0 where
    that depends on the sound."""
    if reads_samples(config):
        return 0
    if config["model_type"] == "whisper":
        return int(config.get("max_source_positions", 1500))
    patch = config["patch_size"]
    high, wide = (
        (config[size] - patch) // config[stride] + 1
        for size, stride in (("num_mel_bins", "frequency_stride"), ("max_length", "time_stride"))
    )
    return int(high * wide) + EXTRA_TOKENS


def frames_of(config: Mapping[str, Any], samples: int) -> int:
    """Frames that the convolutions of a model that reads samples make of so many; 0 or less where there are too few for one."""
    for kernel, stride in _convolutions(config):
        samples = (samples - kernel) // stride + 1
    return samples


def fewest_samples(config: Mapping[str, Any], frames: int = 1) -> int:
    """Samples that a sound needs so that a model with a sound configuration answers: of one that reads samples, so many `frames` of them."""
    if not reads_samples(config):
        return KALDI_FRAME if config.get("model_type") != "whisper" else 1
    fewest = frames
    for kernel, stride in reversed(_convolutions(config)):
        fewest = (fewest - 1) * stride + kernel
    return fewest


def _convolutions(config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(kernel, stride) of each convolution over samples, as transformers' class has them where a configuration leaves them out."""
    kernels, strides = config.get("conv_kernel", (10, 3, 3, 3, 3, 2, 2)), config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2))
    return list(zip(kernels, strides, strict=True))


def unserved_sounds(config: Mapping[str, Any]) -> list[str]:
    """What a model of sounds has that no graph here computes, with what to use; and sizes of convolutions that no model has."""
    if not is_of_sounds(config):
        return []
    faults = [f"{key}: {what}" for key, (value, what) in UNSERVED.items() if config.get(key, value) not in (value, None)]
    built = config.get("architectures")
    named = [str(name) for name in built] if isinstance(built, list) else []
    if named and not any(name.endswith(HEADS) for name in named):
        faults.append(
            f"architectures: {named[0]}, and of models of sounds heads of classes are served; use a model with {', '.join(HEADS[:3])}"
        )
    if reads_samples(config):
        lists = [config.get(key) for key in ("conv_dim", "conv_kernel", "conv_stride")]
        given = [one for one in lists if one is not None]
        count = config.get("num_feat_extract_layers")
        if any(
            not isinstance(one, list) or not one or not all(type(size) is int and size > 0 for size in one) for one in given
        ):
            faults.append("conv_dim, conv_kernel, conv_stride: not lists of whole numbers from 1 on")
        elif len({len(one) for one in given} | ({count} if type(count) is int else set())) > 1 or len(given) in (1, 2):
            faults.append("conv_dim, conv_kernel, conv_stride: not one number for each of num_feat_extract_layers convolutions")
        elif (fewest := fewest_samples(config)) > LONGEST_FRAME:
            faults.append(
                f"conv_kernel, conv_stride: a frame is of {fewest:,} samples, more than {LONGEST_FRAME:,}; use another model"
            )
    return faults


def sound_faults(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Sizes of an encoder of sounds that the tensors of these shapes do not have."""
    family = SOUND_FAMILIES.get(str(config.get("model_type")))
    if family is None:
        return []
    sizes = [(key, config.get(key), end, axis) for key, end, axis in family.sizes]
    if reads_samples(config):
        for key, axis in (("conv_dim", 0), ("conv_kernel", 2)):
            sizes += [(key, size, CONVOLUTION.format(number), axis) for number, size in enumerate(config.get(key) or ())]
    faults = []
    for key, declared, end, axis in sizes:
        shape = next((shape for name, shape in shapes.items() if name.endswith(end)), None)
        if type(declared) is int and (shape is None or axis >= len(shape) or shape[axis] != declared):
            faults.append(f"{key} = {declared:,}, but {end} is {shape or 'not there'}")
    return faults
