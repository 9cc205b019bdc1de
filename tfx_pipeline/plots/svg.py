"""From a Matplotlib figure to a small SVG that sits in the page, in light and in dark."""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

INK = "#010203"
"""Becomes the page's text colour, so that axes are readable in light and in dark."""

WIDTH = 330.0
"""Width of a plot in CSS pixels: that of a phone's screen. Wider ones scroll in their box."""

_TOP, _RIGHT = 8.0, 18.0
_STYLE = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    # The same page has the same bytes.
    "svg.hashsalt": "equipoise",
    "text.color": INK,
    # Names of tasks and scenarios are no formulas, whatever signs they hold.
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.labelsize": 9,
    "ytick.color": INK,
    "ytick.labelsize": 9,
}


class Plot(NamedTuple):
    """A plot of the page.

    Args:
      title: One line above it.
      svg: An `<svg>` element, whose ids are its own.
      width: Width, in CSS pixels, below which its text is not legible.
    """

    title: str
    svg: str
    width: float


def plot(
    title: str,
    draw: Callable[[Axes], None],
    *,
    about: str,
    width: float = WIDTH,
    height: float = 250.0,
    left: float = 58.0,
    bottom: float = 42.0,
) -> Plot:
    """Draws one plot.

    Margins are given and not worked out: that takes Matplotlib as long as drawing, and frames of
    plots side by side stand in line.

    Args:
      title: One line above it.
      draw: Draws on the axes it is given.
      about: What there is to see, for those who do not see it.
      width: In CSS pixels.
      height: Likewise.
      left: Room for the labels on the left, likewise.
      bottom: Room for those below.
    """
    with mpl.rc_context(_STYLE):
        # The SVG has 72 units an inch.
        figure = Figure(figsize=(width / 72, height / 72))
        frame = (left, bottom, width - left - _RIGHT, height - bottom - _TOP)
        axes = figure.add_axes(
            (frame[0] / width, frame[1] / height, frame[2] / width, frame[3] / height)
        )
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return Plot(title, _embedded(out.getvalue(), f"{title}: {about}"), width)


def number_axis(axis: Axis, unit: str = "") -> None:
    """Puts few and round numbers on an axis.

    Args:
      axis: Changed.
      unit: `%` for shares, `+` for changes, which then show their sign.
    """

    def text(value: float, _: int) -> str:
        if unit == "%":
            return f"{100 * value:.4g}%"
        return f"{value:+.4g}".replace("-", "−") if unit == "+" and value else f"{value:.4g}"

    axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(text))


def text_width(labels: Iterable[str]) -> float:
    """Room in CSS pixels for the widest of some tick labels."""
    return 5.7 * max(map(len, labels), default=0)


def _embedded(document: str, label: str) -> str:
    """The `<svg>` element of a document, made small and fit to stand beside others."""
    svg = document[document.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    (box,) = re.findall(r'viewBox="([^"]*)"', svg)
    prefix = hashlib.sha256((label + svg).encode()).hexdigest()[:8]
    svg = re.sub(r"<[^>]*>", lambda tag: _tidy(tag[0], prefix), svg)
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r">\s+<", "><", svg).replace(INK, "currentColor")
    opening = f'<svg viewBox="{box}" role="img" aria-label="{html.escape(label)}">'
    return opening + svg[svg.index(">") + 1 :]


def _tidy(tag: str, prefix: str) -> str:
    """One tag with rounded coordinates, ids of its own, and the page's font."""
    tag = re.sub(r"(opacity: )?(\d+\.\d{3,})", _rounded, tag)
    tag = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{prefix}-", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    return tag.replace("xlink:href", "href").replace("\n", " ")


def _rounded(number: re.Match[str]) -> str:
    if number[1]:
        return f"{number[1]}{float(number[2]):.2f}"
    return f"{float(number[2]):.1f}".removesuffix(".0")
