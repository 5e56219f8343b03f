"""Fake quantization for quantization-aware training."""
