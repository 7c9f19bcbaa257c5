"""The schedule over time: a lane for each unit and link, one for whole layers, and the DRAM's bandwidth below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from dfcompiler.amounts import large, pairs, percent, seconds
from dfcompiler.pages.blocks import Figure, Json, View
from dfcompiler.pages.step import Step
from dfcompiler.pages.style import GROUND, INK, axis, faded, grounds, layout, seconds_axis

LANE, DRAM_PX, AROUND = 44, 110, 130  # pixels of a lane, of the DRAM's plot, of titles and axes
BAR = 0.8  # of a lane
DRAWN = 20_000  # rectangles of later runs: more make a page that no browser turns
LAYERS = "layers"
BESIDE = 0.5  # opacity of a unit that helps another


def schedule(step: Step) -> Figure:
    """The figure. Of a segment that repeats, the first run has its ops with their names; later ones are paler."""
    lanes = _lanes(step)
    place = {name: len(lanes) - 1 - i for i, name in enumerate(lanes)}
    data: list[Json] = []
    for group, colour in step.colours.items():
        mine = [i for i, op in enumerate(step.ops) if step.group(op) == group]
        if mine:
            data += [_bars(step, mine, group, colour, place), *_later(step, mine, group, colour, place)]
            data += _helping(step, mine, group, colour, place)
    data += [*_layers(step, place), *_dram(step)]
    height = LANE * len(lanes) + DRAM_PX + AROUND
    low = DRAM_PX / (height - AROUND + 30)
    shown = step.shown
    return Figure(
        "schedule",
        "What runs when",
        data,
        layout(
            height,
            barmode="overlay",
            dragmode="zoom",
            shapes=grounds(len(lanes), BAR, "y"),
            uniformtext={"mode": "hide", "minsize": 9},
            xaxis=seconds_axis(range=[shown.start, shown.start + shown.length], anchor="y2"),
            yaxis=axis(
                "",
                range=[-0.6, len(lanes) - 0.4],
                tickvals=list(place.values()),
                ticktext=list(place),
                domain=[low + 0.03, 1],
                fixedrange=True,
                zeroline=False,
            ),
            yaxis2=axis(
                f"{step.mapped.chip.dram.name}<br>bandwidth",
                range=[0, 1.05],
                tickformat=".0%",
                domain=[0, low - 0.03],
                fixedrange=True,
            ),
            bargap=0,
        ),
        about="Drag over a span to zoom, double-click to go back; point at an op for its numbers, click it to find it "
        "in the table. Of layers that repeat the first has names, later ones are paler. Half-clear bars are units that "
        "help another, as high as the part of their time that this takes. Of the DRAM's bandwidth solid is used on "
        "average while an op runs, pale is reserved for it.",
        time="step",
        views=tuple(views(step)),
        finds="ops",
    )


def views(step: Step) -> Iterator[View]:
    """What can be shown at once: the whole step, and the first run of each segment."""
    end = max((r.end for r in step.runs), default=0.0)
    yield View("whole step", 0.0, end)
    for number, run in enumerate(step.runs, 1):
        first = f", first of {run.repeat} layers" if run.repeat > 1 else ""
        if run.length > 0:
            yield View(f"segment {number}{first}", run.start, run.start + run.length)


def _lanes(step: Step) -> list[str]:
    """Lanes from the top down: layers, units that do something, links that do."""
    busy = {op["unit"] for op in step.ops} | {op["helper"] for op in step.ops}
    chip = step.mapped.chip
    units = [n for n in (*chip.units, *(p.name for p in chip.links)) if n in busy]
    return [*([LAYERS] if step.shown.repeat > 1 else []), *units]


def about_op(step: Step, number: int) -> str:
    """What is said of an op where one points at it."""
    op = step.ops[number]
    span = op["end_s"] - op["start_s"]
    moved = ", ".join(f"{level} {large(size, 'B')}" for level, size in op["bytes"].items())
    lines = [
        f"<b>{op['name']}</b>: {op['op']}",
        f"{seconds(span)} on {op['unit']}{' with ' + op['helper'] if op['helper'] else ''}, from "
        f"{seconds(op['start_s'])}" + (f"; {op['repeat']} times" if op["repeat"] > 1 else ""),
        f"bound by {op['bound']}: compute {seconds(op['compute_s'])}, memory {seconds(op['memory_s'])}",
        f"{percent(op['utilization'])} of the peak; {moved}",
    ]
    if op["tile"]:
        lines.append(f"tile {pairs(op['tile'])}" + (f", split {pairs(op['ways'])}" if op["ways"] else ""))
    if op["algorithm"]:
        lines.append(f"by {op['algorithm']}")
    return "<br>".join(lines)


def _bars(step: Step, mine: Sequence[int], group: str, colour: str, place: Mapping[str, int]) -> Json:
    ops = [step.ops[i] for i in mine]
    return {
        "type": "bar", "orientation": "h", "name": group, "legendgroup": group,
        "base": [op["start_s"] for op in ops],
        "x": [op["end_s"] - op["start_s"] for op in ops],
        "y": [place[op["unit"]] for op in ops],
        "width": BAR,
        "marker": {"color": colour, "line": {"color": GROUND, "width": 1}},
        "text": [op["name"] for op in ops], "textposition": "inside", "insidetextanchor": "middle", "textangle": 0,
        "hovertext": [about_op(step, i) for i in mine], "hoverinfo": "text",
        "customdata": [op["name"] for op in ops],
    }  # fmt: skip


def _helping(step: Step, mine: Sequence[int], group: str, colour: str, place: Mapping[str, int]) -> Iterator[Json]:
    helped = [i for i in mine if step.ops[i]["helper"]]
    if not helped:
        return
    ops = [step.ops[i] for i in helped]
    high = [BAR * min(1.0, op["helper_share"]) for op in ops]
    yield {
        "type": "bar", "orientation": "h", "name": f"{group}, helping", "legendgroup": group, "showlegend": False,
        "base": [op["start_s"] for op in ops],
        "x": [op["end_s"] - op["start_s"] for op in ops],
        "y": [place[op["helper"]] for op in ops],
        "width": high, "offset": [-BAR / 2] * len(ops),
        "marker": {"color": colour, "opacity": BESIDE},
        "hovertext": [f"{op['helper']} helps for {percent(op['helper_share'])} of the time<br>{about_op(step, i)}"
                      for i, op in zip(helped, ops, strict=True)],
        "hoverinfo": "text",
        "customdata": [op["name"] for op in ops],
    }  # fmt: skip


def _all_drawn(step: Step) -> bool:
    """Whether all runs are drawn, and not only the first of each segment."""
    return sum(r.repeat for r in step.run_of) <= DRAWN


def _later(step: Step, mine: Sequence[int], group: str, colour: str, place: Mapping[str, int]) -> Iterator[Json]:
    """All runs after the first as one path of rectangles."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for i in mine if _all_drawn(step) else ():
        run, op, y = step.run_of[i], step.ops[i], place[step.ops[i]["unit"]]
        for k in range(1, run.repeat):
            a, b = (op[key] + k * run.period for key in ("start_s", "end_s"))
            xs += [a, b, b, a, a, None]
            ys += [y - BAR / 2, y - BAR / 2, y + BAR / 2, y + BAR / 2, y - BAR / 2, None]
    if xs:
        yield {
            "type": "scatter", "mode": "lines", "x": xs[:-1], "y": ys[:-1], "fill": "toself",
            "fillcolor": faded(colour, 0.45), "line": {"width": 0}, "hoverinfo": "skip", "name": group,
            "legendgroup": group, "showlegend": False,
        }  # fmt: skip


