"""The chip as a floor plan: every part as a rectangle of its area, groups as grids of equal cores, DRAM beside the die.

Areas are to scale, places are not a layout: rectangles are laid out by the squarified treemap of Bruls, Huizing and van
Wijk (2000), groups and then the parts in each of their cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from dfcompiler.amounts import digits, percent
from dfcompiler.hardware.chip import Chip, Part
from dfcompiler.hardware.template import Compute, Interconnect, Memory
from dfcompiler.pages.blocks import Figure, Json
from dfcompiler.pages.style import GROUND, INK, PALETTE, axis, layout

INTERFACE = "DRAM interface"
KINDS = {"compute": PALETTE[1], "memory on the die": PALETTE[4], "network and links": PALETTE[2],
         INTERFACE: PALETTE[3], "other": "#b8bec5", "DRAM": "#e3d3dc"}  # fmt: skip
TALL = 400  # pixels of the die, about
APART = 0.06  # part of the die's side between it and what is beside it


@dataclass(frozen=True)
class Box:
    """A rectangle, mm."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """mm2."""
        return self.width * self.height


@dataclass(frozen=True)
class Placed:
    """All rectangles of a part: its name, its kind, what it is."""

    name: str
    kind: str
    about: str
    boxes: tuple[Box, ...]


def squarified(areas: Sequence[float], inside: Box) -> list[Box]:
    """A rectangle for each area, in their order; together they fill `inside`, whose area is their sum.

    Areas are taken from the largest on, in rows along the shorter side, each as long as that makes its worst rectangle
    more like a square.
    """
    order = sorted(range(len(areas)), key=lambda i: -areas[i])
    found: dict[int, Box] = {}
    left = [i for i in order if areas[i] > 0]
    while left:
        row = _row([areas[i] for i in left], min(inside.width, inside.height))
        mine, left = left[:row], left[row:]
        boxes, inside = _laid([areas[i] for i in mine], inside)
        found |= dict(zip(mine, boxes, strict=True))
    corner = Box(inside.x, inside.y, 0.0, 0.0)
    return [found.get(i, corner) for i in range(len(areas))]


def _row(areas: Sequence[float], side: float) -> int:
    """How many of the areas make the best first row."""

    def worst(many: int) -> float:
        total = sum(areas[:many])
        return max(max(side**2 * a / total**2, total**2 / (side**2 * a)) for a in (areas[0], areas[many - 1]))

    many = 1
    while many < len(areas) and worst(many + 1) <= worst(many):
        many += 1
    return many


def _laid(areas: Sequence[float], inside: Box) -> tuple[list[Box], Box]:
    """A row along the shorter side, and what it leaves."""
    total, boxes, at = sum(areas), [], 0.0
    if inside.width >= inside.height:
        deep = total / inside.height
        for a in areas:
            boxes.append(Box(inside.x, inside.y + at, deep, a / deep))
            at += a / deep
        return boxes, Box(inside.x + deep, inside.y, max(0.0, inside.width - deep), inside.height)
    deep = total / inside.width
    for a in areas:
        boxes.append(Box(inside.x + at, inside.y, a / deep, deep))
        at += a / deep
    return boxes, Box(inside.x, inside.y + deep, inside.width, max(0.0, inside.height - deep))


def grid(many: int, inside: Box) -> list[Box]:
    """`many` equal rectangles, in rows that are as like squares as they get; the last row is stretched over its width,
    so that all have the same area."""
    columns = min(many, max(1, round(sqrt(many * inside.width / inside.height))))
    rows = ceil(many / columns)
    found, y = [], inside.y
    for r in range(rows):
        here = min(columns, many - r * columns)
        height = inside.height * here / many
        width = inside.width / here
        found += [Box(inside.x + c * width, y, width, height) for c in range(here)]
        y += height
    return found


def placed(chip: Chip) -> tuple[list[Placed], list[Placed], Box]:
    """Everything that is on the die, the cores of each group as wholes, and the die: as a square."""
    side = sqrt(chip.die_mm2())
    die, area = Box(0.0, 0.0, side, side), chip.area_mm2()
    here = [p for p in chip.parts.values() if area[p.name] > 0 and not _apart(p)]
    groups: dict[str, list[Part]] = {}
    for part in here:
        groups.setdefault(part.group or f"part {part.name}", []).append(part)
    totals = [sum(area[p.name] for p in parts) for parts in groups.values()]
    rooms = squarified([*totals, chip.uncore_mm2], die)
    found: list[Placed] = []
    wholes: list[Placed] = []
    for (name, parts), total, room in zip(groups.items(), totals, rooms, strict=False):
        cores = grid(parts[0].instances if parts[0].group else 1, room)
        found += _group(parts, [area[p.name] / len(cores) for p in parts], cores)
        if parts[0].group:
            wholes.append(Placed(name, "", f"{len(cores)} x {name}: {digits(total, 4)} mm2", tuple(cores)))
    if chip.uncore_mm2:
        found.append(Placed("uncore", "other", f"uncore: {digits(chip.uncore_mm2, 3)} mm2", (rooms[-1],)))
    return found, wholes, die


def _apart(part: Part) -> bool:
    """Whether it stands on the die of a memory."""
    return isinstance(part.template, Compute) and part.template.off_die()


def _group(parts: Sequence[Part], areas: Sequence[float], cores: Sequence[Box]) -> Iterator[Placed]:
    """The parts of equal cores, of which each has `areas`."""
    laid = [squarified(areas, core) for core in cores]
    for i, (part, area) in enumerate(zip(parts, areas, strict=True)):
        times = f"{len(cores)} x " if len(cores) > 1 else ""
        about = f"{part.name}: {times}{part.template.template_name}<br>{digits(area * len(cores), 4)} mm2"
        if len(cores) > 1:
            about += f" in all, {digits(area, 3)} mm2 each"
        yield Placed(part.name, kind_of(part), about, tuple(core[i] for core in laid))


def kind_of(part: Part) -> str:
    """What a part is for, in the words of the legend."""
    match part.template:
        case Compute():
            return "compute"
        case Memory() as memory:
            return INTERFACE if memory.off_chip() else "memory on the die"
        case Interconnect():
            return "network and links"
        case _:
            return "other"


def beside(chip: Chip, die: Box) -> list[Placed]:
    """Memories that stand beside the die, in a column of the die's height, and units on the dies of memories."""
    found, x = [], die.width * (1 + APART)
    for part in chip.parts.values():
        size = float(part.template.footprint_mm2()) if isinstance(part.template, Memory) else 0.0
        size = chip.area_mm2()[part.name] if _apart(part) else size
        if size > 0:
            what = "on the die of the DRAM" if _apart(part) else "beside the die"
            about = f"{part.name}: {part.template.template_name}<br>{digits(size, 4)} mm2 {what}"
            found.append(Placed(part.name, "compute" if _apart(part) else "DRAM", about,
                                (Box(x, 0.0, size / die.height, die.height),)))  # fmt: skip
            x += size / die.height + APART * die.width
    return found


