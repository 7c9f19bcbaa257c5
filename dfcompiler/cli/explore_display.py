"""What an exploration found, for people, and a space by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dfcompiler.cli import display
from dfcompiler.cli.display import Column, digits, quantity
from dfcompiler.cli.robustness_display import print_robustness
from dfcompiler.explore.exploration import Exploration, Member
from dfcompiler.explore.robustness import ERROR
from dfcompiler.explore.space import Space, Value, load_space
from dfcompiler.text.show_expressions import comma, show_expr, show_rel
from dfcompiler.text.tree import Opt

ROWS = 24  # of a front that are printed; all are in front.json


def print_exploration(
    space: Space, found: Exploration, best: Member | None, wanted: Mapping[str, float], written: Sequence[Path]
) -> None:
    """The front, how it is known, and the point that meets what is needed."""
    display.heading(f"space {found.space}: {_count(found.points_in_space)} points, prices {found.prices}")
    listed = "" if found.front_size == len(found.front) else f", {len(found.front):,} of them listed"
    corner = ", ".join(f"{name} {digits(x)}" for name, x in found.reference.items())
    lines = [
        ("priced", f"{found.evaluated:,} designs in {display.seconds(found.seconds)}"),
        ("screened", f"{_count(found.screened)} points needed no price of their own"),
        ("proof", found.proof.upper()),
        *(("", claim) for claim in found.claims),
        ("front", f"{found.front_size:,} points{listed}; hypervolume {found.hypervolume:.4g} up to {corner}"),
    ]
    display.facts([*lines, *(("written", str(p)) for p in written)])
    if best is not None:
        need = ", ".join(f"{n} {x:g}" for n, x in wanted.items())
        values = ", ".join(f"{n} {digits(x)}" for n, x in best.objectives.items())
        alike = f"{found.alike(best, wanted):,} other points of the front that reach it are within {ERROR:.0%}"
        display.facts([("needed", need), ("best", values), ("", _axes(space, best.axes)), ("as good", alike)])
    display.plain()
    _table(space, found)
    if found.robustness:
        print_robustness(found.robustness)
        return
    display.prose("Points of a front are close to each other and a model is never exact: choose a region, not a point.")


def _count(points: int) -> str:
    return f"{points:,}" if points < 10**9 else f"{points:.4g}"


def _table(space: Space, found: Exploration) -> None:
    """Goals first, then axes: those with one value on the whole front are said once."""
    shown = _spread(found.front, ROWS)
    differ = [a for a in space.axes if len({m.axes[a.name] for m in found.front}) > 1]
    same = {a.name: found.front[0].axes[a.name] for a in space.axes if a not in differ}
    columns = [Column(g.name, right=True, style="bold") for g in found.goals]
    columns += [Column(a.name, right=True, drop=len(differ) - i) for i, a in enumerate(differ)]
    rows = [
        [*(digits(m.objectives[g.name]) for g in found.goals), *(quantity(m.axes[a.name], a.unit) for a in differ)]
        for m in shown
    ]
    display.table(columns, rows)
    if same:
        display.facts([("on all", _axes(space, same))])


def _spread(front: Sequence[Member], most: int) -> list[Member]:
    """At most so many, evenly, the first and the last with them."""
    if len(front) <= most:
        return list(front)
    return [front[round(i * (len(front) - 1) / (most - 1))] for i in range(most)]


def _axes(space: Space, values: Mapping[str, Value]) -> str:
    units = {a.name: a.unit for a in space.axes}
    return ", ".join(f"{name} {quantity(v, units[name])}" for name, v in values.items())


# ---- spaces ------------------------------------------------------------------------------------


def show_space(name: str) -> None:
    """A space: its pools with axes, loads, limits and goals."""
    space = load_space(name)
    display.heading(f"space {space.name}: {_count(space.points)} points, prices {space.prices}")
    lines = [(f"{g.sense}imize", f"{g.name} = {show_expr(g.expr)}") for g in space.goals]
    lines += [("limit", show_rel(r)) for r in space.limits]
    for pool in space.pools.values():
        chip = f"on {pool.chip.name}, {_count(pool.designs)} designs"
        lines.append((f"pool {pool.name}", chip))
        lines += [("load", f"{x.name}: {x.model} " + comma(_options(x.options))) for x in pool.loads.values()]
        lines += [("let", f"{x.name} = {show_expr(x.value)}") for x in pool.lets.values()]
        lines += [("limit", show_rel(r)) for r in pool.limits]
    display.facts(lines)
    display.plain()
    rows = [[a.name, f"{len(a.values)}", comma(quantity(v, a.unit) for v in a.values)] for a in space.axes]
    display.table((Column("axis", style="bold"), Column("values", right=True), Column("", wrap=True)), rows)


def _options(options: Sequence[Opt]) -> list[str]:
    return [f"{o.name} {show_expr(o.value)}" for o in options]
