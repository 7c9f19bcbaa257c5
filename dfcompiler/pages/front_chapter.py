"""The chapter on a study of `dfc explore`: the Pareto front as points and as parallel coordinates, which follow each
other, and how much each axis matters on it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dfcompiler.amounts import digits, percent, quantity, seconds
from dfcompiler.pages.blocks import Block, Cell, Chapter, Column, Fact, Facts, Figure, Json, Prose, Section, Table, Tile
from dfcompiler.pages.results import Result, damaged
from dfcompiler.pages.style import GROUND, INK, PALETTE, SCALE, axis, decades, layout

Point = Mapping[str, Mapping[str, Any]]
Units = Mapping[str, str]  # of axes that have one
LEVEL_NAMES = 10  # names of so many parallel axes stand beside each other; those of more are turned
BRUSH = "front"
PROOFS = {
    "exhaustive": "every point of the space was priced, or ruled out by a bound",
    "bounded": "the budget ended first; what was not evaluated is no better than its bounds",
    "sampled": "points were sampled: better ones may exist",
}


def front_chapter(result: Result) -> Chapter:
    """All that is told of it. Raises Diag `bad-result` where points differ in their axes or objectives."""
    r, points = result.said, result.said["front"]
    directions: Mapping[str, str] = r["directions"]
    units: Units = r.get("units", {})
    for number, p in enumerate(points):
        if set(p["objectives"]) != set(directions) or set(p["axes"]) != set(points[0]["axes"]):
            raise damaged(result.kind, result.path, f"has another axis or objective at `front[{number}]`")
    sections = [Section("pareto", "The front", tuple(_front(points, directions, units)))] if points else []
    if points:
        sections += [
            Section("sensitivity", "What each axis is worth", tuple(_sensitivity(points, directions, units))),
            Section("designs", "The designs", (_designs(points, directions, units),)),
        ]
    else:
        sections.append(
            Section("pareto", "The front", (Prose("No point of the space keeps to its constraints.", "warning"),))
        )
    sections.append(Section("origin-study", "Where it comes from", (_origin(result),)))
    files = ("front.json", "space.space")
    links = {name: name for name in files if (result.folder / name).is_file()}
    size, every = r.get("front_size", len(points)), _count(r["points_in_space"])
    listed = "" if size == len(points) else f", {len(points):,} are listed"
    many = f"{size:,} of {every} points are on the front{listed}"
    return Chapter(str(r.get("space", "A study")), many, tuple(_tiles(r)), tuple(sections), links)


def _tiles(r: Mapping[str, Any]) -> Iterator[Tile]:
    yield Tile("points in the space", _count(r["points_in_space"]), "")
    share = percent(r["screened"] / max(1, r["points_in_space"]))
    yield Tile("without a price of their own", _count(r["screened"]), f"{share} of the space")
    yield Tile("designs priced", _count(r["evaluated"]), f"in {seconds(r['seconds'])}")
    size = r.get("front_size", len(r["front"]))
    yield Tile("on the front", _count(size), f"{r['proof']}: {PROOFS.get(r['proof'], '')}")
    if r.get("hypervolume") is not None:
        yield Tile("hypervolume", digits(r["hypervolume"]), f"from {_pairs(r.get('reference'))}")


def _count(points: int) -> str:
    return f"{points:,}" if points < 10**9 else f"{points:.4g}"


def _pairs(reference: Any) -> str:
    if isinstance(reference, Mapping):
        return ", ".join(f"{k} {_said(v)}" for k, v in reference.items())
    return ", ".join(map(_said, reference)) if isinstance(reference, Sequence) else "the reference"


def _said(value: Any) -> str:
    if isinstance(value, float):
        return digits(value, 4)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{value}"


def _valued(value: Any, unit: str) -> str:
    """An axis's value as one would write it in a chip."""
    return quantity(value, unit) if unit else _said(value)


def better(direction: str) -> str:
    """In words."""
    return "less is better" if direction == "min" else "more is better"


# ---- the front ---------------------------------------------------------------------------------


def _front(points: Sequence[Point], directions: Mapping[str, str], units: Units) -> Iterator[Block]:
    yield _scatter(points, directions, units)
    yield parallel(points, directions, units)


