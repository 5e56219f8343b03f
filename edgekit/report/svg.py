"""From a matplotlib figure to SVG inside a page: no fixed size, the page's fonts, and colours that follow light and dark.

Colours are drawn as placeholders and replaced by CSS variables in the text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["drawing", "inline_svg"]

PLACEHOLDERS = {
    "ink": "#010101",
    "quiet": "#020202",
    "grid": "#030303",
    "base": "#040404",
    "chain": "#050505",
    "best": "#060606",
    "paper": "#070707",
}
STYLE = {
    "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.axisbelow": True, "figure.dpi": 72,
}  # fmt: skip


@contextmanager
def drawing(draw: Callable[[], Figure], salt: str = "") -> Iterator[Figure]:
    """The figure that `draw` makes, under the reports' style, which ends with the block."""
    import matplotlib

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing"
        )  # the page's fonts have more glyphs than the one that labels are measured with
        yield draw()


def inline_svg(draw: Callable[[dict[str, str]], Figure], salt: str) -> str:
    """What `draw` draws with the colours it is given, as an <svg> element that fits into a page; the same figure, the same text."""
    text = io.StringIO()
    with drawing(lambda: draw(PLACEHOLDERS), salt) as figure:
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(text.getvalue())


def _inline(text: str) -> str:
    """Only the element, without namespaces, metadata or fixed size; colours as CSS variables, fonts the page's own."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box is not None, "matplotlib writes a viewBox"
    text = re.sub(r"<svg[^>]*>", f'<svg viewBox="{box[1]}" aria-hidden="true" focusable="false">', text, count=1)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL).replace("xlink:href", "href")
    used = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)  # else two pictures share names
    for name, colour in PLACEHOLDERS.items():
        text = text.replace(colour, f"var(--{name})")
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)  # it would style the whole page
    text = re.sub(r" font-family: [^;\"]+;", "", text)
    return re.sub(r"\n\s*", "\n", text).strip() + "\n"
