"""The roofline: every op by its arithmetic per byte of DRAM and its rate, under the roofs of the units and the DRAM.

Williams, Waterman and Patterson, "Roofline" (2009). A multiply-accumulate counts as two operations. What has no
arithmetic stands below, by the bytes per second that it moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log10
from typing import Any

from dfcompiler.amounts import large, seconds
from dfcompiler.dtypes import bits
from dfcompiler.pages.blocks import Figure, Json
from dfcompiler.pages.lanes import about_op
from dfcompiler.pages.step import Step
from dfcompiler.pages.style import GROUND, INK, PALETTE, QUIET, SYMBOL_SIZE, SYMBOLS, axis, layout

Op = Mapping[str, Any]
SIZES = (7.0, 26.0)  # pixels of the least and the most time
DASHES = ("solid", "dash", "dot", "dashdot")


def span(op: Op) -> float:
    """Seconds of one run."""
    return float(op["end_s"] - op["start_s"])


def place_of(op: Op, dram: str) -> tuple[float, float] | None:
    """Operations per byte of DRAM, and operations per second; None without arithmetic or without bytes."""
    moved = op["bytes"].get(dram, 0.0)
    if not op["flops"] or not moved or not span(op):
        return None
    return op["flops"] / moved, op["flops"] / span(op)


def peaks(step: Step) -> list[tuple[str, int, float]]:
    """(unit, bits, operations per second) of units that ran something, at the widths of numbers in the step where
    they differ, from the highest down."""
    chip = step.mapped.chip
    used = {op["unit"] for op in step.ops} | {op["helper"] for op in step.ops}
    floats = (t.type.dtype for t in step.mapped.graph.tensors.values() if not t.type.dtype.startswith("int32"))
    widths = sorted({min(16, max(4, round(bits(d.partition("-")[0])))) for d in floats}, reverse=True)
    found: dict[tuple[str, float], int] = {}
    for unit in (u for u in chip.units.values() if u.name in used):
        for width in widths:
            rate = 2 * float(unit.template.peak_macs_at(width)) * unit.instances * chip.clock_hz
            if rate:
                found.setdefault((unit.name, rate), width)
    return sorted(((n, w, rate) for (n, rate), w in found.items()), key=lambda x: -x[2])


def roofline(step: Step) -> Figure:
    """The figure; a marker's area is the time of all runs of an op."""
    dram, roofs = step.mapped.chip.dram.name, peaks(step)
    on = [(i, at) for i, op in enumerate(step.ops) if (at := place_of(op, dram))]
    off = [i for i, op in enumerate(step.ops) if not place_of(op, dram) and span(op)]
    slope = step.mapped.chip.dram_bytes_per_s
    low, high = _reach([x for _, (x, _) in on], slope, [rate for *_, rate in roofs])
    data = [*_roofs(roofs, slope, dram, low, high)]
    names = list(dict.fromkeys(step.ops[i]["unit"] for i in range(len(step.ops))))
    symbols = {n: SYMBOLS[i % len(SYMBOLS)] for i, n in enumerate(names)}
    data += _points(step, on, symbols)
    data += _moves(step, off, symbols)
    data += _links(step)
    rates = [y for _, (_, y) in on] + [rate for *_, rate in roofs] or [1.0]
    deep = 0.16 if off else 0.0
    below = (
        f" The {len(off)} ops below only move bytes, or touch no DRAM: they stand by their bytes per second."
        if off
        else ""
    )
    return Figure(
        "roofline",
        "Roofline",
        data,
        layout(
            560 + (110 if off else 0),
            dragmode="pan",
            margin={"l": 80, "r": 24, "t": 64, "b": 48},
            xaxis=axis("operations per byte of DRAM", log=True, range=[log10(low), log10(high)], exponentformat="power"),
            yaxis=axis("operations per second", "op/s", log=True, domain=[deep + (0.14 if off else 0), 1],
                       range=[log10(min(rates) / 3), log10(max(rates) * 3)]),
            **(_strip_axes(step, off, deep) if off else {}),
        ),
        about=f"The area of a mark is the time of all runs of the op, its shape the unit.{below} Point at one for its "
        "numbers, click it to find it in the table.",
        finds="ops",
    )  # fmt: skip


def _reach(xs: Sequence[float], slope: float, rates: Sequence[float]) -> tuple[float, float]:
    """The ends of the axis: all ops, and the knees of all roofs."""
    knees = [rate / slope for rate in rates]
    seen = [*xs, *knees] or [1.0]
    return min(seen) / 3, max(seen) * 4


def _roofs(roofs: Sequence[tuple[str, int, float]], slope: float, dram: str, low: float, high: float) -> Iterator[Json]:
    top = max((rate for *_, rate in roofs), default=slope * high)
    yield _line([low, top / slope], [low * slope, top], f"{dram}: {large(slope, 'B/s')}", INK, "solid")
    for i, (unit, width, rate) in enumerate(roofs):
        label = f"{unit}, {width} bits: {large(rate, 'op/s')}"
        yield _line([rate / slope, high], [rate, rate], label, PALETTE[-1 - i % 2], DASHES[i % len(DASHES)])


def _line(x: list[float], y: list[float], name: str, colour: str, dash: str) -> Json:
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": {"color": colour, "width": 2, "dash": dash},
        "hovertemplate": f"{name}<extra></extra>",
    }  # fmt: skip


