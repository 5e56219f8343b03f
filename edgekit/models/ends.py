"""Which tokens end and begin a text, as a checkpoint's files say and as transformers takes them.

`generation_config.json` decides alone where there is one; config.json does where there is none (transformers,
GenerationConfig.from_pretrained). Numbers that no token has are never met, so that they are left out, as are duplicates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SETTINGS", "Ends", "ends_of", "generation_faults", "repetition_penalty_of"]

SETTINGS = "generation_config.json"
NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "num_beams": (1,), "num_beam_groups": (1,), "penalty_alpha": (0,), "no_repeat_ngram_size": (0,), "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,), "min_length": (0,), "min_new_tokens": (0,), "guidance_scale": (1,), "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],), "bad_words_ids": ([],), "sequence_bias": ({}, []), "forced_bos_token_id": (), "forced_eos_token_id": (),
    "forced_decoder_ids": ([],), "exponential_decay_length_penalty": (), "stop_strings": ([], ""), "watermarking_config": (), "dola_layers": (),
    "remove_invalid_values": (False,), "renormalize_logits": (True, False),
}  # fmt: skip
"""Setting of `generate` that a bundle does not have -> its values that change nothing; null never does."""


@dataclass(frozen=True)
class Ends:
    """Token ids, as files give them, duplicates and what is below 0 left out."""

    eos: tuple[int, ...]
    """Ids that end an answer, in order."""
    bos: int | None
    """Id that begins a text."""
    faults: tuple[str, ...]
    """What is not a token id, with file and key."""

    def within(self, tokens: int) -> Ends:
        """The same without ids that none of `tokens` tokens has."""
        bos = self.bos if self.bos is not None and self.bos < tokens else None
        return Ends(tuple(number for number in self.eos if number < tokens), bos, self.faults)


def repetition_penalty_of(config: Mapping[str, object], settings: Mapping[str, object] | None) -> float | None:
    """The penalty that transformers' `generate` applies by itself; None where it applies none."""
    value = (settings if settings is not None else config).get("repetition_penalty")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value != 1 else None


def generation_faults(config: Mapping[str, object], settings: Mapping[str, object] | None) -> list[str]:
    """Settings by which transformers' `generate` gives other greedy answers and that a bundle does not have."""
    file, source = (SETTINGS, settings) if settings is not None else ("config.json", config)
    return [
        f"model: {file}, {key} = {str(source[key])[:60]}: transformers' generate follows it, and a bundle does not; take it out where you do not "
        "need it"
        for key, neutral in NEUTRAL.items()
        if source.get(key) is not None and source[key] not in neutral
    ]


def ends_of(config: Mapping[str, object], settings: Mapping[str, object] | None) -> Ends:
    """The ids of a checkpoint. `config`: what its config.json holds; `settings`: its generation_config.json, None where there is none."""
    file, source = (SETTINGS, settings) if settings is not None else ("config.json", config)
    given = source.get("eos_token_id")
    numbers = given if isinstance(given, list) else [] if given is None else [given]
    faults = []
    if not all(type(number) is int for number in numbers):
        faults.append(
            f"model: {file}, eos_token_id: {str(given)[:60]} is not a token id, nor a list of them; write the numbers that end a text"
        )
    begin = config.get("bos_token_id")
    if begin is not None and type(begin) is not int:
        faults.append(f"model: config.json, bos_token_id: {str(begin)[:60]} is not a token id; write a number or null")
    eos = dict.fromkeys(number for number in numbers if type(number) is int and number >= 0)
    return Ends(tuple(eos), begin if type(begin) is int and begin >= 0 else None, tuple(faults))
