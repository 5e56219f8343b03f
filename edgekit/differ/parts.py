"""The parts of a transformer that are compared, in the order in which data passes them: one word for each, on every side.

    embeddings -> of each layer: keys, values, heads, attention, neurons, layer -> head -> output

A part is named by the value that leaves it. `attention` and `layer` leave the residual stream after the attention and the MLP block,
which all layers have in one width; `heads` is what the attention block's last Linear reads, `neurons` what the MLP's last one reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["HEADINGS", "KINDS", "STREAM", "Kind", "Part", "in_order", "meaning", "ranges"]

Kind = Literal["embeddings", "keys", "values", "heads", "attention", "neurons", "layer", "head", "output"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STREAM: tuple[Kind, ...] = ("embeddings", "attention", "layer")
"""Those that leave the residual stream."""
HEADINGS: dict[Kind, str] = {
    "keys": "keys", "values": "values", "heads": "heads", "attention": "attention", "neurons": "neurons", "layer": "out",
}  # fmt: skip
"""What a column of a table of layers is called."""
MEANINGS: dict[Kind, str] = {
    "embeddings": "embeddings of tokens and positions, and the norm after them",
    "keys": "the keys' projection, its norm and rotary positions",
    "values": "the values' projection",
    "heads": "projections of queries, keys and values, positions, mask and softmax: all of attention but its last Linear",
    "attention": "the attention's last Linear, the sum with the layer's input, the norm that belongs to it",
    "neurons": "the MLP's first Linear (and its gate) and the activation",
    "layer": "the MLP's last Linear, the sum with its input, the norm that belongs to it",
    "head": "what stands between the last layer and the model's last Linear: a pooler, a dense layer, the last norm",
    "output": "the last step to the model's output: its last Linear, or how embeddings are pooled",
}


@dataclass(frozen=True)
class Part:
    """A part of a model; `layer` counts from 0 as checkpoints' tensors do, None outside the layers."""

    kind: Kind
    layer: int | None = None

    @property
    def name(self) -> str:
        """As JSON and messages have it, such as "layer 3, heads"."""
        if self.layer is None:
            return self.kind
        return f"layer {self.layer}" if self.kind == "layer" else f"layer {self.layer}, {self.kind}"


def meaning(part: Part) -> str:
    """What is computed in `part`, in words."""
    return MEANINGS[part.kind]


def in_order(parts: Iterable[Part]) -> list[Part]:
    """`parts` as data passes them."""

    def place(part: Part) -> tuple[int, int, int]:
        outer = {"embeddings": 0, "head": 2, "output": 3}.get(part.kind, 1)
        return outer, part.layer or 0, KINDS.index(part.kind)

    return sorted(parts, key=place)


def ranges(parts: Iterable[Part]) -> str:
    """`parts` in a few words, such as "head; heads of layers 0, 1, 2; out of layer 4"."""
    kinds: dict[str, list[int]] = {}
    outer = []
    for part in in_order(parts):
        if part.layer is None:
            outer.append(part.kind)
        else:
            kinds.setdefault(HEADINGS[part.kind], []).append(part.layer)
    inner = [f"{kind} of layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}" for kind, layers in kinds.items()]
    return "; ".join([*outer, *inner])
