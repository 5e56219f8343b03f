"""The host and port that a request names, parsed by RFC 3986, 3.2.2, and which names mean this machine alone."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

__all__ = ["Authority", "canonical", "is_local", "parse_authority", "same_origin"]

FORM = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[0-9A-Za-z._-]{1,255}))(?::(?P<port>[0-9]{0,5}))?")
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Authority:
    """A host and a port."""

    name: str
    """As `canonical` has it."""
    port: int | None


@lru_cache(256)
def parse_authority(text: str) -> Authority | None:
    """The host and port in `text`; None where it is anything else: a user's name before them, a path, a zone, two ports."""
    found = FORM.fullmatch(text)
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else None
    name = canonical(found["six"] or found["name"])
    if port is not None and port > 65535:
        return None
    if found["six"]:
        try:
            IPv6Address(found["six"])
        except ValueError:
            return None
    return Authority(name, port)


def canonical(name: str) -> str:
    """A name or an address in the one form that is compared: lower case, no dot at the end, addresses as Python writes them."""
    name = name.lower().removesuffix(".")
    try:
        return str(ip_address(name.removeprefix("[").removesuffix("]").partition("%")[0]))
    except ValueError:
        return name


def is_local(name: str, names: Collection[str] = ()) -> bool:
    """Whether `name`, canonical, is one of `names` or means this machine alone: localhost and names below it, and loopback addresses."""
    return name in names or _loopback(name)


@lru_cache(256)
def _loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def same_origin(origin: str, host: str) -> bool:
    """Whether the web page at `origin` came from `host`, which it was asked at."""
    scheme, separator, rest = origin.partition("://")
    page, here = parse_authority(rest), parse_authority(host)
    if not separator or scheme.lower() not in PORTS or page is None or here is None or page.name != here.name:
        return False
    default = PORTS[scheme.lower()]
    return (page.port or default) == (here.port or default)
