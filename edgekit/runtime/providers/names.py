"""Names that ONNX Runtime reads: execution providers, and session configuration keys that edgekit lets through to it."""

from __future__ import annotations

from typing import Final, Literal

__all__ = [
    "AUTO",
    "CPU",
    "CUDA",
    "DISABLE_CPU_FALLBACK",
    "DISABLE_QDQ",
    "EXTERNAL_WEIGHTS",
    "FASTMATH",
    "RECORD_ASSIGNMENT",
    "SESSION_KEYS",
    "TENSORRT",
    "Provider",
]

Provider = Literal["CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"]
"""The execution providers that a target may ask for."""
CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"

AUTO: Final = "auto"
"""Instead of a number of threads: as many as are fastest on the machine."""

DISABLE_CPU_FALLBACK: Final = "session.disable_cpu_ep_fallback"
"""Session key that refuses a graph of which another provider leaves nodes to the CPU."""
DISABLE_QDQ: Final = "session.disable_quant_qdq"
"""Session key that has what Quantize/Dequantize pairs give multiplied in float32. Not for TensorRT: weights would be restored first."""
EXTERNAL_WEIGHTS: Final = "session.model_external_initializers_file_folder_path"
"""Session key that says where the data files of a graph lie that is given as bytes; edgekit sets it itself."""
FASTMATH: Final = "mlas.enable_gemm_fastmath_arm64_bfloat16"
"""Session key that lets MatMul round both sides to bfloat16 on ARM."""
RECORD_ASSIGNMENT: Final = "session.record_ep_graph_assignment_info"
"""Session key without which ONNX Runtime does not say where a node went; edgekit sets it itself."""

SESSION_KEYS = frozenset(
    {
        "session.intra_op.allow_spinning",
        "session.inter_op.allow_spinning",
        "session.force_spinning_stop",
        "session.disable_prepacking",
        "session.x64quantprecision",
        DISABLE_CPU_FALLBACK,
        DISABLE_QDQ,
        "session.dynamic_block_base",
        "session.set_denormal_as_zero",
        FASTMATH,
    }
)
"""Session keys that a target may set. ONNX Runtime reads them (onnxruntime_session_options_config_keys.h) and takes unknown ones in
silence."""
