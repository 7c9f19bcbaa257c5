"""The roofline: every op by its arithmetic per byte of DRAM and its rate, under the roofs of the units and the DRAM.

Williams, Waterman and Patterson, "Roofline" (2009). A multiply-accumulate counts as two operations. What has no
arithmetic, or touches no DRAM, stands in a strip below, by the bytes per second that it moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any, NamedTuple

from dfcompiler.amounts import large
from dfcompiler.dtypes import bits
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.template import Memory
from dfcompiler.pages.blocks import Figure, Json
from dfcompiler.pages.lanes import about_op
from dfcompiler.pages.step import Step
from dfcompiler.pages.style import GROUND, INK, PALETTE, QUIET, SYMBOL_SIZE, SYMBOLS, axis, decades, layout

Op = Mapping[str, Any]
SIZES = (7.0, 26.0)  # pixels of the least and the most time
DASHES = ("solid", "dash", "dot", "dashdot")
HIGH, STRIP = 520, 110  # pixels of the roofline and of the strip below it
GAP = 0.14  # between them, of the whole
NARROW, WIDE = 4, 16  # bits of the operands for which units have rates of their own
ABOUT = (
    "The area of a mark is the time of all runs of the op, its shape the unit.{} Point at one for its numbers, click "
    "it to find it in the table."
)
BELOW = " The {} ops in the strip have no arithmetic, or touch no DRAM: they stand by their bytes per second."


class Roof(NamedTuple):
    """What a unit can do at most with operands of so many bits, in operations per second."""

    unit: str
    bits: int
    rate: float

    @property
    def label(self) -> str:
        """In words."""
        return f"{self.unit}, {self.bits} bits: {large(self.rate, 'op/s')}"


def span(op: Op) -> float:
    """Seconds of one run."""
    return float(op["end_s"] - op["start_s"])


def place_of(op: Op, dram: str) -> tuple[float, float] | None:
    """Operations per byte of DRAM, and operations per second; None without arithmetic or without bytes."""
    moved = op["bytes"].get(dram, 0.0)
    if not op["flops"] or not moved or not span(op):
        return None
    return op["flops"] / moved, op["flops"] / span(op)


def moved_per_s(op: Op) -> float:
    """Bytes per second through the memory or link that sees most of them."""
    return max(op["bytes"].values(), default=0.0) / span(op)


def roofs(step: Step) -> list[Roof]:
    """Of units that ran something, at the widths of numbers in the step where rates differ, from the highest down."""
    chip = step.mapped.chip
    used = {op["unit"] for op in step.ops} | {op["helper"] for op in step.ops}
    types = {t.type.dtype for t in step.mapped.graph.tensors.values() if t.type.within is None}
    widths = sorted({min(WIDE, max(NARROW, ceil(bits(t.partition("-")[0])))) for t in types}, reverse=True)
    found: dict[tuple[str, float], Roof] = {}
    for unit in (u for u in chip.units.values() if u.name in used):
        for width in widths:
            rate = 2 * float(unit.template.peak_macs_at(width)) * unit.instances * chip.clock_hz
            if rate:
                found.setdefault((unit.name, rate), Roof(unit.name, width, rate))
    return sorted(found.values(), key=lambda r: -r.rate)


def bandwidths(chip: Chip) -> dict[str, float]:
    """Bytes per second of the DRAM, the most first: of units on its die where these have more, and of all others."""
    name, most = chip.dram.name, chip.dram_bytes_per_s
    assert isinstance(chip.dram.template, Memory)
    outside = float(chip.dram.template.outside_bytes_per_cycle(chip.clock_hz)) * chip.clock_hz
    return {f"{name} from within": most, name: outside} if outside < most else {name: most}


def roofline(step: Step) -> Figure:
    """The figure; a marker's area is the time of all runs of an op."""
    dram, slopes, above = step.mapped.chip.dram.name, bandwidths(step.mapped.chip), roofs(step)
    slope = max(slopes.values())
    on = [(i, at) for i, op in enumerate(step.ops) if (at := place_of(op, dram))]
    off = [i for i, op in enumerate(step.ops) if not place_of(op, dram) and span(op) and moved_per_s(op)]
    across = [*(x for _, (x, _) in on), *(r.rate / slope for r in above)] or [1.0]
    rates = [*(y for _, (_, y) in on), *(r.rate for r in above)] or [slope]
    low, high = min(across) / 3, max(across) * 4
    symbols = {n: SYMBOLS[i % len(SYMBOLS)] for i, n in enumerate(dict.fromkeys(op["unit"] for op in step.ops))}
    height = HIGH + (STRIP if off else 0)
    deep = STRIP / height if off else 0.0
    strip, notes = _strip(step, off, deep - 0.04) if off else ({}, [])
    return Figure(
        "roofline",
        "Operations over bytes",
        [
            *_lines(above, slopes, low, high),
            *_points(step, on, symbols),
            *_moves(step, off, symbols),
            *_shapes(symbols),
        ],
        layout(
            height,
            dragmode="zoom",
            xaxis=axis("operations per byte of DRAM", **decades(low, high, lambda v: f"{v:,.10g}")),
            yaxis=axis(
                "operations per second",
                domain=[deep + GAP if off else 0, 1],
                **decades(min(rates) / 3, max(rates) * 3, lambda v: large(v, "op/s")),
            ),
            annotations=[*_names(above, slopes, low, high), *notes],
            **strip,
        ),
        about=ABOUT.format(BELOW.format(len(off)) if off else ""),
        finds="ops",
    )


