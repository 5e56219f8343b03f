"""How numbers are stored and multiplied: one record for each family of number formats, told apart by `format`.

A recipe's [quantize] table takes the place of a target's as a whole, but for `accuracy_level` (`Target.chosen`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, Tag, model_validator

from edgekit.config.search import Choice, Ranges
from edgekit.config.toml import Strict, Whole, discriminator
from edgekit.runtime.jsontypes import JsonObject

__all__ = [
    "Bfloat16",
    "Float16",
    "Float32",
    "Int8",
    "Quantize",
    "RecipeQuantize",
    "WeightOnly",
    "chosen_by_rows",
    "own_settings",
]


class _Scheme(Strict):
    search: ClassVar[Ranges] = {}
    """What a search may draw, each on its own; all else is the target's to say."""

    accuracy_level: Annotated[Literal[0, 4], Whole] = 4
    """What MatMulNBits multiplies in, in the "-weights" formats: 0 float32, 4 integers, where each block of activations is rounded to
    8 bits. A target of any format says it for recipes that ask for weights alone and leave it out."""


class Int8(_Scheme):
    """Constant-weight MatMuls in 8 bits, weights and activations."""

    search: ClassVar[Ranges] = {
        "mode": Choice(("dynamic", "static")), "embeddings": Choice(("int8", "int4")), "smooth": Choice((None, 0.5)),
        "correct_bias": Choice((False, True)),
    }  # fmt: skip

    format: Literal["int8"] = "int8"
    """Number format of the constant-weight MatMuls; int8 where a table does not say it."""
    mode: Literal["dynamic", "static", "measure"] = "dynamic"
    """Activation ranges found at run time, from calibration, or whichever of the two measures better."""
    activations: Literal["uint8", "int8"] = "uint8"
    """Signedness of quantized activations."""
    weights: Literal["uint8", "int8"] = "int8"
    """Signedness of quantized weights."""
    per_channel: bool = True
    """One scale for each output column of a weight instead of one a tensor."""
    reduce_range: bool = False
    """7-bit weights, for chips whose 16-bit accumulation saturates (VPMADDUBSW)."""
    embeddings: Literal["int8", "int4", "float32"] = "int8"
    """Storage of the embedding tables."""
    smooth: float | None = Field(None, ge=0, le=1)
    """SmoothQuant's alpha: how much of the activations' differences between channels moves into the weights. None: nothing."""
    correct_bias: bool = False
    """Take the mean error of rounded weights, over calibration rows, off the biases."""
    mixed: bool = False
    """Leave the most sensitive MatMuls in float32 until the quality floor holds on validation rows."""

    @model_validator(mode="after")
    def _one_mode_is_mixed(self) -> Int8:
        if self.mixed and self.mode == "measure":
            raise ValueError('mixed needs to know what it mixes with: set mode = "dynamic" or "static"')
        return self


class WeightOnly(_Scheme):
    """Constant weights in 8 or 4 bits, a scale for each block of a column; activations stay in float32."""

    search: ClassVar[Ranges] = {
        "format": Choice(("int8-weights", "int4-weights")), "block": Choice((32, 64, 128)), "rounding": Choice(("clip", "hqq", "gptq")),
        "embeddings": Choice(("int8", "int4")),
    }  # fmt: skip

    format: Literal["int8-weights", "int4-weights"]
    """Number format of the constant weights."""
    block: Literal[32, 64, 128] = 32
    """Rows of a weight column that share a scale."""
    rounding: Literal["clip", "hqq", "gptq"] = "clip"
    """How weights are rounded: each block's best clipping, HQQ's zero points, or GPTQ on calibration rows."""
    embeddings: Literal["int8", "int4", "float32"] = "int8"
    """Storage of the embedding tables; a language model's head that is its embedding transposed reads the same table."""
    eight_bits: float | None = Field(None, gt=0, lt=1)
    """Share of a language model's weights that gets 8 bits where all others get 4: those that cost most for their size, each rounded alone,
    by how far next tokens move on calibration rows. None: none."""
    cache: Literal["float32", "float16", "int8"] = "float32"
    """Storage of a language model's keys and values; int8 by scales from calibration rows."""
    correct_bias: bool = False
    """Take the mean error of rounded weights, over calibration rows, off the biases."""
    mixed: bool = False
    """Leave the most sensitive MatMuls in float32 until the quality floor holds on validation rows."""

    @model_validator(mode="after")
    def _eight_is_more_than_four(self) -> WeightOnly:
        if self.eight_bits is not None and self.format != "int4-weights":
            raise ValueError('eight_bits is the share of the weights that "int4-weights" leaves in 8 bits; leave it out')
        return self

    @property
    def bits(self) -> Literal[4, 8]:
        """Bits of a stored weight."""
        return 4 if self.format == "int4-weights" else 8


class Float16(_Scheme):
    """Weights and arithmetic in float16, for GPUs."""

    format: Literal["float16"]
    """Number format of weights and activations."""


class Bfloat16(_Scheme):
    """Weights and arithmetic in bfloat16 on GPUs; on ARM chips with bf16 instructions MatMuls that round to it as they run."""

    format: Literal["bf16"]
    """Number format of the MatMuls."""


class Float32(_Scheme):
    """Nothing is rounded."""

    format: Literal["float32"]
    """Number format of weights and activations."""


Quantize: TypeAlias = Annotated[
    Annotated[Int8, Tag("int8")]
    | Annotated[WeightOnly, Tag("int8-weights")]
    | Annotated[WeightOnly, Tag("int4-weights")]
    | Annotated[Float16, Tag("float16")]
    | Annotated[Bfloat16, Tag("bf16")]
    | Annotated[Float32, Tag("float32")],
    discriminator("format", default="int8"),
]
"""A target's [quantize] table."""


def chosen_by_rows(quantize: Quantize) -> bool:
    """Whether something is left to be chosen by how well it does on validation rows: a mode, or what stays in float32."""
    if isinstance(quantize, Int8):
        return quantize.mixed or quantize.mode == "measure"
    return isinstance(quantize, WeightOnly) and quantize.mixed


def own_settings(table: JsonObject) -> JsonObject:
    """`table` without keys that the record of its format has not; as it is where the format is unknown."""
    for record in (Int8, WeightOnly, Float16, Bfloat16, Float32):
        if table.get("format", "int8") in get_args(record.model_fields["format"].annotation):
            return {key: value for key, value in table.items() if key in record.model_fields}
    return table


def _of_a_recipe(quantize: Quantize) -> Quantize:
    if "accuracy_level" in quantize.model_fields_set and not isinstance(quantize, WeightOnly):
        raise ValueError(
            f'accuracy_level goes with format = "int8-weights" or "int4-weights", not with "{quantize.format}"; leave it out'
        )
    return quantize


RecipeQuantize: TypeAlias = Annotated[Quantize, AfterValidator(_of_a_recipe)]
"""A recipe's [quantize] table: `accuracy_level` is for the formats that it acts on."""
