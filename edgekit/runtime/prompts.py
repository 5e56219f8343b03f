"""What a model of embeddings was trained to have before its texts, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.runtime.errors import BadInput

__all__ = ["Prompts"]


@dataclass(frozen=True)
class Prompts:
    """Prompts by name, as sentence-transformers keeps them."""

    texts: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None
    """Name of the one that is put before a text where none is asked for; None: nothing is."""

    def before(self, name: object = None) -> str:
        """The prompt called `name`; the default one for None.

        Raises:
            BadInput: there is none of this name.
        """
        wanted = self.default if name is None else name
        if wanted is None:
            return ""
        if not isinstance(wanted, str) or wanted not in self.texts:
            known = ", ".join(map(repr, self.texts)) or "none"
            raise BadInput(f"no prompt {str(wanted)[:40]!r}", where="prompt_name", fix=f"leave it out, or name one of: {known}")
        return self.texts[wanted]
