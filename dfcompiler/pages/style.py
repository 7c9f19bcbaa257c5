"""How figures look: colours that are told apart with any colour vision, dark text on a light ground, SI units."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil, floor, log10
from typing import Any

from dfcompiler.pages.blocks import Json

# Okabe and Ito, "Color Universal Design" (2008), dark enough ones first.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7B00", "#555555")
INK, QUIET, LINE, GROUND, FAINT = "#1f2328", "#57606a", "#d0d7de", "#ffffff", "#eef1f4"
FONT = 'system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", sans-serif'
# Viridis (Smith and van der Walt, 2015), even in lightness, without its end that is too light for a white ground.
SCALE = ((0.0, "#440154"), (0.25, "#443983"), (0.5, "#31688e"), (0.75, "#21918c"), (1.0, "#5ec962"))
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
SYMBOL_SIZE = 9
LEGEND = {
    "orientation": "h",
    "x": 0,
    "y": 1,
    "yanchor": "bottom",
    "xanchor": "left",
    "traceorder": "normal",
    "itemsizing": "constant",
}
FEW = 2.5  # powers of ten


def layout(height: int, *, legend: bool = True, **more: Any) -> Json:
    """The layout of a figure so many pixels high, with what it has of its own."""
    found = {
        "height": height,
        "autosize": True,
        "margin": {"l": 70, "r": 24, "t": 36 if legend else 16, "b": 48},
        "font": {"family": FONT, "size": 12, "color": INK},
        "paper_bgcolor": GROUND,
        "plot_bgcolor": GROUND,
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": GROUND, "bordercolor": QUIET, "font": {"color": INK, "size": 12}},
        "showlegend": legend,
        "colorway": list(PALETTE),
    }
    return found | ({"legend": LEGEND} if legend else {}) | more


def axis(title: str = "", unit: str = "", **more: Any) -> Json:
    """An axis with its title; numbers carry the unit with its SI prefix where one is given."""
    found: Json = {
        "title": {"text": title, "standoff": 8},
        "gridcolor": FAINT,
        "linecolor": LINE,
        "zerolinecolor": LINE,
        "ticks": "outside",
        "tickcolor": LINE,
        "automargin": True,
    }
    if unit:
        found |= {"ticksuffix": unit, "exponentformat": "SI", "minexponent": 1, "separatethousands": True}
    return found | more


def decades(low: float, high: float, say: Callable[[float], str], **more: Any) -> Json:
    """What makes an axis logarithmic from `low` to `high`: ticks at powers of ten, or at 1, 2 and 5 times these where
    there are few, in words of `say`."""
    steps = (1, 2, 5) if log10(high / low) < FEW else (1,)
    ticks = [n * 10.0**k for k in range(floor(log10(low)), ceil(log10(high)) + 1) for n in steps]
    said = {"tickvals": ticks, "ticktext": [say(float(f"{x:.1g}")) for x in ticks]}
    return {"type": "log", "range": [log10(low), log10(high)], **said, **more}


def grounds(many: int, high: float, ref: str) -> list[Json]:
    """The ground of so many lanes, each as high as its fullest bar: shapes on the axis `ref`."""
    return [
        {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "yref": ref, "y0": i - high / 2, "y1": i + high / 2,
         "fillcolor": FAINT, "line": {"width": 0}, "layer": "below"}
        for i in range(many)
    ]  # fmt: skip


def seconds_axis(**more: Any) -> Json:
    """An axis of time from the start of a step."""
    return axis("time from the start of the step", "s", **more)


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in their order."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(dict.fromkeys(names))}


def faded(colour: str, share: float) -> str:
    """`#0072B2` with an opacity, as `rgba(...)`."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share:g})"