def _scatter(points: Sequence[Point], directions: Mapping[str, str], units: Units) -> Figure:
    """The first two objectives, the third as colour; menus put any other in their places."""
    names = list(directions)
    x, y = names[0], names[min(1, len(names) - 1)]
    colour = names[2] if len(names) > 2 else None
    values = {n: [p["objectives"][n] for p in points] for n in names}
    marker: Json = {
        "size": 10,
        "color": values[colour] if colour else PALETTE[0],
        "line": {"color": GROUND, "width": 1},
    }
    if colour:
        marker |= {
            "colorscale": SCALE,
            "showscale": True,
            "colorbar": {"title": {"text": colour, "side": "right"}, "thickness": 14},
        }
    trace: Json = {
        "type": "scatter",
        "mode": "markers",
        "x": values[x],
        "y": values[y],
        "marker": marker,
        "hovertext": [_about(p, units) for p in points],
        "hoverinfo": "text",
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 0.12}},
    }
    return Figure(
        "front",
        "The Pareto front",
        [trace],
        layout(
            460,
            legend=False,
            dragmode="select",
            margin={"l": 80, "r": 24, "t": 60, "b": 48},
            xaxis=axis(f"{x} ({better(directions[x])})"),
            yaxis=axis(f"{y} ({better(directions[y])})"),
            updatemenus=_menus(values, directions, x, y),
            annotations=_menu_titles(),
        ),
        about="Draw a box around points to leave only their designs below, or drag along an axis below to leave only "
        "its points here; a double-click brings all back.",
        brush=BRUSH,
    )


def _menus(values: Mapping[str, list[Any]], directions: Mapping[str, str], x: str, y: str) -> list[Json]:
    def menu(which: str, active: str, left: float) -> Json:
        buttons = [
            {
                "label": n,
                "method": "update",
                "args": [
                    {which: [values[n]]},
                    {f"{which}axis.title.text": f"{n} ({better(directions[n])})", f"{which}axis.autorange": True},
                ],
            }
            for n in values
        ]
        return {
            "buttons": buttons,
            "active": list(values).index(active),
            "x": left,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "direction": "down",
            "showactive": True,
            "pad": {"t": 0, "b": 4},
        }

    return [menu("x", x, 0.05), menu("y", y, 0.42)]


def _menu_titles() -> list[Json]:
    return [
        {
            "text": text,
            "x": x,
            "xref": "paper",
            "y": 1.02,
            "yref": "paper",
            "yanchor": "bottom",
            "xanchor": "right",
            "showarrow": False,
            "font": {"size": 12, "color": INK},
            "yshift": 12,
        }
        for text, x in (("across", 0.045), ("up", 0.415))
    ]


def _about(p: Point, units: Units) -> str:
    lines = [f"<b>{name} {_said(value)}</b>" for name, value in p["objectives"].items()]
    return "<br>".join([*lines, *(f"{name} = {_valued(x, units.get(name, ''))}" for name, x in p["axes"].items())])


def _differing(points: Sequence[Point]) -> list[str]:
    """The axes that have more than one value on the front."""
    return [n for n in points[0]["axes"] if len({_key(p["axes"][n]) for p in points}) > 1]


def _alike(points: Sequence[Point], units: Units) -> str:
    """In words, the others."""
    first, differ = points[0]["axes"], _differing(points)
    same = [f"{n} = {_valued(first[n], units.get(n, ''))}" for n in first if n not in differ]
    return f" Alike in all: {', '.join(same)}." if same else ""


def parallel(points: Sequence[Point], directions: Mapping[str, str], units: Units) -> Figure:
    """Parallel coordinates of axes that differ on the front, and of goals."""
    names = list(directions)
    dimensions = [_dimension(n, [p["axes"][n] for p in points], unit=units.get(n, "")) for n in _differing(points)]
    dimensions += [_dimension(n, [p["objectives"][n] for p in points], directions[n]) for n in names]
    colour = [p["objectives"][names[0]] for p in points]
    crowded = len(dimensions) > LEVEL_NAMES
    trace: Json = {
        "type": "parcoords",
        "dimensions": dimensions,
        "labelside": "top",
        "labelangle": -30 if crowded else 0,
        "labelfont": {"size": 12},
        "tickfont": {"size": 11},
        "line": {"color": colour, "colorscale": SCALE, "showscale": False},
        "unselected": {"line": {"color": "#b8bec5", "opacity": 0.12}},
    }
    return Figure(
        "parallel",
        "Designs and what they reach",
        [trace],
        layout(470 if crowded else 420, legend=False, margin={"l": 70, "r": 90, "t": 130 if crowded else 80, "b": 24}),
        about=f"A line is a design, its colour {names[0]}. Drag along an axis to choose, its name to move it."
        f"{_alike(points, units)}",
        brush=BRUSH,
    )


def _dimension(name: str, values: Sequence[Any], more: str = "", unit: str = "") -> Json:
    """An axis of parallel coordinates; words and a few numbers of an axis of the space stand evenly, in their order."""
    label = f"{name} ({more})" if more else name
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        different = sorted(set(values))
        even = not more and len(different) <= 12
        if not even:
            return {"label": label, "values": list(values)}
        at = {v: i for i, v in enumerate(different)}
        ticks = [_valued(v, unit) for v in different]
    else:
        words = sorted({str(v) for v in values})
        at, ticks = {v: i for i, v in enumerate(words)}, words
        values = [str(v) for v in values]
    last = len(at) - 1
    return {
        "label": label,
        "values": [at[v] for v in values],
        "tickvals": list(range(len(at))),
        "ticktext": ticks,
        "range": [-0.2, last + 0.2],
    }


# ---- what each axis is worth -------------------------------------------------------------------


