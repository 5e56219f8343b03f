"""Where this system fetches its packages from: the entries of apt's own lists, and the one that another release can be had from."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.errors import NotPossibleHere

__all__ = ["Entry", "archive", "parse_deb822", "parse_list", "release", "system_entries"]


@dataclass(frozen=True)
class Entry:
    """One archive that packages come from."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()
    """Everything else that matters to trust and reach, by apt's deb822 names: Signed-By, Trusted, ..."""

    def deb822(self) -> str:
        """The entry as apt reads it from a `.sources` file."""
        fields = [("Types", "deb"), ("URIs", " ".join(self.uris)), ("Suites", " ".join(self.suites))]
        return "".join(
            f"{name}: {value}\n" for name, value in [*fields, ("Components", " ".join(self.components)), *self.options]
        )


KEPT = {
    "signed-by": "Signed-By",
    "trusted": "Trusted",
    "check-valid-until": "Check-Valid-Until",
    "allow-insecure": "Allow-Insecure",
}
"""Options that go with a mirror, whatever is fetched from it; architectures and the like are of this system alone."""


def parse_list(text: str) -> list[Entry]:
    """The `deb` lines of a one-line-style list; comments, source packages and lines of another shape are passed over."""
    found = []
    for line in text.splitlines():
        words = line.partition("#")[0].split(maxsplit=1)
        if len(words) < 2 or words[0] != "deb":
            continue
        rest = words[1].strip()
        options: tuple[tuple[str, str], ...] = ()
        if rest.startswith("["):
            inside, closed, rest = rest[1:].partition("]")
            if not closed:
                continue
            pairs = (word.partition("=") for word in shlex.split(inside))
            options = tuple((KEPT[name.lower()], value) for name, _, value in pairs if name.lower() in KEPT)
        parts = rest.split()
        if len(parts) >= 3:
            found.append(Entry((parts[0],), (parts[1],), tuple(parts[2:]), options))
    return found


def parse_deb822(text: str) -> list[Entry]:
    """The enabled `deb` stanzas of a `.sources` file."""
    found = []
    for stanza in _stanzas(text):
        types, wanted = stanza.get("types", "").split(), ("uris", "suites", "components")
        if "deb" not in types or stanza.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        if all(stanza.get(name) for name in wanted):
            uris, suites, components = (tuple(stanza[name].split()) for name in wanted)
            options = tuple((KEPT[name], value) for name, value in stanza.items() if name in KEPT)
            found.append(Entry(uris, suites, components, options))
    return found


def _stanzas(text: str) -> list[dict[str, str]]:
    """Fields by lower-case name; a line that begins with a space goes on with the field above, `#` lines are comments."""
    stanzas: list[dict[str, str]] = [{}]
    last = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            stanzas.append({})
        elif line[0] in " \t":
            if last in stanzas[-1]:
                stanzas[-1][last] += "\n" + line
        else:
            name, _, value = line.partition(":")
            last = name.strip().lower()
            stanzas[-1][last] = value.strip()
    return [stanza for stanza in stanzas if stanza]


def system_entries(etc: Path = Path("/etc/apt")) -> list[Entry]:
    """Every entry that apt reads on this system, in its order."""
    found = []
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        if path.suffix in {".list", ".sources"} and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            found += parse_deb822(text) if path.suffix == ".sources" else parse_list(text)
    return found


def release(text: str) -> dict[str, str]:
    """The fields of /etc/os-release."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): "".join(shlex.split(value)) for name, _, value in pairs}


def archive(entries: list[Entry], codename: str, suite: str) -> Entry:
    """The entry that this system gets its own release from, asked for `suite` instead, its main component alone.

    Raises:
        NotPossibleHere: no entry names this system's release.
    """
    for entry in entries:
        if codename in entry.suites and "main" in entry.components:
            return replace(entry, suites=(suite,), components=("main",))
    raise NotPossibleHere(
        f"no archive of {codename} is among this system's package sources",
        where="/etc/apt",
        fix="add a `deb` entry of the system's own release, or run the lane on a machine that has one",
    )