def _sizes(step: Step, mine: Sequence[int]) -> list[float]:
    """Diameters: areas are as the times of all runs."""
    whole = [span(step.ops[i]) * step.ops[i]["repeat"] for i in range(len(step.ops))]
    most = max(whole)
    return [round(max(SIZES[0], SIZES[1] * (whole[i] / most) ** 0.5), 2) for i in mine]


def _points(step: Step, on: Sequence[tuple[int, tuple[float, float]]], symbols: Mapping[str, str]) -> Iterator[Json]:
    for group, colour in step.colours.items():
        mine = [(i, at) for i, at in on if step.group(step.ops[i]) == group]
        if mine:
            numbers = [i for i, _ in mine]
            yield _marks(step, numbers, group, colour, symbols) | {
                "x": [x for _, (x, _) in mine], "y": [y for _, (_, y) in mine],
                "hovertext": [f"{about_op(step, i)}<br>{x:,.3g} operations per byte, {large(y, 'op/s')}"
                              for i, (x, y) in mine],
            }  # fmt: skip


def _marks(step: Step, mine: Sequence[int], group: str, colour: str, symbols: Mapping[str, str]) -> Json:
    return {
        "type": "scatter", "mode": "markers", "name": group, "legendgroup": group,
        "marker": {"color": colour, "size": _sizes(step, mine), "opacity": 0.85, "line": {"color": GROUND, "width": 1},
                   "symbol": [symbols[step.ops[i]["unit"]] for i in mine]},
        "hoverinfo": "text", "customdata": [step.ops[i]["name"] for i in mine],
    }  # fmt: skip


# ---- what only moves bytes ---------------------------------------------------------------------


def moved_per_s(op: Op) -> float:
    """Bytes per second through the memory or link that sees most of them."""
    return max(op["bytes"].values(), default=0.0) / span(op)


def _moves(step: Step, off: Sequence[int], symbols: Mapping[str, str]) -> Iterator[Json]:
    for group, colour in step.colours.items():
        mine = [i for i in off if step.group(step.ops[i]) == group and moved_per_s(step.ops[i])]
        if mine:
            yield _marks(step, mine, group, colour, symbols) | {
                "x": [moved_per_s(step.ops[i]) for i in mine], "y": [0] * len(mine), "xaxis": "x2", "yaxis": "y2",
                "hovertext": [f"{about_op(step, i)}<br>{large(moved_per_s(step.ops[i]), 'B/s')}" for i in mine],
                "showlegend": False,
            }  # fmt: skip


def _links(step: Step) -> Iterator[Json]:
    """What shapes stand for, in the legend."""
    used = list(dict.fromkeys(op["unit"] for op in step.ops))
    for i, unit in enumerate(used if len(used) > 1 else []):
        yield {
            "type": "scatter", "mode": "markers", "x": [None], "y": [None], "name": unit, "hoverinfo": "skip",
            "marker": {"symbol": SYMBOLS[i % len(SYMBOLS)], "color": QUIET, "size": SYMBOL_SIZE},
        }  # fmt: skip


def _strip_axes(step: Step, off: Sequence[int], deep: float) -> Json:
    chip = step.mapped.chip
    limits = {chip.dram.name: chip.dram_bytes_per_s}
    if any(step.ops[i]["unit"] in {p.name for p in chip.links} for i in off):
        limits |= {"links": chip.link_bytes_per_s}
    rates = [moved_per_s(step.ops[i]) for i in off if moved_per_s(step.ops[i])] + list(limits.values())
    ends = [log10(min(rates) / 3), log10(max(rates) * 3)]
    lines = [{"type": "line", "xref": "x2", "yref": "y2 domain", "x0": v, "x1": v, "y0": 0, "y1": 1,
              "line": {"color": INK, "width": 1.5, "dash": "dot"}} for v in limits.values()]  # fmt: skip
    notes = [{"xref": "x2", "yref": "y2 domain", "x": log10(v), "y": 1, "yanchor": "bottom", "showarrow": False,
              "text": f"{n} {large(v, 'B/s')}", "font": {"size": 11}} for n, v in limits.items()]  # fmt: skip
    return {
        "xaxis2": axis("bytes per second, of ops without arithmetic", "B/s", log=True, range=ends, anchor="y2"),
        "yaxis2": axis("", domain=[0, deep], range=[-1, 1], showticklabels=False, fixedrange=True, ticks="",
                       showgrid=False, anchor="x2"),
        "shapes": lines, "annotations": notes,
    }  # fmt: skip


def reason(op: Op, dram: str) -> str:
    """Why an op takes as long as it does, from the times that make up its price."""
    whole, moved = span(op), op["bytes"].get(dram, 0.0)
    if not whole:
        return "it takes no time"
    share = op["dram_share"]
    part = f" at its {share:.0%} of the bandwidth" if share < 1 else ""
    memory = f"{large(moved, 'B')} of {dram} take {seconds(op['memory_s'] / max(share, 1e-9))}{part}"
    compute = f"arithmetic takes {seconds(op['compute_s'])} of {seconds(whole)}"
    match op["bound"]:
        case "compute":
            return f"{compute}, with {op['utilization']:.0%} of the peak; {memory}"
        case "memory":
            return f"{memory}, of {seconds(whole)}; {compute.split(' of ')[0]}"
        case "vector":
            return f"{op['helper']} works {op['helper_share']:.0%} of the time; {compute}"
        case "link":
            return f"its bytes on the links fill most of {seconds(whole)}"
        case _:
            return f"neither {seconds(op['compute_s'])} of arithmetic nor {memory} fill {seconds(whole)}: latencies do"