def _lines(above: Sequence[Roof], slopes: Mapping[str, float], low: float, high: float) -> Iterator[Json]:
    top = max((r.rate for r in above), default=max(slopes.values()) * high)
    for i, slope in enumerate(slopes.values()):
        yield _line([low, top / slope], [low * slope, top], INK, DASHES[i])
    for i, r in enumerate(above):
        at = r.rate / max(slopes.values())
        yield _line([at, high], [r.rate, r.rate], PALETTE[-1 - i % 2], DASHES[i % len(DASHES)])


def _line(x: list[float], y: list[float], colour: str, dash: str) -> Json:
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "showlegend": False, "hoverinfo": "skip",
        "line": {"color": colour, "width": 2, "dash": dash},
    }  # fmt: skip


def _names(above: Sequence[Roof], slopes: Mapping[str, float], low: float, high: float) -> Iterator[Json]:
    """What the roofs are, written on them: those of units at their right ends, those of the DRAM at their feet."""
    for r in above:
        yield _written(r.label, log10(high), log10(r.rate), "right")
    for name, slope in slopes.items():
        yield _written(f"{name}: {large(slope, 'B/s')}", log10(low), log10(low * slope), "left") | {"yshift": 26}


def _written(text: str, x: float, y: float, side: str) -> Json:
    return {
        "text": text, "x": x, "y": y, "xanchor": side, "yanchor": "bottom", "showarrow": False,
        "font": {"size": 11}, "bgcolor": "rgba(255,255,255,0.8)",
    }  # fmt: skip


def _points(step: Step, on: Sequence[tuple[int, tuple[float, float]]], symbols: Mapping[str, str]) -> Iterator[Json]:
    for group, colour in step.colours.items():
        mine = [(i, at) for i, at in on if step.group(step.ops[i]) == group]
        if mine:
            yield _marks(step, [i for i, _ in mine], group, colour, symbols) | {
                "x": [x for _, (x, _) in mine], "y": [y for _, (_, y) in mine],
                "hovertext": [f"{about_op(step, i)}<br>{x:,.3g} operations per byte, {large(y, 'op/s')}"
                              for i, (x, y) in mine],
            }  # fmt: skip


def _marks(step: Step, mine: Sequence[int], group: str, colour: str, symbols: Mapping[str, str]) -> Json:
    whole = [span(op) * op["repeat"] for op in step.ops]
    sizes = [round(max(SIZES[0], SIZES[1] * (whole[i] / max(whole)) ** 0.5), 2) for i in mine]
    return {
        "type": "scatter", "mode": "markers", "name": group, "legendgroup": group,
        "marker": {"color": colour, "size": sizes, "opacity": 0.85, "line": {"color": GROUND, "width": 1},
                   "symbol": [symbols[step.ops[i]["unit"]] for i in mine]},
        "hoverinfo": "text", "customdata": [step.ops[i]["name"] for i in mine],
    }  # fmt: skip


def _shapes(symbols: Mapping[str, str]) -> Iterator[Json]:
    """What shapes stand for, in the legend."""
    for unit, symbol in symbols.items() if len(symbols) > 1 else ():
        yield {
            "type": "scatter", "mode": "markers", "x": [None], "y": [None], "name": unit, "hoverinfo": "skip",
            "marker": {"symbol": symbol, "color": QUIET, "size": SYMBOL_SIZE},
        }  # fmt: skip


# ---- what only moves bytes ---------------------------------------------------------------------


def _moves(step: Step, off: Sequence[int], symbols: Mapping[str, str]) -> Iterator[Json]:
    for group, colour in step.colours.items():
        mine = [i for i in off if step.group(step.ops[i]) == group]
        if mine:
            here = any(place_of(op, step.mapped.chip.dram.name) and step.group(op) == group for op in step.ops)
            yield _marks(step, mine, group, colour, symbols) | {
                "x": [moved_per_s(step.ops[i]) for i in mine], "y": [0] * len(mine), "xaxis": "x2", "yaxis": "y2",
                "hovertext": [f"{about_op(step, i)}<br>{large(moved_per_s(step.ops[i]), 'B/s')}" for i in mine],
                "showlegend": not here,
            }  # fmt: skip


def _strip(step: Step, off: Sequence[int], deep: float) -> tuple[Json, list[Json]]:
    """The axes of the strip with lines at the bandwidths, and their names."""
    chip = step.mapped.chip
    limits = bandwidths(chip)
    if any(step.ops[i]["unit"] in {p.name for p in chip.links} for i in off):
        limits |= {"links": chip.link_bytes_per_s}
    rates = [*(moved_per_s(step.ops[i]) for i in off), *limits.values()]
    ends = 10.0 ** floor(log10(min(rates) * 0.8)), 10.0 ** ceil(log10(max(rates) * 1.25))
    lines = [{"type": "line", "xref": "x2", "yref": "y2 domain", "x0": v, "x1": v, "y0": 0, "y1": 1,
              "line": {"color": INK, "width": 1.5, "dash": "dot"}} for v in limits.values()]  # fmt: skip
    notes = [_written(f"{n} {large(v, 'B/s')}", log10(v), 1, "center") | {"xref": "x2", "yref": "y2 domain"}
             for n, v in limits.items()]  # fmt: skip
    return {
        "xaxis2": axis("bytes per second", anchor="y2", **decades(*ends, lambda v: large(v, "B/s"))),
        "yaxis2": axis("", domain=[0, deep], range=[-1, 1], showticklabels=False, fixedrange=True, ticks="",
                       showgrid=False, anchor="x2"),
        "shapes": lines,
    }, notes  # fmt: skip
