"""config.json of a checkpoint, parsed before transformers sees it: what its keys may be, what they may hold, and what is passed on.

transformers makes an attribute of every key, and follows some that name code or a place: `attn_implementation` alone makes it ask the hub
for kernels. Which attention runs is not a file's to say; transformers chooses between its own, eager or sdpa.

- `KEYS`, the settings of the architectures known here and of the class that they share, are checked by kind and passed on. They are
  derived from transformers: a test compares them with the fields of its classes, and with what its modules read besides.
- `RECORDS`, which say how a checkpoint was made, may hold anything, and what is more than a word of them is passed over.
- Any other key is refused where it could name code or a place: a text that is more than one word, or an object. Numbers, flags and words
  cannot, and real checkpoints hold dozens of them, left by releases of transformers and by training scripts (`gradient_checkpointing`,
  `pooler_type`, `tie_weights_`); refusing those would refuse half of the hub. They are passed on as they always were, but for names
  that transformers' classes have already, which a file must not replace.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping

__all__ = ["KEYS", "RECORDS", "attention_fault", "config_faults", "passed_on"]

MOST_LABELS = 100_000
LARGEST_SIZES = {
    **dict.fromkeys(("vocab_size",), 1 << 24),
    **dict.fromkeys(("hidden_size", "dim", "n_embd", "embedding_size", "word_embed_proj_dim", "head_dim"), 1 << 16),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "ffn_dim", "n_inner"), 1 << 20),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer"), 1000),
    **dict.fromkeys(("num_attention_heads", "n_heads", "n_head", "num_key_value_heads"), 1 << 12),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "original_max_position_embeddings"), 1 << 26),
    **dict.fromkeys(("num_hidden_groups", "inner_group_num"), 100),
    **dict.fromkeys(("embed_dim", "patch_size", "pooler_output_size", "projection_dim", "encoder_stride"), 1 << 16),
    "num_register_tokens": 1 << 12,
    "num_channels": 64,
    **dict.fromkeys(("frequency_stride", "time_stride", "num_mel_bins"), 1 << 12),
    **dict.fromkeys(("d_model", "classifier_proj_size", "output_hidden_size"), 1 << 16),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 1 << 20),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 1000),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 1 << 12),
    **dict.fromkeys(("max_source_positions", "max_target_positions"), 1 << 16),
    **dict.fromkeys(("num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "num_feat_extract_layers"), 1 << 12),
    **dict.fromkeys(("num_buckets", "max_bucket_distance"), 1 << 16),
    "max_length": 1 << 20,
    "num_labels": MOST_LABELS,
}
"""Sizes, which are whole numbers from 1 on -> far beyond the largest published model; what its tensors say is compared besides."""
NO_SIZE = ("head_dim", "n_inner", "num_key_value_heads", "pooler_output_size", "projection_dim", "word_embed_proj_dim")
"""Sizes that may be null: they follow from others."""
LARGEST_NUMBER = 1e15
MOST_SIDE = 8192
"""Pixels of a side of an image."""
KINDS: Mapping[str, tuple[str, ...]] = {
    "size": tuple(LARGEST_SIZES),
    "id": ("bos_token_id", "cls_token_id", "pad_token_id", "sep_token_id", "sparse_pred_ignore_index", "max_relative_positions",
        "position_buckets", "decoder_start_token_id"),
    "count": (
        "attention_head_size", "auxiliary_channels", "auxiliary_num_convs",
        "chunk_size_feed_forward", "conv_groups", "conv_kernel_size", "global_attn_every_n_layers", "local_attention",
        "max_window_layers", "no_rope_layer_interval", "pooler_hidden_size", "pretraining_tp", "relative_attention_num_buckets",
        "semantic_loss_ignore_index",
        "adapter_attn_dim", "adapter_kernel_size", "adapter_stride", "codevector_dim", "mask_feature_length", "mask_feature_min_masks",
        "mask_time_length", "mask_time_min_masks", "median_filter_width", "num_adapter_layers", "num_codevector_groups", "num_codevectors_per_group",
        "num_ctc_classes",
        "num_negatives", "proj_codevector_dim", "xvector_output_dim",
        "sliding_window", "sliding_window_pattern", "task_type_vocab_size", "type_vocab_size", "window_size",
    ),
    "share": (
        "activation_dropout", "decoder_layerdrop", "encoder_layerdrop", "feat_proj_dropout", "feat_quantizer_dropout", "final_dropout",
        "mask_feature_prob", "mask_time_prob",
        "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "classifier_dropout", "classifier_dropout_prob", "cls_dropout",
        "drop_path_rate", "dropout", "embd_pdrop", "embedding_dropout", "hidden_dropout", "hidden_dropout_prob", "layerdrop", "mlp_dropout",
        "partial_rotary_factor", "pooler_dropout", "qa_dropout", "resid_pdrop", "rotary_pct", "seq_classif_dropout",
        "summary_first_dropout", "summary_last_dropout",
    ),
    "number": (
        "attn_logit_softcapping", "auxiliary_loss_weight", "contrastive_logits_temperature", "diversity_loss_weight",
        "final_logit_softcapping", "global_rope_theta", "init_std", "initializer_cutoff_factor",
        "initializer_factor", "initializer_range", "layer_norm_eps", "layer_norm_epsilon", "layer_scale_init_value", "layerscale_value",
        "logit_scale_init_value", "mlp_ratio", "local_rope_theta", "norm_eps", "query_pre_attn_scalar",
        "rms_norm_eps", "rope_local_base_freq", "rope_theta", "rotary_emb_base",
    ),
    "flag": (
        "_remove_final_layer_norm", "add_adapter", "add_cross_attention", "apply_spec_augment", "conv_bias", "conv_pos_batch_norm",
        "ctc_zero_infinity",
        "do_stable_layer_norm", "feat_proj_layer_norm", "scale_embedding", "use_weighted_layer_sum", "add_fpn", "apply_layernorm",
        "attention_bias", "classifier_bias", "decoder_bias", "deterministic_flash_attn",
        "do_layer_norm_before", "enable_bias", "is_decoder", "is_encoder_decoder", "layer_norm_elementwise_affine", "legacy", "mlp_bias",
        "norm_bias", "output_attentions", "output_hidden_states", "position_biased_input", "qk_layernorm", "qkv_bias", "relative_attention",
        "reorder_and_upcast_attn", "reshape_hidden_states", "return_dict", "scale_attn_by_inverse_layer_idx", "scale_attn_weights", "share_att_key",
        "sinusoidal_pos_embds", "sparse_prediction", "summary_proj_to_labels", "summary_use_proj", "text_pairs", "tie_word_embeddings",
        "use_absolute_embeddings", "use_absolute_position_embeddings", "use_auxiliary_head", "auxiliary_concat_input",
        "use_mask_token", "use_mean_pooling", "use_relative_position_bias", "use_shared_relative_position_bias", "use_swiglu_ffn", "vision_use_head",
        "use_bidirectional_attention", "use_cache", "use_parallel_residual", "use_sliding_window", "use_task_id",
    ),
    "activation": (
        "activation", "activation_function", "classifier_activation", "conv_act", "feat_extract_activation",
        "hidden_act", "hidden_activation", "pooler_act",
        "pooler_hidden_act",
        "summary_activation",
    ),
    "word": (
        "classifier_pooling", "ctc_loss_reduction", "feat_extract_norm", "model_type",
        "norm_rel_ebd", "pooling", "position_embedding_type", "problem_type", "score_activation",
        "summary_type",
    ),
    "words": ("architectures", "layer_types", "pos_att_type"),
    "numbers": (
        "begin_suppress_tokens", "conv_dim", "conv_kernel", "conv_stride", "depths", "eos_token_id", "no_rope_layers", "num_heads", "pool_scales",
        "suppress_tokens", "tdnn_dilation", "tdnn_dim", "tdnn_kernel",
    ),
    "labels": ("id2label",),
    "label numbers": ("label2id",),
    "sides": ("image_size",),
    "tree": ("built", "rope_parameters", "rope_scaling"),
    "part": ("text_config", "vision_config"),
    "functions": ("sbert_ce_default_activation_function", "sentence_transformers"),
}  # fmt: skip
KEYS: Mapping[str, str] = {key: kind for kind, keys in KINDS.items() for key in keys}
"""Key -> kind of its value, of every architecture known here; a name means the same in all of them."""
RECORDS = frozenset({
    "_commit_hash", "_name_or_path", "adapters", "base_model", "base_model_name_or_path", "dtype", "finetuning_task",
    "forced_decoder_ids", "language",
    "languages", "license", "model_name", "model_name_or_path", "name_or_path", "neuron", "output_dir", "prefix",
    "task_specific_params", "tokenizer_class", "torch_dtype",
    "transformers.js_config", "transformers_version", "unsloth_version",
})  # fmt: skip
"""Keys that nothing follows: records of releases and of training. Weights are read in float32, whatever `dtype` says."""
BACKBONE = ("out_features", "out_indices", "stage_names")
"""Keys of which layers a backbone shows, which no model here is; of one whose layers were cut they name some that are gone."""
CODE = {
    "auto_map": "it names code of its own",
    "trust_remote_code": "whether code is trusted is not a file's to say",
    "quantization_config": "its weights are quantized already",
    "custom_pipelines": "it names code of its own",
}
"""Keys that are refused where they hold anything."""
ATTENTION = re.compile(
    r"_?(attn|attention|experts)_implementation(_internal|_autoset)?|use_kernels?|kernel_config|_?(use_)?flash_attn(_2_enabled)?"
)
OWN_ATTENTION = (None, False, True, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
"""Values of keys for attention that name no place; they change nothing here, so that they are passed over."""
FUNCTION = re.compile(r"[A-Za-z0-9_.]{0,128}")
"""What a cross-encoder says is applied to its score; `edgekit.models.cross_encoder` judges it, and no other function is ever called."""
WORD = re.compile(r"[A-Za-z0-9_+| -]{0,64}")
"""Names neither code nor a place: there is no dot, slash, colon, at-sign, tilde or backslash in it."""
RELEASE = re.compile(r"v?\d+(\.\d+)+[A-Za-z0-9.+-]{0,32}")
ACTIVATIONS = frozenset({
    "gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh", "gelu_pytorch_tanh", "hardswish",
    "laplace", "leaky_relu", "linear", "mish", "prelu", "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu", "sqrtsoftplus", "swish",
    "tanh", "xielu",
})  # fmt: skip
"""Names that transformers has a function for."""
POSITIVE = (
    "query_pre_attn_scalar",
    "rope_theta",
    "global_rope_theta",
    "local_rope_theta",
    "rope_local_base_freq",
    "rotary_emb_base",
)
"""Numbers that divide, or are raised to a power."""
TREE_DEPTH = 3
SHOWN = 60


def config_faults(config: Mapping[str, object]) -> list[str]:
    """What config.json holds that no model here can have, each with its key."""
    faults = []
    for key, value in config.items():
        fault = _fault(key, value)
        if fault is not None:
            faults.append(f"{shown(key)}: {fault}")
    heads, hidden = _one(config, "num_attention_heads", "n_heads", "n_head"), _one(config, "hidden_size", "dim", "n_embd")
    built = config.get("built")
    if isinstance(built, Mapping):  # narrowed here: heads are those of the wider model
        hidden = _one(built, "hidden_size")
    if not faults and heads and hidden and hidden % heads and not config.get("head_dim"):
        faults.append(f"num_attention_heads: {heads} heads do not divide a hidden size of {hidden}")
    groups = _one(config, "num_key_value_heads")
    if not faults and heads and groups and heads % groups:
        faults.append(f"num_key_value_heads: {groups} heads of keys and values do not divide {heads} heads")
    return faults


def passed_on(config: Mapping[str, object], reserved: Collection[str]) -> dict[str, object]:
    """What transformers is given of a sound configuration. `reserved`: names that its class has."""
    return {
        key: passed_on(value, reserved) if KEYS.get(key) == "part" and isinstance(value, dict) else value
        for key, value in config.items()
        if key not in BACKBONE
        and (key in KEYS or (not _ours(key, reserved) and (_plain(value) or _plain_list(value) or value == {})))
    }


def attention_fault(key: str, value: object) -> str | None:
    """Why a file must not say what `key`, which is for attention, says; None where it is another key, or names only what transformers has."""
    if not ATTENTION.fullmatch(key) or any(value is known or value == known for known in OWN_ATTENTION):
        return None
    return (
        f"{shown(value)}: code for attention, which transformers would fetch; it is chosen here (eager or sdpa), so take it out"
    )


def shown(value: object) -> str:
    """A value of a file as a message repeats it."""
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _fault(key: str, value: object) -> str | None:
    if key in CODE:
        return None if value in (None, {}, []) else f"{CODE[key]}; take it out, or use a model without it"
    if ATTENTION.fullmatch(key):
        return attention_fault(key, value)
    if key in KEYS:
        check, wanted = CHECKS[KEYS[key]]
        if KEYS[key] == "part" and isinstance(value, dict):
            return next(iter(config_faults(value)), None)
        if (value is None and (key in NO_SIZE or KEYS[key] != "size") and key != "model_type") or check(key, value):
            return None
        wanted = wanted if KEYS[key] != "size" else f"a whole number from 1 to {LARGEST_SIZES[key]:,}"
        return f"{shown(value)} is not {wanted}"
    if key in RECORDS or _plain(value) or _plain_list(value) or value == {}:
        return None
    return (
        f"{shown(value)}: no setting of transformers that is known here, and it could name code or a place; take it out where nothing "
        "needs it"
    )


def _ours(key: str, reserved: Collection[str]) -> bool:
    """Whether a file must not set what is called so."""
    return key in reserved or key in CODE or key.startswith("_") or bool(ATTENTION.fullmatch(key))


def _plain_list(value: object) -> bool:
    return isinstance(value, list) and all(map(_plain, value))


def _one(config: Mapping[str, object], *keys: str) -> int | None:
    return next((value for key in keys if type(value := config.get(key)) is int), None)


def _plain(value: object) -> bool:
    return value is None or isinstance(value, bool) or _number(value) or (isinstance(value, str) and _word(value))


def _word(text: str) -> bool:
    return bool(WORD.fullmatch(text) or RELEASE.fullmatch(text))


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= LARGEST_NUMBER  # type: ignore[arg-type]


def _size(key: str, value: object) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_SIZES[key]


def _count(key: str, value: object, least: int = 0) -> bool:
    return type(value) is int and least <= value < 1 << 31


def _id(key: str, value: object) -> bool:
    return _count(key, value, -(1 << 31))  # -1 and -100 stand for none


def _not_negative(key: str, value: object) -> bool:
    return _number(value) and (value > 0 if key in POSITIVE else value >= 0)  # type: ignore[operator]


def _share(key: str, value: object) -> bool:
    return _number(value) and 0 <= value <= 1  # type: ignore[operator]


def _numbers(key: str, value: object) -> bool:
    return all(_id(key, one) for one in (value if isinstance(value, list) else [value]))


def _words(key: str, value: object) -> bool:
    return all(isinstance(one, str) and WORD.fullmatch(one) for one in (value if isinstance(value, list) else [value]))


def _labels(key: str, value: object) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= MOST_LABELS
        and all(isinstance(name, str) or _number(name) for name in value.values())
    )


def _label_numbers(key: str, value: object) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= MOST_LABELS
        and all(_number(one) or _words(key, one) for one in value.values())
    )


def _tree(key: str, value: object, depth: int = TREE_DEPTH) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_tree(key, one, depth - 1) for one in value.values())
    return _plain_list(value) or _plain(value)


def _sides(key: str, value: object) -> bool:
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    return all(type(one) is int and 1 <= one <= MOST_SIDE for one in sides)


def _functions(key: str, value: object) -> bool:
    return all(
        isinstance(one, str) and FUNCTION.fullmatch(one) for one in (value.values() if isinstance(value, dict) else [value])
    )


CHECKS: Mapping[str, tuple[Callable[[str, object], bool], str]] = {
    "size": (_size, "a size"),
    "id": (_id, "a whole number of 32 bits"),
    "count": (_count, "a whole number of 31 bits from 0 on"),
    "share": (_share, "a number from 0 to 1"),
    "number": (_not_negative, "a number from 0 on, above 0 where it divides"),
    "activation": (lambda key, value: isinstance(value, str) and value in ACTIVATIONS, "an activation that transformers has"),
    "flag": (lambda key, value: isinstance(value, bool), "true or false"),
    "word": (lambda key, value: isinstance(value, str) and bool(WORD.fullmatch(value)), "a word"),
    "words": (_words, "a list of words"),
    "numbers": (_numbers, "a whole number, or a list of them"),
    "labels": (_labels, f"an object of at most {MOST_LABELS:,} numbers and labels"),
    "label numbers": (_label_numbers, f"an object of at most {MOST_LABELS:,} labels and numbers"),
    "sides": (_sides, f"a whole number from 1 to {MOST_SIDE:,}, or two of them"),
    "tree": (_tree, "an object of numbers and words"),
    "part": (lambda key, value: isinstance(value, dict), "an object"),
    "functions": (_functions, "the name of a function, or an object of them"),
}
