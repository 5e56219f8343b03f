"""Fewer, larger operators: ONNX Runtime's own fused forms, found by the shapes in the graph and not by a configured head count.

At batch 1 and ten tokens an encoder spends about as long in small operators as in arithmetic. onnxscript's
`optimize_for_ort` finds attention, skip-normalisation and bias-GELU; the passes here then remove what it leaves: the
expanded copy of the mask in each layer, the token-type lookup that is always row 0, the position lookup that counts up by
one, the arithmetic of relative positions (MPNet, DeBERTa) and rotations (ModernBERT), whose tables are known beforehand,
MatMuls of constants, and what the last block computes for tokens that a classifier never reads. Heads are read off each
layer's own reshape, so layers pruned to different head counts fuse rightly. A pass that does not find its exact pattern
leaves the graph alone; parity with eager PyTorch is checked afterwards.
"""

from __future__ import annotations

from functools import partial

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedOpsetsPass
from onnxscript.rewriter.ort_fusions import optimize_for_ort

from edgekit.exporter.fusions.biased_attention import fuse_biased_attention
from edgekit.exporter.fusions.constant_folding import drop_empty_pads, fold_constant_norms, fold_constants
from edgekit.exporter.fusions.embedding_lookups import fold_token_types, slice_positions
from edgekit.exporter.fusions.idle_shapes import drop_idle_shapes
from edgekit.exporter.fusions.image_patches import patches_as_matmul
from edgekit.exporter.fusions.padding_mask import mask_as_key_padding
from edgekit.exporter.fusions.relative_positions import look_up_distances
from edgekit.exporter.fusions.rotary_attention import fuse_rotary_embeddings
from edgekit.exporter.fusions.selected_token import choose_token_early
from edgekit.exporter.fusions.separate_attention import separate_attention
from edgekit.exporter.fusions.skip_layer_norm import fuse_skip_layer_norms
from edgekit.exporter.fusions.sound_convolutions import drop_full_mask, sound_convolutions_as_matmul
from edgekit.onnx_graph.metadata import drop_metadata
from edgekit.onnx_graph.operators import MICROSOFT
from edgekit.onnx_graph.passes import Pass, run_passes

__all__ = ["fuse", "fusion_passes"]


def fusion_passes(max_length: int) -> list[Pass]:
    """The passes that fuse an exported encoder, in order; tables of positions have `max_length` rows."""
    return [
        Pass("fold-constant-norms", fold_constant_norms),
        Pass("fold-constants", fold_constants),
        Pass("drop-empty-pads", drop_empty_pads),
        Pass("patches-as-matmul", patches_as_matmul),
        Pass("sound-convolutions-as-matmul", sound_convolutions_as_matmul),
        Pass("onnxruntime-fusions", onnxruntime_fusions),
        Pass("drop-full-mask", drop_full_mask),
        Pass("drop-idle-shapes", drop_idle_shapes),
        Pass("separate-attention", separate_attention),
        Pass("biased-attention", fuse_biased_attention),
        Pass("rotary-embeddings", partial(fuse_rotary_embeddings, max_length=max_length)),
        Pass("mask-as-key-padding", mask_as_key_padding),
        Pass("fold-token-types", fold_token_types),
        Pass("slice-positions", partial(slice_positions, max_length=max_length)),
        Pass("skip-layer-norms", fuse_skip_layer_norms),
        Pass("look-up-distances", partial(look_up_distances, max_length=max_length)),
        Pass("choose-token-early", choose_token_early),
    ]


def fuse(model: ir.Model, max_length: int) -> dict[str, int]:
    """Fuse `model`, an encoder as it was exported, in place; returns which passes changed how many places.

    Position tables are cut to `max_length` rows, the longest input the bundle accepts.
    """
    changed = run_passes(model, fusion_passes(max_length))
    model.opset_imports[MICROSOFT] = 1
    RemoveUnusedOpsetsPass()(model)
    drop_metadata(model)
    return changed


def onnxruntime_fusions(model: ir.Model) -> int:
    """The fusions of onnxscript for ONNX Runtime."""
    fused, counts = optimize_for_ort(model, clear_metadata=True)
    assert fused is model, "onnxscript works in place"
    return sum(counts.values())
