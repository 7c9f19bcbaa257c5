"""Every legal tiling of a loop nest on a unit, priced in blocks; the best for each share of the way to memory, exactly.

The best is the fastest, or where energy counts all that no other beats in time and energy.

The map space of one problem on one unit: how many instances each loop that is no sum is split over (see
`tiles.splits`); one tile size per loop, all distinct trip counts, rounded up to what fills the unit; every
order of the loops; for every operand, streamed or kept across the loops that it does not depend on, in the
unit's memory or in the one above. Tilings are visited in the order of a lower bound and the rest is dropped
when no bound can beat what was found, so the result is optimal in this space; `candidates` counts its tilings
in all their orders, residencies not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from dfcompiler.blocks import Block
from dfcompiler.consumption import Consumption
from dfcompiler.expenses import least_pj
from dfcompiler.fronts import Best, Found, Front
from dfcompiler.grouping import grouped
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.launches import launch
from dfcompiler.moves import INNER, OUTER, Frame, Keep
from dfcompiler.nest import ABOVE_READ, ABOVE_WRITE, DRAM_READ, DRAM_WRITE, INNER_IN, INNER_OUT, Nest, Tiles
from dfcompiler.problem import Problem
from dfcompiler.residency import structures
from dfcompiler.tiles import (
    by_pattern,
    coarse,
    grids,
    lower_bounds,
    orders_of,
    picked,
    select,
    shape_of,
    smallest_room,
    tiles_of,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COARSE = 6  # sizes of each loop in the grid that comes first
MANY = 1 << 18  # tilings that wait to be priced
BLOCK = 2048  # tilings, and pairs, that are priced in one call
PAIRS = 1 << 18  # pairs of a tiling and a structure whose bounds are held at once
FIRST = 64  # pairs that are priced before the others: what they reach rules out most of the rest
SHARES = (1.0, 0.5)  # of the way to memory that a column may reserve
RESOLUTION = 16  # resources that are shared are reserved in sixteenths


@dataclass(frozen=True)
class Tiling:
    """One mapping of a problem onto a unit and its price. Cycles are of the chip's clock."""

    share: float
    cycles: float
    compute_cycles: float
    helper_cycles: float  # of the vector unit beside, in all
    memory_cycles: float  # DRAM busy at its full bandwidth
    dram_bytes: float
    level_bytes: Mapping[str, float]
    tile: Mapping[str, int]
    ways: Mapping[str, int]
    order: tuple[str, ...]
    keeps: tuple[Keep, ...]
    room_bytes: float
    room_above_bytes: float


@dataclass(frozen=True)
class Search:
    """What a search found: the best tiling for each share, or why there is none."""

    tilings: tuple[Tiling, ...]
    candidates: int
    why: str = ""


def search(
    problem: Problem,
    unit: Unit,
    helper: Unit | None,
    shares: Sequence[float] = SHARES,
    limits: Mapping[float, float] | None = None,
    tech: Tech | None = None,
) -> Search:
    """The best tilings of a problem on a unit, in any of its loop forms; `helper` runs the vector work that the unit
    cannot. With the constants of a process all that are best by some measure of time and energy, the fastest first.

    An empty result says in `why` which constraint fails and by how much.
    """
    why = unable(problem, unit, helper)
    if why:
        return Search((), 0, why)
    if isinstance(unit.template, KernelCompute):
        return _launched(problem, unit)
    finite = {s: limit for s, limit in (limits or {}).items() if limit < float("inf")}
    best, candidates, by_place = Front(finite) if tech else Best(finite), 0, grouped(problem)
    used = Consumption.of(problem, unit, helper, tech) if tech else None
    for form in (by_place, problem) if by_place else (problem,):
        more, why = _search(form, unit, helper, shares, best, used)
        candidates += more
    return Search(tuple(_tiling(f, s) for s, f in best.every()), candidates, "" if best.found else why)


def _launched(problem: Problem, unit: Unit) -> Search:
    """A unit that runs whole kernels has one way to run a problem, with all of the way to memory, or none."""
    found = launch(problem, unit)
    if found.why:
        return Search((), 1, found.why)
    clock, names = unit.clock_hz, [x.part for x in unit.levels]
    cycles = (found.seconds * clock, found.compute_s * clock, 0.0, found.memory_s * clock)
    moved = dict.fromkeys(names[:2], found.dram_bytes)
    return Search((Tiling(1.0, *cycles, found.dram_bytes, moved, {}, {}, (), (), 0.0, 0.0),), 1)


