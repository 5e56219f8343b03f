"""Whether all tensors of a model are there and fit one another, off the headers of its files, before any model is built.

What is compared in full when a model is filled (`checkpoint`) is told by the plan as far as names and shapes tell it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping

from edgekit.models.anatomy import KNOWN, anatomy_named
from edgekit.models.declared import EMBEDDING, LAYER, POSITIONS
from edgekit.models.image_families import TEXT_TOWER, TOWERS
from edgekit.models.sound_families import SOUND_FAMILIES
from edgekit.models.tensor_names import named_now

__all__ = ["head_fault", "missing_parts", "tensor_faults"]

WITHOUT_BIAS = ("modernbert",)
"""Encoders whose linear maps and normalisations may have no bias."""
NO_POSITIONS = ("deberta-v2", "modernbert")
"""Encoders that may have no table of positions."""
OF_FIRST = "attention.rel_attn_embed."
"""Of a layer, what the first alone has: WavLM's table of relative positions, which all layers read."""
NORM = re.compile(r"(?:^|\.)embeddings\.(?:LayerNorm|norm)\.(?:weight|bias)$")
BIASED = re.compile(
    r"(?:^|\.)(?:(?:layer|layers)\.\d+\..*|embeddings\.LayerNorm|(?:pooler\.|pre_)?(?:dense|classifier)(?:\.dense|\.out_proj)?|qa_outputs)$"
)
"""Modules of encoders that have a weight and a bias."""
PARTS = {
    **dict.fromkeys(("bert", "ernie", "albert"), ("pooler", "classifier")),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "data2vec-text", "electra", "mpnet"), ("classifier.dense", "classifier.out_proj")),
    "deberta-v2": ("pooler.dense", "classifier"), "distilbert": ("pre_classifier", "classifier"), "modernbert": ("head.dense", "classifier"),
}  # fmt: skip
"""Encoder -> modules of which its sequence classification head is made."""
OUTPUTS = ("classifier.out_proj.weight", "classifier.weight")
"""The matrix of a head with a row for each label."""


def tensor_faults(config: Mapping[str, object], stored: Mapping[str, tuple[int, ...]], *, cut: bool) -> list[str]:
    """Tensors that are missing beside those of the file, and shapes that do not fit the others.

    `cut`: its layers have shapes of their own (`edgekit.json`).
    """
    architecture = str(config.get("model_type"))
    shapes = {named_now(name, architecture): shape for name, shape in stored.items()}
    if architecture in TOWERS:  # whose tower of texts is not read
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith(TEXT_TOWER)}
    faults = [] if architecture == "swin" else _layer_faults(architecture, shapes, cut=cut)  # stages differ
    if architecture in KNOWN:
        faults += _table_faults(architecture, shapes)
        if architecture not in WITHOUT_BIAS:
            faults += _bias_faults(shapes)
    if (family := SOUND_FAMILIES.get(architecture)) is not None:
        faults += [f"no {what}" for what in family.parts if not any(what in name for name in shapes)]
    return faults


def _layer_faults(architecture: str, shapes: Mapping[str, tuple[int, ...]], *, cut: bool) -> list[str]:
    """Each layer has what the others have, in the same shape; one of an encoder also what every layer of its family has."""
    layers: defaultdict[str, dict[int, dict[str, tuple[int, ...]]]] = defaultdict(dict)
    for name, shape in shapes.items():
        if (found := LAYER.search(name)) is not None and name.endswith((".weight", ".bias")):
            layers[name[: found.start(1)]].setdefault(int(found[1]), {})[name[found.end() :]] = shape
    faults = []
    for stack, each in layers.items():
        needed = dict.fromkeys(part for own in each.values() for part in own)
        first = ""
        if (anatomy := anatomy_named(architecture)) is not None:
            parts = (anatomy.query, anatomy.key, anatomy.value, anatomy.attention_out, anatomy.up, anatomy.down, anatomy.attention_norm,
                     anatomy.output_norm, anatomy.input_norm)  # fmt: skip
            needed |= dict.fromkeys(f"{part}.weight" for part in parts if part)
            first = f"{anatomy.input_norm}." if anatomy.input_norm and not anatomy.first_norm else ""
        for number, own in sorted(each.items()):
            faults += [
                f"missing tensor {stack}{number}.{part}"
                for part in needed
                if part not in own
                and not (number == 0 and first and part.startswith(first))
                and not (number > 0 and part.startswith(OF_FIRST))
            ]
        for part in needed if not cut else ():
            counts = Counter(own[part] for own in each.values() if part in own)
            faults += [
                f"{stack}{number}.{part}: shape {own[part]}, and {counts.most_common(1)[0][0]} in other layers"
                for number, own in sorted(each.items())
                if part in own and len(counts) > 1 and own[part] != counts.most_common(1)[0][0]
            ]
    return faults


def _table_faults(architecture: str, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The embeddings of an encoder."""
    needed = {"table of token embeddings": EMBEDDING, "normalisation of the embeddings": NORM}
    if architecture not in NO_POSITIONS:
        needed["table of positions"] = POSITIONS
    return [f"no {what}" for what, pattern in needed.items() if not any(pattern.search(name) for name in shapes)]


def _bias_faults(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Each weight of an encoder's linear maps and normalisations has a bias, each bias a weight, and as many rows."""
    faults = []
    for name, shape in shapes.items():
        module, _, kind = name.rpartition(".")
        other = f"{module}.{'bias' if kind == 'weight' else 'weight'}"
        if kind not in ("weight", "bias") or not BIASED.search(module):
            continue
        if other not in shapes:
            if kind == "weight" or not LAYER.search(name):
                faults.append(f"missing tensor {other}")
        elif kind == "bias" and shape[:1] != shapes[other][:1]:
            faults.append(f"{name}: shape {shape}, and {other} is {shapes[other]}")
    return faults


def missing_parts(architecture: str | None, modules: tuple[str, ...]) -> list[str]:
    """Modules of a sequence classification head that an encoder with these `modules` has not."""
    return [
        part
        for part in PARTS.get(architecture or "", ())
        if not any(name == part or name.endswith(f".{part}") or f".{part}." in f".{name}." for name in modules)
    ]


def head_fault(config: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Why `id2label` does not name the outputs of the head that is among the weights; None where it does, or there is none."""
    rows = next((shapes[name][0] for name in OUTPUTS if shapes.get(name)), None)
    named = config.get("id2label")
    if rows is None:
        return None
    if isinstance(named, Mapping) and named:
        count, says = len(named), f"id2label names {len(named):,} outputs"
    elif type(labels := config.get("num_labels")) is int:
        count, says = labels, f"num_labels = {labels:,}"
    else:
        count, says = 2, "it names no outputs (id2label), which means 2"
    return f"{says}, and the head has {rows:,}; name each of them once, in order" if count != rows else None
