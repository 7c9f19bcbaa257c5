"""Every legal tiling of a loop nest on a unit, priced in blocks; the best for each share of the way to memory, exactly.

The map space of one problem on one unit: how many instances each loop that is no sum is split over (see
`tiles.splits`); one tile size per loop, all distinct trip counts, rounded up to what fills the unit; every
order of the loops; for every operand, streamed or kept across the loops that it does not depend on, in the
unit's memory or in the one above. Tilings are visited in the order of a lower bound and the rest is dropped
when no bound can beat what was found, so the result is optimal in this space; `candidates` counts its tilings
in all their orders, residencies not counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from math import prod
from operator import add

import numpy as np
import numpy.typing as npt

from dfcompiler import residency
from dfcompiler.grouping import grouped
from dfcompiler.hardware.chip import Unit
from dfcompiler.nest import (
    ABOVE_READ,
    ABOVE_WRITE,
    DRAM_READ,
    DRAM_WRITE,
    INNER,
    INNER_IN,
    INNER_OUT,
    OUTER,
    Keep,
    Nest,
    Tiles,
    Traffic,
)
from dfcompiler.problem import Problem
from dfcompiler.tiles import by_pattern, enumerate_tiles, lower_bounds, select, smallest_room

Floats = npt.NDArray[np.float64]

BLOCK = 2048  # tilings priced in one call: arrays of this length stay in a core's cache
FIRST = 512  # the most promising ones go first: what they reach rules out most of the rest
NARROW = 0.7  # where fewer of a block's tilings are worth pricing, the others are taken out first
SHARES = (1.0, 0.5)  # of the way to memory that a column may reserve


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


@dataclass(frozen=True)
class _Found:
    """A tiling by where it stands in the search; whole tiles' bytes decide between equal times."""

    cycles: float
    dram_bytes: float
    compute: float
    nest: Nest
    keeps: tuple[Keep, ...]
    at: int
    room: tuple[float, float]

    @property
    def merit(self) -> tuple[float, float, float]:
        return self.cycles, self.dram_bytes, self.compute


@dataclass
class _Best:
    """The best so far for each share, by (cycles, DRAM bytes, compute cycles); none takes more than `limits` say."""

    limits: Mapping[float, float] = field(default_factory=dict)
    found: dict[float, _Found] = field(default_factory=dict)

    def bound(self, share: float) -> float:
        return self.found[share].cycles if share in self.found else self.limits.get(share, float("inf"))

    def open(
        self, shares: Sequence[float], floors: Sequence[Floats] | Floats, dram_bytes: Floats | None = None
    ) -> npt.NDArray[np.bool_]:
        """Where what was found may be bettered by what takes no less than `floors` say, per share: by time, or by
        bytes in the same time."""
        found = np.zeros(len(floors[0]), dtype=bool)
        for share, cycles in zip(shares, floors, strict=True):
            held = self.found.get(share)
            fewer = True if held is None or dram_bytes is None else dram_bytes < held.dram_bytes * (1 - 1e-12)
            bound = self.bound(share)
            found |= (cycles < bound * (1 - 1e-12)) | ((cycles <= bound) & fewer)
        return found

    def reached(self, share: float, cycles: float, dram_bytes: float) -> bool:
        """Whether what was found takes no longer and moves no more than this."""
        held = self.found.get(share)
        return held is not None and held.cycles <= cycles and held.dram_bytes <= dram_bytes * (1 + 1e-12)

    def offer(self, share: float, found: _Found) -> None:
        held = self.found.get(share)
        if held is None or found.merit < held.merit:
            self.found[share] = found


def search(
    problem: Problem,
    unit: Unit,
    helper: Unit | None,
    shares: Sequence[float] = SHARES,
    limits: Mapping[float, float] | None = None,
) -> Search:
    """The best tilings of a problem on a unit, in any of its loop forms; `helper` runs the vector work that the unit
    cannot.

    An empty result says in `why` which constraint fails and by how much.
    """
    why = unable(problem, unit, helper)
    if why:
        return Search((), 0, why)
    finite = {s: limit for s, limit in (limits or {}).items() if limit < float("inf")}
    best, candidates, by_place = _Best(finite), 0, grouped(problem)
    for form in (by_place, problem) if by_place else (problem,):
        more, why = _search(form, unit, helper, shares, best)
        candidates += more
    return Search(tuple(_tiling(f, s) for s, f in best.found.items()), candidates, "" if best.found else why)


def _search(problem: Problem, unit: Unit, helper: Unit | None, shares: Sequence[float], best: _Best) -> tuple[int, str]:
    """Search one loop form for what is better than the best; the number of tilings, and why none is legal."""
    tiles = enumerate_tiles(problem, unit, helper)
    room = smallest_room(problem, tiles)
    capacity = unit.levels[-1].capacity_bytes
    if not np.any(room <= capacity):
        missing = (
            f"the smallest tile needs {room.min():,.0f} B of `{unit.levels[-1].part}`, `{unit.name}` has {capacity:,} B"
        )
        return len(room), missing
    tiles, candidates = select(tiles, room <= capacity), 0
    for live, piece in by_pattern(problem, tiles):
        bounds = dict(zip(shares, lower_bounds(problem, unit, piece, shares), strict=True))
        candidates += len(piece.compute) * prod(range(1, len(live) + 1))
        order = np.argsort(bounds[shares[0]], kind="stable")
        for start, stop in itertools.pairwise([0, *range(FIRST, len(order), BLOCK), len(order)]):
            block = order[start:stop]
            open_ = [s for s in shares if np.any(bounds[s][block] < best.bound(s))]
            if not open_:
                continue
            block = block[np.any([bounds[s][block] < best.bound(s) for s in open_], axis=0)]
            least = {s: float(bounds[s][block].min()) for s in open_}
            _price(problem, unit, select(piece, block), live, least, best)
    if not best.found and best.limits:
        return candidates, "no tiling takes less than its parts one after another"
    if not best.found:
        tightest = min(
            float(Nest(problem, unit, p, live).traffic().room.min()) for live, p in by_pattern(problem, tiles)
        )
        why = f"buffers need {tightest:,.0f} B of `{unit.levels[-1].part}`, `{unit.name}` has {capacity:,} B"
        return candidates, why
    return candidates, ""


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