def _search(
    problem: Problem,
    unit: Unit,
    helper: Unit | None,
    shares: Sequence[float],
    best: Best,
    used: Consumption | None = None,
) -> tuple[int, str]:
    """Search one loop form for what is better than the best; the number of tilings, and why none is legal.

    A coarse grid comes first: what it reaches rules out most of the fine one before that is priced."""
    capacity, smallest, candidates = unit.levels[-1].capacity_bytes, np.inf, 0
    _price_all(problem, unit, helper, coarse(problem, unit, COARSE), shares, best, used)
    waiting: list[Floats] = []
    for grid in grids(problem, unit, helper):
        room = smallest_room(problem, grid)
        smallest = min(smallest, float(room.min()))
        fits = np.broadcast_to(room <= capacity, shape_of(grid))
        candidates += orders_of(problem, grid, fits)
        bounds = zip(shares, lower_bounds(problem, unit, grid, shares), strict=True)
        least = _least_pj(problem, used, grid)
        waiting.append(picked(grid, fits & reduce(np.logical_or, [best.near(s, b, least) for s, b in bounds])))
        if sum(x.shape[-1] for x in waiting) > MANY:
            _price_all(problem, unit, helper, np.concatenate(waiting, -1), shares, best, used)
            waiting = []
    if waiting:
        _price_all(problem, unit, helper, np.concatenate(waiting, -1), shares, best, used)
    if best.found:
        return candidates, ""
    own = f"`{unit.levels[-1].part}`, `{unit.name}` has {capacity:,} B"
    if smallest > capacity:
        return candidates, f"the smallest tile needs {smallest:,.0f} B of {own}"
    if best.limits:
        most = max(best.limits.values())
        return candidates, f"no tiling takes {most:,.0f} cycles or fewer, as one that shortens the schedule would"
    return candidates, f"buffers need {tightest(problem, unit, helper):,.0f} B of {own}"


def tightest(problem: Problem, unit: Unit, helper: Unit | None) -> float:
    """Bytes of the unit's memory that the buffers of a tiling take at the least."""
    least = np.inf
    for grid in grids(problem, unit, helper):
        tiles = _flat(problem, unit, helper, picked(grid, np.ones(shape_of(grid), dtype=bool)))
        for live, at in by_pattern(problem, tiles):
            room = Nest(problem, unit, select(tiles, at), live).traffic().room
            least = min(least, float(np.min(room)))
    return least


def _flat(problem: Problem, unit: Unit, helper: Unit | None, sizes: Floats) -> Tiles:
    """Tilings of these tile sizes and splits `[2, loop, tiling]`."""
    names = [x.name for x in problem.loops]
    size, ways = (dict(zip(names, a, strict=True)) for a in sizes)
    return tiles_of(problem, unit, helper, size, ways)


def _least_pj(problem: Problem, used: Consumption | None, tiles: Tiles) -> Floats:
    """Energy that tilings take at the least, whatever they keep; 0 where it does not count."""
    return least_pj(used, problem, tiles) if used else np.zeros(1)


def _price_all(
    problem: Problem,
    unit: Unit,
    helper: Unit | None,
    sizes: Floats,
    shares: Sequence[float],
    best: Best,
    used: Consumption | None,
) -> None:
    """Price tilings in blocks of the same loops that run more than once, the most promising ones first."""
    if not sizes.shape[-1]:
        return
    tiles, frame = _flat(problem, unit, helper, sizes), Frame.of(problem)
    every = np.stack(lower_bounds(problem, unit, tiles, shares))
    every[:, smallest_room(problem, tiles) > unit.levels[-1].capacity_bytes] = np.inf
    least = np.broadcast_to(_least_pj(problem, used, tiles), tiles.compute.shape)
    levels = (INNER, OUTER) if len(unit.levels) > 2 else (INNER,)
    for live, here in sorted(by_pattern(problem, tiles), key=lambda x: float(every[0, x[1]].min())):
        here = here[np.argsort(every[0, here], kind="stable")]
        found = structures(frame, live, levels, traced=used is not None)
        for start in range(0, len(here), BLOCK):
            block = here[start : start + BLOCK]
            near = {s: best.near(s, b[block], least[block]) for s, b in zip(shares, every, strict=True)}
            open_ = {s: b for s, b in zip(shares, every, strict=True) if near[s].any()}
            if open_:
                block = block[reduce(np.logical_or, near.values())]
                chosen = select(tiles, block)
                for some in found:
                    _price(Block(problem, unit, chosen, some, used), {s: b[block] for s, b in open_.items()}, best)


def unable(problem: Problem, unit: Unit, helper: Unit | None) -> str:
    """Why a unit cannot run a problem at all, empty where it can."""
    if why := _refused(problem, unit):
        return why
    kinds = set(problem.vector)
    template = unit.template
    if problem.contractions and not template.runs("mac"):
        return f"`{unit.name}` has no multiply-accumulate"
    rest = sorted(k for k in kinds if not unit.does(k))
    if not rest:
        return ""
    if not problem.contractions:
        return f"`{unit.name}` cannot run {', '.join(rest)}"
    if helper is None or not all(helper.template.runs(k) for k in rest):
        return f"`{unit.name}` cannot run {', '.join(rest)}, and no vector unit beside it can"
    return ""


