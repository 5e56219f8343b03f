"""Names of operators and domains that more than one module writes or looks for."""

from __future__ import annotations

__all__ = ["BIAS_INPUT", "DEQUANTIZE", "MICROSOFT", "QUANTIZE"]

MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators (contrib ops)."""
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
BIAS_INPUT = {"BiasGelu": 1, "FastGelu": 1, "SkipLayerNormalization": 4, "SkipSimplifiedLayerNormalization": 3}
"""Operators that add a constant vector to input 0 themselves, and which input that is."""