def floor_plan(chip: Chip) -> Figure:
    """The figure."""
    inside, cores, die = placed(chip)
    outside = beside(chip, die)
    wide = max([die.width, *(b.x + b.width for p in outside for b in p.boxes)])
    data = [_trace(p, first) for p, first in _firsts([*inside, *outside])]
    data += [_outline((die,), 2.5), *(_outline(p.boxes, 1.2) for p in cores)]
    drawn = (*inside, *outside)
    labels = [note for p in drawn if (note := _label(p, die.height / TALL)) is not None]
    named = {note["text"] for note in labels}
    labels += [_across(p) for p in cores if not named & {x.name for x in inside if len(x.boxes) > 1}]
    ends = [-0.02 * wide, 1.02 * wide], [-0.02 * die.height, 1.02 * die.height]
    side = f"{digits(die.width, 3)} mm x {digits(die.height, 3)} mm"
    beyond = {p.name: p.boxes[0].area for p in outside}
    more = "".join(f"; {n} stands beside it with {digits(a, 3)} mm2" for n, a in beyond.items())
    return Figure(
        "floor",
        f"Floor plan: a die of {digits(die.area)} mm2",
        data,
        layout(
            500,
            xaxis=axis("mm", range=ends[0], constrain="domain", zeroline=False, showgrid=False),
            yaxis=axis("mm", range=ends[1], scaleanchor="x", constrain="domain", zeroline=False, showgrid=False),
            annotations=labels,
        ),
        about=f"Areas are to scale, drawn as a square die of {side}{more}. Places are not a layout.",
    )


