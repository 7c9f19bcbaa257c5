"""The schedule of the repeated layer as one SVG picture: a lane per unit, one for the DRAM, time to the right.

Colours are those of Okabe and Ito, told apart with any colour vision; the picture follows a light or a dark
reader and is complete in both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TypeAlias

from dfcompiler.api import Compiled
from dfcompiler.graph import Graph
from dfcompiler.schedule import Layer, columns_of, mapping_of, reservations
from dfcompiler.solution import Task
from dfcompiler.tiling import RESOLUTION

WIDTH, LEFT, RIGHT = 1160, 150, 28
LANE, GAP, BAR = 50, 12, 40
NARROW = 15  # a bar that can hold a two-digit number
BESIDE = 0.55  # opacity of a unit that helps another

# Widths of characters in em (Helvetica's, and a tenth more for other fonts); 0.61 where not listed.
SLIM, BROAD, USUAL = 0.31, 0.92, 0.61
EM = dict.fromkeys("ijlftrI.,:;' |()", SLIM) | dict.fromkeys("mwMW%", BROAD)

Colour: TypeAlias = tuple[str, str]

# Okabe and Ito, with the ink that reads on each.
COLOURS = (("#0072B2", "#ffffff"), ("#E69F00", "#1b1b1b"), ("#009E73", "#1b1b1b"), ("#CC79A7", "#1b1b1b"),
           ("#56B4E9", "#1b1b1b"), ("#D55E00", "#1b1b1b"), ("#F0E442", "#1b1b1b"))  # fmt: skip

STYLE = """
text { font-family: "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; font-size: 12px; fill: #24292f }
.card { fill: #ffffff; stroke: #d0d7de } .lane { fill: #f3f5f7 } .grid { stroke: #d8dee4 } .quiet { fill: #57606a }
.title { font-size: 16px; font-weight: 600 } .name { font-weight: 600 } .label { font-size: 11px }
.edge { stroke: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .card { fill: #0d1117; stroke: #30363d } .lane { fill: #161b22 } .grid { stroke: #30363d }
  .quiet { fill: #9198a1 } .edge { stroke: #0d1117 }
}
"""


@dataclass(frozen=True)
class _Bar:
    """A task to draw: pixels from the left, what to call it (longest name first), its group."""

    task: Task
    x: float
    width: float
    names: tuple[str, ...]
    group: str
    about: str


def gantt_svg(compiled: Compiled) -> str:
    """The text of an SVG file: the segment that repeats most often, or the first where none repeats."""
    layer = max(mapping_of(compiled.graph).layers, key=lambda x: x.segment.repeat)
    chip, groups = compiled.chip, _groups(compiled, layer)
    bars = sorted((_bar(compiled, layer, task, groups) for task in layer.solution.tasks), key=lambda b: b.x)
    colours = {g: COLOURS[i % len(COLOURS)] for i, g in enumerate(dict.fromkeys(groups.values()))}
    units = [u for u in (*chip.units, *(p.name for p in chip.links)) if any(u in reservations(b.task) for b in bars)]
    numbered = [b for b in bars if not _fitting(b) and b.width >= NARROW]
    numbers = {id(b): i for i, b in enumerate(numbered, 1)}
    key = list(_wrap([f"{i} {b.names[0]}" for i, b in enumerate(numbered, 1)]))
    top = 96
    bottom = top + (len(units) + 1) * (LANE + GAP) - GAP
    height = bottom + 32 + (18 * len(key) + 10 if key else 0)
    out = [*_head(height, _title(compiled, layer)), *_legend(colours, bars)]
    out += _axis(layer.solution.cycles / chip.clock_hz * 1e6, top, bottom + 4)
    for i, unit in enumerate(units):
        part, y = chip.parts[unit], top + i * (LANE + GAP)
        out += _lane(y, unit, f"{part.instances} x {part.template.template_name}")
        out += _unit_bars(unit, y, bars, colours, numbers)
    out += _lane(bottom - LANE, chip.dram.name, f"of {chip.dram_bytes_per_s / 1e12:g} TB/s")
    out += _stacked(bottom - LANE, bars, colours)
    out += [_text(LEFT, bottom + 44 + 18 * i, line, "label") for i, line in enumerate(key)]
    return "\n".join([*out, "</svg>"]) + "\n"


# ---- what to draw ------------------------------------------------------------------------------


def _groups(compiled: Compiled, layer: Layer) -> dict[tuple[str, ...], str]:
    """The group of every task's nodes, which gives the colour: the part of the step, or the kind of work."""
    parts = [p.split()[0] for p in compiled.report.step.split("; ")]
    wanted = [t.column.nodes for t in layer.solution.tasks]
    if len(parts) == 1:
        order = ("weights x activations", "activations x activations", "vector work", "exchange")
        kinds = {nodes: _kind(compiled.graph, nodes) for nodes in wanted}
        return dict(sorted(kinds.items(), key=lambda x: order.index(x[1])))
    found = {nodes: [p for p in parts if any(f"_{p}" in n for n in nodes)] or parts for nodes in wanted}
    ordered = sorted(found.items(), key=lambda x: (len(x[1]), parts.index(x[1][0])))
    return {nodes: " + ".join(of) for nodes, of in ordered}


def _kind(graph: Graph, nodes: tuple[str, ...]) -> str:
    p = columns_of(graph).problems.get(nodes)
    if p is None:
        return "exchange"
    if not p.contractions:
        return "vector work"
    weights = any(graph.tensors[a].kind == "weight" for n in nodes for a in graph.nodes[n].args)
    return "weights x activations" if weights else "activations x activations"


def _bar(compiled: Compiled, layer: Layer, task: Task, groups: Mapping[tuple[str, ...], str]) -> _Bar:
    graph, c = compiled.graph, task.column
    scale = (WIDTH - LEFT - RIGHT) / layer.solution.cycles
    ops = list(dict.fromkeys(graph.nodes[n].op.name for n in c.nodes))
    args = dict.fromkeys(a for n in c.nodes for a in graph.nodes[n].args)
    weights = [a for a in args if graph.tensors[a].kind == "weight"]
    full, short = " + ".join(ops), " ".join(weights)
    only = short if short and columns_of(graph).problems[c.nodes].contractions else ops[0]
    names = (f"{full} {short}".strip(), f"{ops[0]} {short}".strip(), only)
    us = 1e6 / compiled.chip.clock_hz
    where = f"on {c.unit}, {task.start * us:.1f} to {task.end * us:.1f} µs"
    about = (
        f"{' '.join(c.nodes)}: {full} {where}, {c.dram / RESOLUTION:.0%} of the DRAM reserved, {_used(task):.0%} used"
    )
    return _Bar(task, LEFT + task.start * scale, c.cycles * scale, names, groups[c.nodes], about)


def _used(task: Task) -> float:
    """The mean share of the DRAM's bandwidth that a task uses."""
    return task.column.tiling.memory_cycles / task.column.cycles


def _fitting(bar: _Bar) -> str:
    """The longest name that fits into the bar; empty where none does."""
    return next((n for n in bar.names if _wide(n) + 5 <= bar.width), "")


def _wide(text: str, size: int = 11) -> float:
    """Pixels that a text takes."""
    return size * sum(EM.get(c, USUAL) for c in text)


def _title(compiled: Compiled, layer: Layer) -> tuple[str, str]:
    report, solution = compiled.report, layer.solution
    runs = f"one of {layer.segment.repeat} layers" if layer.segment.repeat > 1 else "one run"
    gap = 1 - solution.bound / solution.cycles
    proof = f"this layer at most {gap:.1%} from optimal" if gap > 0 else "this layer proven optimal"
    took = f"{solution.cycles / compiled.chip.clock_hz * 1e6:,.1f} µs"
    return f"{report.model} on {report.chip}: {runs}, {took}", f"{report.step}   ({report.dtype}; {proof})"


# ---- drawing -----------------------------------------------------------------------------------


def _head(height: int, title: tuple[str, str]) -> Iterator[str]:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    yield f"<title>{escape(title[0])}</title>"
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>'
    yield _text(16, 28, title[0], "title")
    yield _text(16, 48, title[1], "quiet")


def _legend(colours: Mapping[str, Colour], bars: Sequence[_Bar]) -> Iterator[str]:
    x = 16.0
    for group, (fill, _) in colours.items():
        yield f'<rect x="{x:.1f}" y="61" width="14" height="14" rx="2" fill="{fill}"/>'
        yield _text(x + 20, 72, group)
        x += 40 + _wide(group, 12)
    notes = [(0.35, "DRAM: solid is used, light is reserved")]
    if helpers := sorted({b.task.column.helper for b in bars if b.task.column.helper}):
        notes.append((BESIDE, f"{', '.join(helpers)}: beside another unit, height is the share of its time"))
    for opacity, said in notes:
        yield f'<rect x="{x:.1f}" y="61" width="14" height="14" rx="2" fill="#808080" opacity="{opacity}"/>'
        yield _text(x + 20, 72, said)
        x += 40 + _wide(said, 12)


def _axis(total_us: float, top: float, bottom: float) -> Iterator[str]:
    step = next(s for s in _round_steps() if total_us / s <= 12)
    scale = (WIDTH - LEFT - RIGHT) / total_us
    for i in range(int(total_us / step) + 1):
        x = LEFT + i * step * scale
        yield f'<line class="grid" x1="{x:.1f}" y1="{top - 4}" x2="{x:.1f}" y2="{bottom}"/>'
        yield _text(x, bottom + 15, f"{i * step:,.10g}{' µs' if not i else ''}", "quiet", "middle")


def _round_steps() -> Iterator[float]:
    step = 1e-3
    while True:
        yield from (step, 2 * step, 5 * step)
        step *= 10


def _lane(y: float, name: str, about: str) -> Iterator[str]:
    yield f'<rect class="lane" x="{LEFT}" y="{y}" width="{WIDTH - LEFT - RIGHT}" height="{LANE}" opacity="0.6"/>'
    yield _text(16, y + 22, name, "name")
    yield _text(16, y + 38, about, "quiet label")


def _unit_bars(
    unit: str, y: float, bars: Sequence[_Bar], colours: Mapping[str, Colour], numbers: Mapping[int, int]
) -> Iterator[str]:
    low, base = y + (LANE - BAR) / 2, y + (LANE + BAR) / 2
    for b in bars:
        c, (fill, ink) = b.task.column, colours[b.group]
        if c.helper == unit:
            high = BAR * c.beside / RESOLUTION
            yield _rect((b.x, base - high, b.width, high), fill, b.about, BESIDE)
        if c.unit != unit:
            continue
        yield _rect((b.x, low, max(b.width, 1.0), BAR), fill, b.about, edge=b.width > 4)
        label = _fitting(b) or (str(numbers[id(b)]) if id(b) in numbers else "")
        if label:
            yield _text(b.x + b.width / 2, low + BAR / 2 + 4, label, "label", "middle", ink)


def _stacked(y: float, bars: Sequence[_Bar], colours: Mapping[str, Colour]) -> Iterator[str]:
    """The DRAM's bandwidth, one colour above the other: reserved in light, used in solid."""
    edges = sorted({x for b in bars for x in (b.task.start, b.task.end)})
    where = {b.task.start: b.x for b in bars} | {b.task.end: b.x + b.width for b in bars}
    steps: dict[str, list[_Step]] = {g: [] for g in colours}
    for begin, end in itertools.pairwise(edges):
        level = 0.0
        for group in colours:
            busy = [b.task for b in bars if b.group == group and b.task.start <= begin < b.task.end]
            reserved = BAR * sum(t.column.dram for t in busy) / RESOLUTION
            _extend(steps[group], _Step(where[begin], where[end], level, reserved, BAR * sum(_used(t) for t in busy)))
            level += reserved
    base = y + (LANE + BAR) / 2
    for group, fill in ((g, colours[g][0]) for g in colours):
        for s in steps[group]:
            if s.reserved:
                said = f"{group}: {s.used / BAR:.0%} of the DRAM's bandwidth used, {s.reserved / BAR:.0%} reserved"
                yield _rect((s.x, base - s.level - s.reserved, s.end - s.x, s.reserved), fill, said, 0.35)
                yield _rect((s.x, base - s.level - s.used, s.end - s.x, s.used), fill, said)
    yield _text(LEFT - 6, y + 13, "100%", "quiet label", "end")


@dataclass(frozen=True)
class _Step:
    """A stretch of time of one group in the DRAM's lane, all in pixels; `level` is where its band begins."""

    x: float
    end: float
    level: float
    reserved: float
    used: float


def _extend(steps: list[_Step], new: _Step) -> None:
    """Add a stretch, joined with the last one where they are equal."""
    last = steps[-1] if steps else None
    if last and replace(last, x=new.x, end=new.end) == new:
        steps[-1] = replace(last, end=new.end)
    else:
        steps.append(new)


def _wrap(entries: Sequence[str]) -> Iterator[str]:
    line = ""
    for entry in entries:
        longer = f"{line}    {entry}" if line else entry
        if line and _wide(longer) > WIDTH - LEFT - RIGHT:
            yield line
            longer = entry
        line = longer
    if line:
        yield line


def _rect(
    box: tuple[float, float, float, float], fill: str, about: str, opacity: float = 1.0, edge: bool = False
) -> str:
    """A rectangle (x, y, width, height) that says what it is about when pointed at."""
    x, y, width, height = (f"{v:.2f}" for v in box)
    more = (f' opacity="{opacity}"' if opacity < 1 else "") + (' class="edge"' if edge else "")
    place = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    return f'<rect {place} fill="{fill}"{more}><title>{escape(about)}</title></rect>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "", ink: str = "") -> str:
    more = f' class="{kind}"' if kind else ""
    more += f' text-anchor="{anchor}"' if anchor else ""
    more += f' style="fill:{ink}"' if ink else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{more} xml:space="preserve">{escape(text)}</text>'