def _price(
    problem: Problem, unit: Unit, tiles: Tiles, live: Sequence[str], least: Mapping[float, float], best: _Best
) -> None:
    """Price a block in every order and residency and update the best, until nothing in it can be better: when for
    every share the block's bound `least` is reached with no more than compulsory traffic."""
    shares = tuple(least)
    levels = [INNER] + ([OUTER] if len(unit.levels) > 2 else [])
    capacity = unit.levels[-1].capacity_bytes
    above = unit.levels[-2].capacity_bytes if len(unit.levels) > 2 else float("inf")
    nests = [Nest(problem, unit, tiles, order) for order in itertools.permutations(live)]
    floors = [np.stack(nest.cycles(residency.ideal(nest), shares)) for nest in nests]
    for at in sorted(range(len(nests)), key=lambda i: float(floors[i][0].min())):
        open_ = best.open(shares, floors[at])
        if not open_.any():
            continue
        nest = _some(nests[at], open_)
        each = residency.parts(nest, levels)
        low = residency.floors(nest, each, capacity, above)
        open_ = _open(nest, best, shares, reduce(add, low))
        if not open_.any():
            continue
        if open_.mean() < NARROW:
            nest = _some(nest, open_)
            each = residency.parts(nest, levels)
            low = residency.floors(nest, each, capacity, above)
        hopeful = partial(_hopeful, nest, best, shares)
        for keeps, traffic in residency.options(each, low, capacity, above, hopeful):
            fits = (traffic.room <= capacity) & (traffic.room_above <= above)
            for share, cycles in zip(shares, nest.cycles(traffic, shares), strict=True):
                _keep_best(best, nest, traffic, keeps, share, np.where(fits, cycles, np.inf))
            if all(best.reached(s, least[s], problem.total_bytes) for s in shares):
                return


def _open(nest: Nest, best: _Best, shares: Sequence[float], floor: Traffic) -> npt.NDArray[np.bool_]:
    """Which tilings may better what was found, with no less traffic than `floor`."""
    return best.open(shares, nest.cycles(floor, shares), _dram_bytes(nest, floor))


def _hopeful(nest: Nest, best: _Best, shares: Sequence[float], floor: Traffic) -> bool:
    return bool(_open(nest, best, shares, floor).any())


def _some(nest: Nest, which: npt.NDArray[np.bool_]) -> Nest:
    """The nest with these of its tilings only."""
    return nest if which.all() else Nest(nest.problem, nest.unit, select(nest.tiles, which), nest.order)


def _keep_best(
    best: _Best, nest: Nest, traffic: Traffic, keeps: tuple[Keep, ...], share: float, cycles: Floats
) -> None:
    low = cycles.min()
    if not low <= best.bound(share):
        return
    ties = np.flatnonzero(cycles <= low)
    dram = _dram_bytes(nest, traffic)[ties]
    first = int(np.lexsort((nest.tiles.compute[ties], dram))[0])
    at = int(ties[first])
    room = float(traffic.room[at]), float(traffic.room_above[at])
    best.offer(share, _Found(float(low), float(dram[first]), float(nest.tiles.compute[at]), nest, keeps, at, room))


def _dram_bytes(nest: Nest, traffic: Traffic) -> Floats:
    """Bytes to and from DRAM of each tiling, all tiles as large as whole ones."""
    return np.asarray((nest.counts * traffic.moved[DRAM_READ:].sum(0)).sum(0) + traffic.last_all)


def _tiling(found: _Found, share: float) -> Tiling:
    """The tiling with the bytes that really move, ragged edges and masks counted."""
    nest, at = found.nest, found.at
    tiles, unit = nest.tiles, nest.unit
    one = Nest(nest.problem, unit, select(tiles, np.asarray([at])), nest.order)
    moved = one.bytes(found.keeps)[:, 0]
    steps = float(nest.counts[:, at].sum())
    names = [x.part for x in unit.levels]
    read, write = float(moved[DRAM_READ]), float(moved[DRAM_WRITE])
    through = {names[-2]: float(moved[ABOVE_READ] + moved[ABOVE_WRITE])} if len(names) > 2 else {}
    level_bytes = {names[0]: read + write, **through, names[-1]: float(moved[INNER_IN] + moved[INNER_OUT])}
    top = unit.levels[1]
    return Tiling(
        share,
        found.cycles,
        steps * float(tiles.compute[at]),
        steps * float(tiles.helper[at]),
        _busy(read / top.source_bytes_per_cycle, write / top.sink_bytes_per_cycle, unit),
        read + write,
        level_bytes,
        {n: int(a[at]) for n, a in tiles.size.items()},
        {n: int(a[at]) for n, a in tiles.ways.items() if a[at] > 1},
        nest.order,
        found.keeps,
        *found.room,
    )


def _busy(reading: float, writing: float, unit: Unit) -> float:
    """Cycles in which the DRAM is busy: reads and writes in turn, or side by side where it is full duplex."""
    return reading + writing if unit.levels[0].half_duplex else max(reading, writing)