def _refused(problem: Problem, unit: Unit) -> str:
    """Why a unit cannot do the products of a problem, empty where it can."""
    if refused := sorted(x for x in problem.multiplied if not unit.template.multiplies(x)):
        return f"`{unit.name}` does not multiply {', '.join(refused)}"
    held = float(unit.template.weights_held(problem.b_bits)) * unit.instances
    for c in problem.contractions if held < float("inf") else ():
        if c.b not in problem.weights:
            return f"`{unit.name}` holds its weights before a step, and `{c.b}` is none"
        if (count := problem.group.types[c.b].elements) > held:
            return f"`{c.b}` has {count:,} weights, `{unit.name}` holds {held:,.0f}"
    return ""


def _price(block: Block, bounds: Mapping[float, Floats], best: Best) -> None:
    """Price all pairs of a block that may better what was found, the most promising ones first. `bounds` are those of
    its tilings for each share."""
    shares, levels, every = tuple(bounds), block.unit.levels, block.structures.rows
    limits = levels[-1].capacity_bytes, levels[-2].capacity_bytes if len(levels) > 2 else np.inf
    fit = np.logical_and(*(block.within(r, c) for r, c in zip(block.rooms, limits, strict=True)))
    least = [block.least_of(each, fit) for each in block.passing]
    at = np.flatnonzero(best.open(shares, *_floors(block, bounds, least, np.arange(len(fit[0])))))
    rows = np.arange(len(every))
    if len(rows) * len(at) > PAIRS:
        rows = np.flatnonzero(block.useful(max(best.bound(s) * s for s in shares), *limits))
    for some in np.array_split(rows, -(-len(rows) * len(at) // PAIRS) or 1) if len(at) else ():
        fits = [block.all_of(r[:, at], every[some]) <= c for r, c in zip(block.rooms, limits, strict=True)]
        busy = [block.all_of(each[:, at], every[some]) for each in block.passing]
        floors, beside = _floors(block, bounds, busy, at)
        left, few, promise = np.flatnonzero(np.logical_and(*fits)), FIRST, best.promise(floors, beside).ravel()
        while len(left := left[best.open(shares, [x.ravel()[left] for x in floors], beside.ravel()[left])]):
            now = np.argpartition(promise[left], few)[:few] if len(left) > few else np.arange(len(left))
            structures, tilings = np.unravel_index(left[now], beside.shape)
            _update(block, some[structures], at[tilings], shares, best)
            left, few = np.delete(left, now), BLOCK


def _floors(
    block: Block, bounds: Mapping[float, Floats], busy: Sequence[Floats], at: Ints
) -> tuple[list[Floats], Floats]:
    """What these tilings of a block take at the least where ports are so busy: cycles for each share, and what counts
    beside them."""
    nest = block.nest
    alone, longest = nest.tiles.compute[at] + nest.waits, reduce(np.maximum, busy[:-1]) + nest.store[at]
    return [np.maximum(alone + longest / s, b[at]) for s, b in bounds.items()], busy[-1] + block.alone[at]


def _update(block: Block, structures: Ints, tilings: Ints, shares: Sequence[float], best: Best) -> None:
    """Price pairs of a structure and a tiling; what is best for each share is kept."""
    nest, traffic = block.traffic(structures, tilings)
    beside = block.beside(nest, traffic, structures, tilings)
    for share, cycles in zip(shares, nest.cycles(traffic, shares), strict=True):

        def made(at: int, cycles: Floats = cycles) -> Found:
            room = float(traffic.room[at]), float(traffic.room_above[at])
            moves, keeps = block.structures.mapping(int(structures[at]))
            one = Nest(block.problem, block.unit, select(nest.tiles, np.array([at])), moves)
            return Found(float(cycles[at]), float(beside[at]), one, keeps, room)

        best.offer(share, cycles, beside, nest.tiles.compute, made)


def _tiling(found: Found, share: float) -> Tiling:
    """The tiling with the bytes that really move, ragged edges and masks counted."""
    nest, tiles, unit = found.nest, found.nest.tiles, found.nest.unit
    moved = nest.bytes(found.keeps)[:, 0]
    steps = float(nest.counts.sum())
    names = [x.part for x in unit.levels]
    read, write = float(moved[DRAM_READ]), float(moved[DRAM_WRITE])
    through = {names[-2]: float(moved[ABOVE_READ] + moved[ABOVE_WRITE])} if len(names) > 2 else {}
    level_bytes = {names[0]: read + write, **through, names[-1]: float(moved[INNER_IN] + moved[INNER_OUT])}
    top = unit.levels[1]
    return Tiling(
        share,
        found.cycles,
        steps * float(tiles.compute[0]),
        steps * float(tiles.helper[0]),
        _busy(read / top.source_bytes_per_cycle, write / top.sink_bytes_per_cycle, unit),
        read + write,
        level_bytes,
        {n: int(a[0]) for n, a in tiles.size.items()},
        {n: int(a[0]) for n, a in tiles.ways.items() if a[0] > 1},
        nest.order,
        found.keeps,
        *found.room,
    )


def _busy(reading: float, writing: float, unit: Unit) -> float:
    """Cycles in which the DRAM is busy: reads and writes in turn, or side by side where it is full duplex."""
    return reading + writing if unit.levels[0].half_duplex else max(reading, writing)
