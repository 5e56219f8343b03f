"""The built-in corpus `intents`: what people say to their house, generated from a seed."""

from edgekit.data.intents.corpus import SMALLEST, VERSION, generate

__all__ = ["SMALLEST", "VERSION", "generate"]