def _outline(boxes: Sequence[Box], width: float) -> Json:
    xs, ys = _path(boxes)
    return {
        "type": "scatter", "mode": "lines", "x": xs, "y": ys, "line": {"color": INK, "width": width},
        "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip


def _path(boxes: Sequence[Box]) -> tuple[list[float | None], list[float | None]]:
    """Around each rectangle, with gaps between them."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for b in boxes:
        xs += [b.x, b.x + b.width, b.x + b.width, b.x, b.x, None]
        ys += [b.y, b.y, b.y + b.height, b.y + b.height, b.y, None]
    return xs[:-1], ys[:-1]


def _firsts(parts: Sequence[Placed]) -> Iterator[tuple[Placed, bool]]:
    seen: set[str] = set()
    for p in parts:
        yield p, p.kind not in seen
        seen.add(p.kind)


def _trace(p: Placed, first: bool) -> Json:
    """One filled path of all rectangles of a part."""
    xs, ys = _path(p.boxes)
    return {
        "type": "scatter", "mode": "lines", "x": xs, "y": ys, "fill": "toself", "fillcolor": KINDS[p.kind],
        "line": {"color": GROUND, "width": 1}, "hoveron": "fills", "hoverinfo": "text", "text": p.about,
        "name": p.kind, "legendgroup": p.kind, "showlegend": first,
    }  # fmt: skip


def _label(p: Placed, mm_per_px: float) -> Json | None:
    """The name of a part in its largest rectangle, upright or turned, or nothing where it has no room."""
    b, text = max(p.boxes, key=lambda b: b.area), f"{p.name} interface" if p.kind == INTERFACE else p.name
    long, high = 7.5 * len(text) * mm_per_px, 14 * mm_per_px
    turned = not (b.width > long and b.height > high)
    if turned and not (b.height > long and b.width > high):
        return None
    return {
        "x": b.x + b.width / 2, "y": b.y + b.height / 2, "text": text, "showarrow": False,
        "font": {"size": 12, "color": INK}, "textangle": -90 if turned else 0,
    }  # fmt: skip


def _across(p: Placed) -> Json:
    """The name of a group whose cores are too small for names of their own, over all of them."""
    left, right = min(b.x for b in p.boxes), max(b.x + b.width for b in p.boxes)
    low, high = min(b.y for b in p.boxes), max(b.y + b.height for b in p.boxes)
    return {
        "x": (left + right) / 2, "y": (low + high) / 2, "text": f"{len(p.boxes)} x {p.name}", "showarrow": False,
        "font": {"size": 13, "color": INK}, "bgcolor": "rgba(255,255,255,0.85)", "borderpad": 3,
    }  # fmt: skip


def area_rows(chip: Chip) -> list[tuple[str, float, str]]:
    """(part, mm2, part of the die) from the largest on."""
    area, die = chip.area_mm2(), chip.die_mm2()
    rows = [(n, a) for n, a in area.items() if n != "total" and a]
    return [(n, a, percent(a / die) if n == "uncore" or not _apart(chip.parts[n]) else "not on it")
            for n, a in sorted(rows, key=lambda x: -x[1])]  # fmt: skip
