"""Tiny encoders of sounds with random weights, and rows of made sounds for them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import soundfile
import torch
import transformers

from edgekit.models.sounds import write_wav
from tests.tiny_images import as_text

__all__ = ["FAMILIES", "LABELS", "RATE", "made_model", "noise", "rows_of"]

LABELS = ("high", "hiss", "low")
FAMILIES = ("audio-spectrogram-transformer", "hubert", "wav2vec2", "wavlm", "whisper")
CLASSES = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}
"""Of those that read samples, transformers' name."""
LETTERS = ("<unk>", "|", "E", "T", "A", "'", "<s>", "<pad>")
"""Of a CTC head; its blank is the last one."""
RATE = 8000
BINS, FRAMES = 16, 24


def made_model(
    folder: Path, family: str = FAMILIES[0], *, layers: int = 2, stride: int = 8, norm: str = "group", head: str = "ForSequenceClassification",
    options: Mapping[str, Any] = MappingProxyType({}), spelling: Mapping[str, Any] = MappingProxyType({}), **preprocessing: Any,
) -> Path:  # fmt: skip
    """A model of two layers with random weights at 8 kHz, and its feature extractor.

    An AST reads 24 frames of 16 bins in patches of 8 x 8, half a second; Whisper's encoder one second at 16 kHz in 100 frames; the others samples,
    by two convolutions with group or layer `norm`, the latter with layers that normalise first. `options`: of the configuration;
    `spelling`: of the tokenizer of a CTC head.
    """
    torch.manual_seed(0)
    named = {"id2label": dict(enumerate(LABELS)), "label2id": {label: number for number, label in enumerate(LABELS)}}
    if family == FAMILIES[0]:
        config = transformers.ASTConfig(
            hidden_size=32, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=64, patch_size=8, frequency_stride=stride,
            time_stride=stride, max_length=FRAMES, num_mel_bins=BINS, **named, **options,
        )  # fmt: skip
        model = transformers.ASTForAudioClassification(config)
        extractor = transformers.ASTFeatureExtractor(**{
            "sampling_rate": RATE, "num_mel_bins": BINS, "max_length": FRAMES, "mean": -5.0, "std": 3.0, **preprocessing,
        })  # fmt: skip
    elif family == "whisper":
        config = transformers.WhisperConfig(
            d_model=32, encoder_layers=layers, encoder_attention_heads=4, encoder_ffn_dim=64, decoder_layers=1, decoder_attention_heads=4,
            decoder_ffn_dim=64, num_mel_bins=BINS, max_source_positions=50, classifier_proj_size=16, vocab_size=100, pad_token_id=0,
            **named, **options,
        )  # fmt: skip
        model = transformers.WhisperForAudioClassification(config)
        extractor = transformers.WhisperFeatureExtractor(**{
            "feature_size": BINS, "sampling_rate": 2 * RATE, "chunk_length": 1, **preprocessing,
        })  # fmt: skip
    else:
        if head == "ForCTC":
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(LETTERS)}))
            spelled = {"bos_token": "<s>", "eos_token": "<s>", **spelling}
            transformers.Wav2Vec2CTCTokenizer(folder / "vocab.json", **spelled).save_pretrained(folder)
            named = {"vocab_size": len(LETTERS), "pad_token_id": len(LETTERS) - 1, "bos_token_id": 6, "eos_token_id": 6}
        buckets = {"num_buckets": 32, "max_bucket_distance": 64} if family == "wavlm" else {}
        config = getattr(transformers, f"{CLASSES[family]}Config")(
            hidden_size=32, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=64, conv_dim=(16, 24), conv_kernel=(10, 8),
            conv_stride=(5, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, classifier_proj_size=16,
            feat_extract_norm=norm, do_stable_layer_norm=norm == "layer", use_weighted_layer_sum=norm == "layer", **buckets, **named, **options,
        )  # fmt: skip
        model = getattr(transformers, f"{CLASSES[family]}{head}")(config)
        extractor = transformers.Wav2Vec2FeatureExtractor(**{
            "sampling_rate": RATE, "return_attention_mask": norm == "layer", **preprocessing,
        })  # fmt: skip
    assert config.model_type == family
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        last = getattr(model, "lm_head", getattr(model, "classifier", None))
        if last is not None:  # a model without a head has none
            getattr(last, "dense", last).weight *= 10
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def noise(label: str, draw: np.random.Generator, rate: int = RATE) -> np.ndarray:
    """float64 (n,): noise, or a tone that the label names, of a third to three quarters of a second."""
    count = int(draw.integers(rate // 3, 3 * rate // 4))
    samples = draw.normal(0, 0.02, count)
    if label != "hiss":
        samples += 0.4 * np.sin(2 * np.pi * (300 if label == "low" else 2500) * np.arange(count) / rate)
    return samples


def rows_of(folder: Path, counts: Sequence[int] = (24, 8, 8)) -> Path:
    """Three files of rows in `folder`: training rows as base64 text, validation rows as paths, some of FLAC, test rows as Parquet of datasets."""
    import pyarrow
    from pyarrow import parquet

    draw = np.random.default_rng(0)
    rows = [(noise(LABELS[number % len(LABELS)], draw), LABELS[number % len(LABELS)]) for number in range(sum(counts))]
    train, validation, test = np.split(np.arange(len(rows)), np.cumsum(counts)[:-1])
    lines = [json.dumps({"audio": as_text(write_wav(rows[number][0], RATE)), "label": rows[number][1]}) for number in train]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "sounds").mkdir()
    listed = []
    for number in validation:
        name = f"sounds/{number}.{'flac' if number % 2 else 'wav'}"
        soundfile.write(folder / name, rows[number][0], RATE)
        listed.append(f"{name},{rows[number][1]}")
    (folder / "validation.csv").write_text("audio,label\n" + "\n".join(listed) + "\n")
    held = [{"audio": {"bytes": write_wav(rows[number][0], RATE), "path": None}, "label": rows[number][1]} for number in test]
    parquet.write_table(pyarrow.Table.from_pylist(held), folder / "test.parquet")
    return folder


def flac(samples: np.ndarray, rate: int = RATE) -> bytes:
    """The FLAC file of samples."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC")
    return file.getvalue()
