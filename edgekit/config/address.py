"""Addresses of databases and stores that a person gives, as messages may show them."""

from __future__ import annotations

import re

__all__ = ["without_password"]

PASSWORD = re.compile(
    r"(?P<before>://[^/@:]*:).*(?=@)|(?P<named>[?&][^=&]*(?:password|secret|token)[^=&]*=)[^&]*", re.IGNORECASE
)


def without_password(address: str) -> str:
    """The address with *** in the place of a password: messages end in logs."""
    return PASSWORD.sub(lambda found: f"{found['before'] or found['named']}***", address)
