"""Package sources as systems write them, and the configuration that a lane's apt reads instead."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgekit.errors import NotPossibleHere
from lanes import apt
from lanes.sources import Entry, archive, parse_deb822, parse_list, release, system_entries
from tests.waiting import PATIENCE_SECONDS

ONE_LINE = """
# deb http://old.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib  # the base
deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/a.gpg trusted=yes] http://mirror.example/debian bookworm-updates main
deb-src http://mirror.example/debian bookworm main
deb [broken http://mirror.example/debian bookworm main
deb http://mirror.example/flat ./
"""
STANZAS = """# a mirror of ours
Types: deb deb-src
URIs: http://one.example/debian http://two.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Architectures: amd64
Signed-By: /usr/share/keyrings/a.gpg

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://src.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://key.example/debian
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQIN
"""


def test_one_line_lists() -> None:
    base, updates = parse_list(ONE_LINE)
    assert base == Entry(("http://mirror.example/debian",), ("bookworm",), ("main", "contrib"))
    assert updates.options == (("Signed-By", "/usr/share/keyrings/a.gpg"), ("Trusted", "yes"))


def test_stanzas() -> None:
    first, last = parse_deb822(STANZAS)
    assert first.uris == ("http://one.example/debian", "http://two.example/debian") and first.suites[1] == "bookworm-updates"
    assert first.options == (("Signed-By", "/usr/share/keyrings/a.gpg"),), "architectures are this system's own"
    assert "mQIN" in dict(last.options)["Signed-By"]


def test_what_is_written_is_read_back() -> None:
    for entry in parse_deb822(STANZAS) + parse_list(ONE_LINE):
        assert parse_deb822(entry.deb822()) == [entry]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "deb", "deb [", "nonsense", " : ", "Types: deb\nURIs:\nSuites: a\nComponents: b", "\x00"]
)
def test_any_text_is_survived(text: str) -> None:
    assert parse_list(text) == parse_deb822(text) == []


def test_another_release_comes_from_the_same_place(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://other.example/tool stable main\n")
    (tmp_path / "sources.list.d/a.sources").write_text(STANZAS)
    (tmp_path / "sources.list.d/b.list.disabled").write_text("deb http://no.example/debian bookworm main\n")
    entries = system_entries(tmp_path)
    assert [entry.uris[0] for entry in entries] == [
        "http://other.example/tool",
        "http://one.example/debian",
        "http://key.example/debian",
    ]
    found = archive(entries, "bookworm", "trixie")
    assert found.suites == ("trixie",) and found.components == ("main",) and found.uris == entries[1].uris
    assert found.options == entries[1].options
    with pytest.raises(NotPossibleHere, match="no archive of jammy"):
        archive(entries, "jammy", "trixie")
    assert system_entries(tmp_path / "nothing") == []


def test_os_release() -> None:
    assert release('# c\nID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n\nodd\n') == {
        "ID": "debian",
        "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)",
    }


def test_apt_keeps_what_reaches_the_mirror_and_no_hook(tmp_path: Path) -> None:
    system = 'Acquire::http::Proxy "http://proxy.example:3128";\nAPT::Update::Post-Invoke:: "rm -f /var/cache/apt/*.bin";\n'
    text = apt.configuration(system, tmp_path, "arm64")
    assert "proxy.example" in text and "rm -f" not in text
    assert f'Dir::State "{tmp_path}/state";' in text and 'APT::Architectures { "arm64"; };' in text


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["no-such-program-here"], "there is no no-such-program-here"),
        (["sh", "-c", "echo the mirror is away >&2; exit 100"], "failed with 100\n  - the mirror is away"),
        (["sleep", "60"], "took more than 0 s"),
    ],
)
def test_what_cannot_be_fetched_ends_with_3(command: list[str], says: str) -> None:
    with pytest.raises(NotPossibleHere) as fault:
        apt.run(command, seconds=0.3 if "took more" in says else PATIENCE_SECONDS)
    assert says in fault.value.text() and fault.value.exit_code == 3


def test_facts_of_a_package(tmp_path: Path) -> None:
    (tmp_path / "tiny/DEBIAN").mkdir(parents=True)
    (tmp_path / "tiny/usr").mkdir()
    (tmp_path / "tiny/usr/hello").write_text("hello")
    control = "Package: tiny\nVersion: 1:2.0-1\nArchitecture: arm64\nMaintainer: a <a@example.org>\nDescription: tiny\n"
    (tmp_path / "tiny/DEBIAN/control").write_text(control)
    try:
        subprocess.run(
            ["dpkg-deb", "--build", str(tmp_path / "tiny"), str(tmp_path / "tiny.deb")], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("no dpkg-deb here")
    found = apt.facts(tmp_path / "tiny.deb")
    assert (found["package"], found["version"], found["architecture"]) == ("tiny", "1:2.0-1", "arm64") and len(
        found["sha256"]
    ) == 64
    apt.unpack(tmp_path / "tiny.deb", tmp_path / "root")
    assert (tmp_path / "root/usr/hello").read_text() == "hello"
