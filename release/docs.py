"""`make docs`: the site of docs/, with SECURITY, CONTRIBUTING, CHANGELOG and the pages of benchmarks/ that it leads to.

    python -m release.docs --out build/docs      # build/docs/html/index.html

Sphinx reads the Markdown where it lies, so that links are the same on the site and in the repository. Whatever it warns of, such as a link to
a page or a section that is not there, ends the build, and so does a page that would load anything from another host.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer import Context
from typer.main import get_command

import edgekit
from edgekit.cli.app import app as command_line
from edgekit.cli.reference import filled

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["loaded_from_elsewhere", "main", "make_site"]

ROOT = Path(__file__).resolve().parents[1]
FRONT = "docs/index"
SETTINGS: dict[str, Any] = {
    "project": "edgekit",
    "author": "The edgekit authors",
    "copyright": "The edgekit authors, Apache-2.0",
    "release": edgekit.__version__,
    "root_doc": FRONT,
    "include_patterns": ["docs/**.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/**README.md"],
    "exclude_patterns": [".*", "build", "dist", "edgekit", "lanes", "tests", "recipes", "targets", "release", "shared"],
    "extensions": ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"],
    "source_suffix": {".md": "markdown"},
    "myst_heading_anchors": 4,
    "myst_enable_extensions": ["colon_fence"],
    "default_role": "code",
    "html_theme": "furo",
    "html_title": f"edgekit {edgekit.__version__}",
    "html_show_sphinx": False,
    "html_copy_source": False,
    "autodoc_typehints": "description",
    "autodoc_typehints_description_target": "documented",
    "autodoc_preserve_defaults": True,
    "python_display_short_literal_types": True,
    "add_module_names": False,
}
ELSEWHERE = re.compile(
    r"""<(?:script|img|iframe|source|audio|video)\b[^>]*?\bsrc=["'](?:https?:)?//|<link\b(?=[^>]*?\brel=["'](?:stylesheet|preconnect|icon|preload))[^>]*?\bhref=["'](?:https?:)?//"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//|url\(\s*["']?(?:https?:)?//""",
    flags=re.IGNORECASE,
)
"""What makes a browser load something from a host that the page names."""


def make_site(out: Path) -> int:
    """Build the site into OUT/html; returns how many things Sphinx warned of."""
    from sphinx.application import Sphinx

    app = Sphinx(
        srcdir=ROOT, confdir=None, outdir=out / "html", doctreedir=out / "doctrees", buildername="html", confoverrides=SETTINGS, freshenv=True,
        status=None, warningiserror=True,
    )  # fmt: skip
    app.connect("source-read", _fill)
    app.build()
    (out / "html" / "index.html").write_text(
        f'<!doctype html><meta charset="utf-8"><title>edgekit</title><meta http-equiv="refresh" content="0; url={FRONT}.html">\n',
        encoding="utf-8",
    )
    return app._warncount


def _fill(app: Sphinx, page: str, text: list[str]) -> None:
    """What Sphinx reads of a page: with its generated parts."""
    text[0] = filled(text[0], Context(get_command(command_line), info_name="edgekit"))


def loaded_from_elsewhere(site: Path) -> list[str]:
    """Each place in pages and styles of `site` that would load something from another host."""
    return [
        f"{path.relative_to(site)}: {match[0]}"
        for path in sorted(site.rglob("*"))
        if path.suffix in (".html", ".css")
        for match in ELSEWHERE.finditer(path.read_text(encoding="utf-8"))
    ]


def main(arguments: list[str] | None = None) -> int:
    """Build and check; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs")
    asked = parser.parse_args(arguments)
    warned = make_site(asked.out)
    loads = loaded_from_elsewhere(asked.out / "html")
    for line in loads:
        print(f"loads from another host: {line}", file=sys.stderr)
    if warned or loads:
        print(
            f"the site has {warned} faults of Sphinx's and {len(loads)} of loading from other hosts, all told above",
            file=sys.stderr,
        )
        return 1
    print(f"the site: {asked.out / 'html' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