def _layers(step: Step, place: Mapping[str, int]) -> Iterator[Json]:
    """Every run of a segment that repeats."""
    shown = [(r, k) for r in step.runs if r.repeat > 1 for k in range(r.repeat)]
    if not shown:
        return
    ends = [min(r.length, r.period) if k < r.repeat - 1 else r.length for r, k in shown]
    yield {
        "type": "bar", "orientation": "h", "name": LAYERS, "showlegend": False,
        "base": [r.start + k * r.period for r, k in shown], "x": ends, "y": [place[LAYERS]] * len(shown), "width": 0.5,
        "marker": {"color": "#cfd6dd", "line": {"color": GROUND, "width": 1}},
        "text": [str(k + 1) for _, k in shown], "textposition": "inside", "insidetextanchor": "middle", "textangle": 0,
        "textfont": {"color": INK},
        "hovertext": [f"layer {k + 1} of {r.repeat}: {seconds(r.length)}, the next starts after {seconds(r.period)}"
                      for r, k in shown],
        "hoverinfo": "text",
    }  # fmt: skip


# ---- the DRAM ----------------------------------------------------------------------------------


def _dram(step: Step) -> Iterator[Json]:
    """The part of its bandwidth that each group reserves and, on average over each op, uses: stacked steps.

    Steps lie at whole cycles: where one op ends another begins, of the next layer too.
    """
    whole, clock_hz = step.said["mapping"]["resolution"], step.mapped.chip.clock_hz
    for kind, solid in (("reserved for", False), ("used by", True)):
        changes: dict[str, dict[int, float]] = {g: {} for g in step.colours}
        for i, (op, task) in enumerate(zip(step.ops, step.tasks, strict=True)):
            used = task["memory_cycles"] / max(1, task["end"] - task["start"])
            share, mine, run = used if solid else task["dram"] / whole, changes[step.group(op)], step.run_of[i]
            for k in range(run.repeat if _all_drawn(step) else 1):
                for key, sign in (("start_s", 1), ("end_s", -1)):
                    at = round((op[key] + k * run.period) * clock_hz)
                    mine[at] = mine.get(at, 0.0) + sign * share
        times = sorted({at for mine in changes.values() for at in mine})
        for group, mine in changes.items():
            levels = [max(0.0, round(x, 6)) for x in accumulate(mine.get(t, 0.0) for t in times)]
            colour = faded(step.colours[group], 1 if solid else 0.3)
            yield _area([t / clock_hz for t in times], levels, kind, group, colour)


def _area(times_s: Sequence[float], levels: Sequence[float], kind: str, group: str, colour: str) -> Json:
    return {
        "type": "scatter", "mode": "lines", "x": times_s, "y": levels, "yaxis": "y2", "name": f"{kind} {group}",
        "legendgroup": group, "showlegend": False, "line": {"width": 0, "shape": "hv"}, "stackgroup": kind,
        "fillcolor": colour, "hovertemplate": f"{kind} {group}: %{{y:.1%}}<extra></extra>",
    }  # fmt: skip
