"""Why chips without VNNI need 7-bit or unsigned weights: VPMADDUBSW itself, simulated instruction by instruction.

The instruction multiplies unsigned by signed bytes and adds each neighbouring pair in 16 bits, with saturation; VPMADDWD then
widens to 32. ONNX Runtime's AVX2 kernel for uint8 x int8 is made of the two (core/mlas/lib/x86_64/QgemmU8X8KernelAvx2.S); its
kernel for uint8 x uint8 widens every byte to 16 bits first and uses VPMADDWD alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.audit.audit import audit
from edgekit.config.quantize import Int8
from edgekit.config.target import load_target
from edgekit.quantize.dynamic import quantize_dynamic
from edgekit.quantize.static import activation_scale
from edgekit.quantize.weights import quantize_weight
from tests.quantize.files import rewritten

ISA = frozenset({"avx2", "fma"})


def vpmaddubsw(activation: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """int16 (k / 2, n): neighbouring pairs of uint8 (k,) x int8 (k, n), summed with saturation."""
    assert activation.dtype == np.uint8 and weight.dtype == np.int8
    products = activation.astype(np.int32)[:, None] * weight.astype(np.int32)
    return np.clip(products[0::2] + products[1::2], -32768, 32767).astype(np.int16)


def vpmaddwd(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """int32 (k / 2, n): neighbouring pairs of int16 (k,) x int16 (k, n); no pair of widened bytes can overflow."""
    assert left.dtype == right.dtype == np.int16
    products = left.astype(np.int64)[:, None] * right.astype(np.int64)
    total = products[0::2] + products[1::2]
    assert np.abs(total).max() < 2**31
    return total.astype(np.int32)


def u8s8(activation: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return vpmaddubsw(activation, weight).astype(np.int64).sum(axis=0)


def u8u8(activation: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The product with `weight` - 128, whose share is taken off through the sum of the activations."""
    raw = vpmaddwd(activation.astype(np.int16), weight.astype(np.int16)).astype(np.int64).sum(axis=0)
    return np.asarray(raw - 128 * activation.astype(np.int64).sum())


def exact(activation: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return activation.astype(np.int64) @ weight.astype(np.int64)


def adversarial(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations near the top of their range (32,) and weights near the top of theirs, of one sign a column (32, 5)."""
    random = np.random.default_rng(seed)
    weight = random.uniform(0.9, 1.0, size=(32, 5)) * random.choice([-1.0, 1.0], size=5)
    return random.integers(230, 256, size=32).astype(np.uint8), weight.astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 99_999))
def test_eight_bit_weights_give_wrong_sums(seed: int) -> None:
    activation, weight = adversarial(seed)
    signed = quantize_weight(weight, per_channel=True, reduce_range=False).values
    found, wanted = u8s8(activation, signed), exact(activation, signed)
    assert (np.abs(found) < 0.75 * np.abs(wanted)).all(), "every column loses more than a quarter of its sum"


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 99_999), hard=st.booleans(), per_channel=st.booleans())
def test_seven_bits_and_unsigned_weights_never_do(seed: int, hard: bool, per_channel: bool) -> None:
    activation, weight = adversarial(seed)
    if not hard:
        random = np.random.default_rng(seed)
        activation, weight = random.integers(0, 256, size=32).astype(np.uint8), random.normal(size=(32, 5)).astype(np.float32)
    narrow = quantize_weight(weight, per_channel=per_channel, reduce_range=True).values
    assert np.array_equal(u8s8(activation, narrow), exact(activation, narrow))
    whole = quantize_weight(weight, per_channel=per_channel, reduce_range=False)
    unsigned = quantize_weight(weight, per_channel=per_channel, reduce_range=False, signed=False)
    assert np.array_equal(u8u8(activation, unsigned.values), exact(activation, whole.values))


def test_the_bounds_are_tight() -> None:
    """255 x (63 + 63) fits into 16 bits, 255 x (64 + 65) does not; two full 8-bit weights lose half of their sum."""
    top = np.full(2, 255, dtype=np.uint8)
    for pair, fits in (((63, 63), True), ((64, 64), True), ((64, 65), False), ((-64, -64), True), ((-64, -65), False)):
        weight = np.array(pair, dtype=np.int8)[:, None]
        assert (u8s8(top, weight)[0] == exact(top, weight)[0]) == fits, pair
    full = np.full((2, 1), 127, dtype=np.int8)
    assert u8s8(top, full)[0] / exact(top, full)[0] == pytest.approx(0.506, abs=1e-3)


def test_what_saturation_does_to_a_layer() -> None:
    """The worst case as a layer would meet it: real numbers, quantized as the project does, multiplied by the instruction."""
    random = np.random.default_rng(0)
    x, weight = random.uniform(0.9, 1.0, size=64), random.uniform(0.9, 1.0, size=(64, 16)).astype(np.float32)
    scale, zero = activation_scale(0.0, float(x.max()), signed=False)
    shown = np.clip(np.rint(x / scale) + int(zero), 0, 255).astype(np.uint8)
    reference, errors = x @ weight.astype(np.float64), {}
    for bits, reduced in ((8, False), (7, True)):
        rounded = quantize_weight(weight, per_channel=True, reduce_range=reduced)
        made = u8s8(shown, rounded.values) * float(scale) * rounded.scale
        errors[bits] = float(np.abs(made / reference - 1).max())
    assert errors[8] > 0.4 and errors[7] < 0.01


@pytest.mark.parametrize("weights", ["int8", "uint8"])
def test_the_target_without_vnni_asks_for_what_cannot_saturate(tiny_export: Path, tmp_path: Path, weights: str) -> None:
    target = load_target("x86-avx2")
    assert target.quantize.activations == "uint8" and target.quantize.reduce_range, "the shipped target stores 7 bits"
    assert not {"avx512_vnni", "avx_vnni"} & {*target.isa, *target.isa_any}
    quantize = target.quantize if weights == "int8" else Int8(weights="uint8", per_channel=False)
    rewritten(tiny_export / "fused.onnx", tmp_path / "model.onnx", quantize_dynamic, quantize)
    asked = target.model_copy(update={"quantize": quantize})
    assert audit(tmp_path / "model.onnx", asked, host_isa=ISA, host_arch="x86_64")["ok"]