def factors(points: Sequence[Point], directions: Mapping[str, str]) -> dict[str, dict[str, dict[Any, float]]]:
    """axis -> objective -> value -> how many times worse than the best of all the best design with that value is, at
    least 1. Objectives that reach 0 or less are left out: they have no factors."""
    found: dict[str, dict[str, dict[Any, float]]] = {}
    for name in points[0]["axes"]:
        values = sorted({p["axes"][name] for p in points}, key=_key)
        if len(values) < 2:
            continue
        for objective, direction in directions.items():
            if min(p["objectives"][objective] for p in points) > 0:
                best = _best(points, objective, direction)
                mine = {v: _best([p for p in points if p["axes"][name] == v], objective, direction) for v in values}
                by = {v: x / best if direction == "min" else best / x for v, x in mine.items()}
                found.setdefault(name, {})[objective] = by
    return found


def _best(points: Sequence[Point], objective: str, direction: str) -> float:
    reached = [p["objectives"][objective] for p in points]
    return float(min(reached) if direction == "min" else max(reached))


def _key(value: Any) -> tuple[bool, Any]:
    return (True, str(value)) if isinstance(value, str | bool) else (False, value)


def _sensitivity(points: Sequence[Point], directions: Mapping[str, str], units: Units) -> Iterator[Block]:
    found = factors(points, directions)
    if not found:
        yield Prose("All designs on the front have the same value on every axis.")
        return
    spread = {a: {o: max(each.values()) for o, each in by.items()} for a, by in found.items()}
    order = sorted(spread, key=lambda a: max(spread[a].values()))
    names = [o for o in directions if any(o in by for by in spread.values())]
    most = [x for by in spread.values() for x in by.values()]
    data: list[Json] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": o,
            "y": order,
            "x": [spread[a].get(o, 1.0) for a in order],
            "marker": {"color": PALETTE[i % len(PALETTE)]},
            "hovertext": [_each(found[a].get(o, {}), units.get(a, "")) for a in order],
            "hoverinfo": "text+name",
            "textposition": "none",
        }
        for i, o in enumerate(names)
    ]
    yield Figure(
        "worth",
        "What the worst choice on an axis costs",
        data,
        layout(
            120 + 26 * len(order) * max(1, len(names)),
            barmode="group",
            xaxis=axis(
                "times worse than the best of all: the best design that has the axis's worst value",
                **decades(1, 1.1 * max(1.5, *most), lambda v: f"{v:,.10g} x"),
            ),
            yaxis=axis("", fixedrange=True),
        ),
        about="Of designs on the front only: how much worse an objective gets at best when an axis is held at a value. "
        "Long bars are axes that matter to that objective; point at one for each value.",
    )


def _each(by: Mapping[Any, float], unit: str) -> str:
    said = {v: f"{digits(x, 3)} times the best" if x > 1 else "the best" for v, x in by.items()}
    return "<br>".join(f"{_valued(v, unit)}: {text}" for v, text in said.items())


def _designs(points: Sequence[Point], directions: Mapping[str, str], units: Units) -> Table:
    """A row per design, with its chips where the folder has them as files."""
    axes, most = _differing(points), max(len(_chips(p)) for p in points)
    columns = (
        *(Column(o, number=True) for o in directions),
        *(Column(a, number=_numeric(points, a), choose=_few(points, a)) for a in axes),
        *([Column("chip")] * most),
    )
    rows = tuple(
        (
            *(Cell(_said(p["objectives"][o]), float(p["objectives"][o])) for o in directions),
            *(_cell(p["axes"][a], units.get(a, "")) for a in axes),
            *(Cell(path.removeprefix("chips/").removesuffix(".chip"), link=path) for path in _chips(p)),
            *([Cell("")] * (most - len(_chips(p)))),
        )
        for p in points
    )
    return Table("designs-table", columns, rows, f"{len(points):,} designs", search=True)


def _chips(point: Point) -> Sequence[str]:
    """Files beside the page: nothing else is linked."""
    return [path for path in point.get("chips", ()) if re.fullmatch(r"chips/[\w-]+\.chip", path)]


def _numeric(points: Sequence[Point], name: str) -> bool:
    return all(isinstance(p["axes"][name], int | float) for p in points)


def _few(points: Sequence[Point], name: str) -> bool:
    return 1 < len({_key(p["axes"][name]) for p in points}) <= 12


def _cell(value: Any, unit: str) -> Cell:
    return Cell(_valued(value, unit), float(value) if isinstance(value, int | float) else None)


def _origin(result: Result) -> Facts:
    r = result.said
    return Facts(
        (
            Fact("proof", f"{r['proof']}: {PROOFS.get(r['proof'], 'not said')}"),
            *(Fact("", claim) for claim in r.get("claims", ())),
            Fact("objectives", ", ".join(f"{n} ({better(d)})" for n, d in r["directions"].items())),
            Fact("took", seconds(r["seconds"])),
            Fact("front.json", result.sha256, "SHA-256 of the file's content"),
        )
    )
