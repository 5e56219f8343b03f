"""Which tokens end and begin a text, as a checkpoint's files say and as transformers takes them.

`generation_config.json` decides alone where there is one; config.json does where there is none (transformers,
GenerationConfig.from_pretrained). Numbers that no token has are never met, so that they are left out, as are duplicates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SETTINGS", "Ends", "ends_of"]

SETTINGS = "generation_config.json"


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
