"""Session configuration keys that edgekit lets through to ONNX Runtime."""

from __future__ import annotations

__all__ = ["SESSION_KEYS"]

SESSION_KEYS = frozenset(
    {
        # Keys that ONNX Runtime reads (onnxruntime_session_options_config_keys.h); it takes unknown ones in silence.
        "session.intra_op.allow_spinning",
        "session.inter_op.allow_spinning",
        "session.disable_prepacking",
        "session.x64quantprecision",
        "session.disable_cpu_ep_fallback",
        "session.disable_quant_qdq",
        "session.dynamic_block_base",
        "session.set_denormal_as_zero",
        "mlas.enable_gemm_fastmath_arm64_bfloat16",
    }
)
