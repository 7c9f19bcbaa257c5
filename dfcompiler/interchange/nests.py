"""A mapped operator as one nest of loops, from the DRAM to the multipliers, as Timeloop v4 writes mappings.

Ours keeps an operand in a memory from some loop inwards and streams the others through it. In the nest every such
keep is a storage of its own, which the other operands bypass; all storages of a name `MEMORY...` are one memory of the
chip. What streams has its tile in the innermost one. Loops are written from the outermost; Timeloop's permutations
begin with the innermost. A loop whose last round is shorter has two numbers, as in its imperfect mappings (Ruby); since
only the last may be, a tile that does not fill the lanes is rounded up to them (`widened`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod

from dfcompiler.compose import group
from dfcompiler.diagnostics import Infeasible, unknown
from dfcompiler.explanation import Mapped
from dfcompiler.hardware.chip import Unit
from dfcompiler.moves import INNER
from dfcompiler.problem import Problem, problem
from dfcompiler.solution import Task
from dfcompiler.stream import Blocked

TEMPORAL, SPATIAL = "temporal", "spatial"


@dataclass(frozen=True)
class Loop:
    """`bound` rounds over a dimension, `last` in the last round of the loops outside."""

    dim: str
    bound: int
    last: int


@dataclass(frozen=True)
class Storage:
    """A memory, or a part of one, with the operands that it holds and the loops that run at it, outermost first.
    `across` are loops over instances below it."""

    name: str
    part: str
    holds: frozenset[str]
    temporal: tuple[Loop, ...]
    across: tuple[Loop, ...] = ()
    inside: bool = False  # the fan-out is that of an array, not of cores


@dataclass(frozen=True)
class Nest:
    """A mapped operator: bits of an element (the widest), sizes of its dimensions, which of them each operand has, and
    its storages, outermost first. `widened` are dimensions whose tile of ours is rounded up: ours, and that of the
    nest."""

    name: str
    unit: str
    bits: int
    sizes: Mapping[str, int]
    operands: Mapping[str, frozenset[str]]
    written: frozenset[str]
    storages: tuple[Storage, ...]
    widened: Mapping[str, tuple[int, int]]


def nests(mapped: Mapped) -> tuple[list[Nest], dict[str, str]]:
    """The nests of all tasks of a step that have one, and of the others why they have none."""
    found, refused = [], dict[str, str]()
    for layer in mapped.layers:
        for task in layer.solution.tasks:
            try:
                found.append(nest(mapped, task))
            except Infeasible as why:
                refused[task.column.nodes[-1]] = why.message
    return found, refused


def nest_of(mapped: Mapped, op: str) -> Nest:
    """The nest of the op of this name; raises Diag `unknown-node`, Infeasible `not-expressible`."""
    tasks = {n: t for layer in mapped.layers for t in layer.solution.tasks for n in t.column.nodes}
    if op not in tasks:
        raise unknown("node", op, tasks)
    return nest(mapped, tasks[op])


def nest(mapped: Mapped, task: Task) -> Nest:
    """The nest of a task; raises Infeasible `not-expressible` for what is no dense product of two operands."""
    column = task.column
    unit = mapped.chip.units.get(column.unit)
    made = group(mapped.graph, column.nodes)
    if isinstance(made, Blocked) or unit is None:
        raise Infeasible("not-expressible", "it runs on no compute unit")
    if column.pins:
        names = " and ".join(sorted(pin.tensor for pin in column.pins))
        raise Infeasible("not-expressible", f"it finds {names} on the chip, and a nest begins in the DRAM")
    p = problem(made, mapped.dtypes)
    _check(p, column.nodes)
    tiling = column.tiling
    sizes = {x.name: x.size for x in p.loops}
    operands = {o.name: o.loops for o in p.operands}
    held = {o: set[tuple[int, str]]() for o in operands}
    for k in tiling.keeps:
        held[k.operand].add((k.since, k.where))
    storages = list(_placed(p, unit, tiling.order, tiling.tile, tiling.ways, held))
    last = (*storages[-1].temporal, *storages[-1].across)
    points = {d: prod(x.bound for x in last if x.dim == d) for d in tiling.tile}
    return Nest(
        name=column.nodes[-1],
        unit=unit.name,
        bits=max(p.a_bits, p.b_bits),
        sizes=sizes,
        operands=operands,
        written=frozenset(o.name for o in p.operands if o.kind == "write"),
        storages=tuple(_bounded(storages, sizes)),
        widened={d: (t, points[d]) for d, t in tiling.tile.items() if t != points[d]},
    )


def _check(p: Problem, nodes: Sequence[str]) -> None:
    if len(nodes) > 1:
        raise Infeasible("not-expressible", f"{' and '.join(nodes)} run as one, and a nest is of one operator")
    if len(p.contractions) != 1 or p.vector:
        raise Infeasible("not-expressible", "it is no product of two operands alone")
    if p.band is not None or any(p.proportional(o) != o.loops for o in p.operands):
        raise Infeasible("not-expressible", "its points are masked, shifted or looked up")


# ---- storages ----------------------------------------------------------------------------------


def _placed(
    p: Problem,
    unit: Unit,
    order: Sequence[str],
    tile: Mapping[str, int],
    ways: Mapping[str, int],
    held: Mapping[str, set[tuple[int, str]]],
) -> Iterator[Storage]:
    """Storages with loops whose bounds are whole; `_bounded` finds what the last rounds take."""
    every, sizes = frozenset(held), {x.name: x.size for x in p.loops}
    trips = {n: Loop(n, ceil(sizes[n] / (tile.get(n, 1) * ways.get(n, 1))), 0) for n in sizes}
    outer, inner = unit.levels[-2].part if len(unit.levels) > 2 else "", unit.levels[-1].part
    dram = unit.levels[0].part
    cores = tuple(Loop(n, ways[n], 0) for n in sizes if ways.get(n, 1) > 1)
    keeps = sorted({(since, where == INNER) for places in held.values() for since, where in places})
    current, name, holds, at, spread = dram, dram, every, 0, False
    for since, inside in keeps:
        fan = cores if inside and not spread else ()
        yield Storage(name, current, holds, tuple(trips[n] for n in order[at:since]), fan)
        spread, at = spread or inside, since
        current = inner if inside else outer
        name = f"{current}_from_{since}"
        holds = frozenset(o for o, places in held.items() if (since, INNER if inside else "outer") in places)
    yield Storage(name, current, holds, tuple(trips[n] for n in order[at:]), () if spread else cores)
    kept = frozenset(o for o, places in held.items() if any(where == INNER for _, where in places))
    folds, lanes = _array(p, unit, tile)
    yield Storage(inner, inner, every - kept or every, folds, lanes, inside=True)


def _array(p: Problem, unit: Unit, tile: Mapping[str, int]) -> tuple[tuple[Loop, ...], tuple[Loop, ...]]:
    """Loops of a tile over passes of the array, and over its rows and columns: what a unit unrolls is its granule."""
    (c,), granule = p.contractions, unit.template.granule()
    wide = {}
    for role, indices in (("m", c.m), ("n", c.n), ("k", c.k)):
        own = [x.name for x in p.loops if set(x.indices) <= set(indices) and tile.get(x.name, 1) > 1]
        if len(own) == 1 and granule.get(role, 1) > 1:
            wide[own[0]] = min(granule[role], tile[own[0]])
    folds = tuple(Loop(n, ceil(t / wide.get(n, 1)), 0) for n, t in tile.items() if ceil(t / wide.get(n, 1)) > 1)
    return folds, tuple(Loop(n, w, 0) for n, w in wide.items())


def _bounded(storages: Sequence[Storage], sizes: Mapping[str, int]) -> Iterator[Storage]:
    """The same with what each loop takes in the last round of those outside: the points that are left over the points
    of a round of it."""
    chain = [(x.dim, x.bound) for s in storages for x in (*s.temporal, *s.across)]
    left, done = dict(sizes), 0

    def last(loops: Sequence[Loop]) -> Iterator[Loop]:
        nonlocal done
        for x in loops:
            done += 1
            inside = prod(b for dim, b in chain[done:] if dim == x.dim)
            rounds = min(x.bound, ceil(left[x.dim] / inside))
            left[x.dim] -= (rounds - 1) * inside
            yield Loop(x.dim, x.bound, rounds)

    for s in storages:
        temporal = tuple(last(s.temporal))
        yield Storage(s.name, s.part, s.holds, temporal, tuple(last(s.across)), s.inside)
