"""Options of decoders' configurations that no graph here has, read off config.json as it is: a plan says them, and so does an export."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.models.decoders.description import Activation

__all__ = ["ACTIVATIONS", "HEAD_MULTIPLE", "Config", "activation_faults", "head_faults", "rotary_faults", "switched"]

Config = Mapping[str, object]
"""What config.json holds, or what transformers made of it."""

HEAD_MULTIPLE = 16
"""GroupQueryAttention of onnxruntime 1.32 rotates heads whose size is a multiple of it, with as much of them rotated."""
ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "relu": "relu",
    "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
}  # fmt: skip
SCALINGS = ("default", "linear", "llama3", "yarn", "longrope")
"""longrope: by its short factors, within the length that they are for (`short_positions`)."""
OLD_NAMES = {"su": "longrope", "mrope": "default"}
"""What older files call a scaling."""


def switched(config: Config, key: str, what: str, *, on: object = True, default: object = None) -> list[str]:
    """`what` a model of option `key` has, where it is `on`; a file that does not say it means `default`."""
    value = config.get(key, default)
    return [f"config.json, {key} = {_shown(value)}: {what} is in no graph here; use a model without"] if value == on else []


def activation_faults(config: Config, *keys: str) -> list[str]:
    """Of the first of `keys` that the file gives: a function that no graph here has."""
    key = next((key for key in keys if config.get(key) is not None), None)
    if key is None or (isinstance(config[key], str) and config[key] in ACTIVATIONS):
        return []
    return [
        f"config.json, {key} = {_shown(config[key])}: this activation is in no graph here, which have {', '.join(ACTIVATIONS)}"
    ]


def rotary_faults(config: Config) -> list[str]:
    """Scalings of rotary positions whose angles change with the length of the text."""
    faults = []
    for key, table in _rotary_tables(config).items():
        name = table.get("rope_type") or table.get("type") or "default"
        if OLD_NAMES.get(str(name), name) not in SCALINGS:
            faults.append(
                f"config.json, {key}, rope_type = {_shown(name)}: angles that depend on the length of the text are in no graph here, which have "
                f"{', '.join(SCALINGS)}; take the scaling out where texts are within the length that the model was trained for"
            )
    return faults


def head_faults(config: Config, *, rotated: float = 1.0, normed: bool = False) -> list[str]:
    """Attention heads that fit no kernel, and that zeros cannot be added to: partly rotated or normalised ones.

    `rotated`: the share of a head that is, where the file does not say. `normed`: whether queries and keys have norms.
    """
    hidden, heads, size = (config.get(key) for key in ("hidden_size", "num_attention_heads", "head_dim"))
    if not isinstance(heads, int) or heads < 1:
        return []
    if not isinstance(size, int):
        if not isinstance(hidden, int):
            return []
        if hidden % heads:
            return [
                f"config.json, hidden_size = {hidden}: no multiple of num_attention_heads = {heads}, so that heads have no size"
            ]
    key = "head_dim" if isinstance(size, int) else "hidden_size and num_attention_heads"
    size = size if isinstance(size, int) else int(hidden) // heads  # type: ignore[call-overload]
    if size < 1 or size % 2:
        return [f"config.json, {key}: heads of size {size}, of which rotary positions make no pairs"]
    shares = [table.get("partial_rotary_factor") for table in _rotary_tables(config).values()]
    shares += [config.get("partial_rotary_factor"), config.get("rotary_pct")]
    share = next((share for share in shares if isinstance(share, int | float)), rotated)
    turned = int(size * share)
    if (size % HEAD_MULTIPLE == 0 and turned % HEAD_MULTIPLE == 0) or (not normed and turned == size):
        return []
    how = f"of which {turned} are rotated" if turned != size else "with norms of queries and keys"
    multiple = f"a multiple of {HEAD_MULTIPLE}"
    fix = f"use a model whose head size is {multiple}, with {multiple} rotated"
    return [f"config.json, {key}: heads of size {size}, {how}, fit no kernel of ONNX Runtime; {fix}"]


def _rotary_tables(config: Config) -> dict[str, Config]:
    """The tables that say how positions are rotated, by their keys: one, or one for each kind of layer."""
    key = next(
        (key for key in ("rope_scaling", "rope_parameters") if isinstance(config.get(key), Mapping) and config[key]), None
    )
    if key is None:
        return {}
    table = config[key]
    assert isinstance(table, Mapping)
    nested = {f"{key}, {kind}": inner for kind, inner in table.items() if isinstance(inner, Mapping)}
    return nested or {key: table}


def _shown(value: object) -> str:
    return f'"{value}"'[:60] if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)[:60]
