"""Every legal tiling of a loop nest on a unit, priced in blocks; the best for each DRAM share, exactly.

The map space of one problem on one unit: how many instances each parallel loop is split over; one tile
size per loop, all distinct trip counts, rounded up to what fills the unit; every order of the loops; for
every operand, streamed or kept across the loops that it does not depend on, in the unit's memory or in
the one above. Tilings are visited in the order of a lower bound and the rest is dropped when no bound can
beat what was found, so the result is optimal in this space; `candidates` counts all of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, prod

import numpy as np
import numpy.typing as npt

from dfcompiler.facts import Array
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.template import Contraction, Tile
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
from dfcompiler.problem import NestLoop, Problem

Floats = npt.NDArray[np.float64]

BLOCK = 1024  # tilings priced in one call: arrays of this length stay in a core's cache
FIRST = 256  # the most promising ones go first: what they reach rules out most of the rest
SHARES = (1.0, 0.5, 0.25)  # of the DRAM's bandwidth that a column may reserve


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


@dataclass
class _Best:
    """The best tiling so far for each share, by (cycles, DRAM bytes, compute cycles)."""

    found: dict[float, Tiling] = field(default_factory=dict)

    def bound(self, share: float) -> float:
        return self.found[share].cycles if share in self.found else float("inf")

    def offer(self, tiling: Tiling) -> None:
        held = self.found.get(tiling.share)
        if held is None or _merit(tiling) < _merit(held):
            self.found[tiling.share] = tiling


def _merit(t: Tiling) -> tuple[float, float, float]:
    return t.cycles, t.dram_bytes, t.compute_cycles


def search(problem: Problem, unit: Unit, helper: Unit | None, shares: Sequence[float] = SHARES) -> Search:
    """The best tilings of a problem on a unit; `helper` runs the vector work that the unit cannot.

    An empty result says in `why` which constraint fails and by how much.
    """
    why = unable(problem, unit, helper)
    if why:
        return Search((), 0, why)
    best, candidates = _Best(), 0
    tiles = _enumerate(problem, unit, helper)
    room = _smallest_room(problem, tiles)
    capacity = unit.levels[-1].capacity_bytes
    if not np.any(room <= capacity):
        missing = (
            f"the smallest tile needs {room.min():,.0f} B of `{unit.levels[-1].part}`, `{unit.name}` has {capacity:,} B"
        )
        return Search((), len(room), missing)
    tiles = _select(tiles, room <= capacity)
    for live, piece in _patterns(problem, tiles):
        bounds = dict(zip(shares, _bounds(problem, unit, piece, shares), strict=True))
        candidates += len(piece.compute) * prod(range(1, len(live) + 1))
        order = np.argsort(bounds[shares[0]], kind="stable")
        for start, stop in itertools.pairwise([0, *range(FIRST, len(order), BLOCK), len(order)]):
            block = order[start:stop]
            open_ = [s for s in shares if np.any(bounds[s][block] < best.bound(s))]
            if not open_:
                continue
            block = block[np.any([bounds[s][block] < best.bound(s) for s in open_], axis=0)]
            _price(problem, unit, _select(piece, block), live, open_, best)
    if not best.found:
        tightest = min(
            float(Nest(problem, unit, p, live).traffic().room.min()) for live, p in _patterns(problem, tiles)
        )
        return Search(
            (),
            candidates,
            f"buffers need {tightest:,.0f} B of `{unit.levels[-1].part}`, `{unit.name}` has {capacity:,} B",
        )
    return Search(tuple(best.found.values()), candidates)


def unable(problem: Problem, unit: Unit, helper: Unit | None) -> str:
    """Why a unit cannot run a problem at all, empty where it can."""
    kinds = set(problem.vector)
    template = unit.template
    if problem.contractions and not template.runs("mac"):
        return f"`{unit.name}` has no multiply-accumulate"
    rest = sorted(k for k in kinds if not template.runs(k) or (k == "mac" and not template.runs("add")))
    if not rest:
        return ""
    if not problem.contractions:
        return f"`{unit.name}` cannot run {', '.join(rest)}"
    if helper is None or not all(helper.template.runs(k) for k in rest):
        return f"`{unit.name}` cannot run {', '.join(rest)}, and no vector unit beside it can"
    return ""


# ---- candidates --------------------------------------------------------------------------------


def tile_sizes(size: int, granule: int) -> npt.NDArray[np.int64]:
    """Tile sizes with distinct trip counts, rounded up to multiples of `granule` (or the whole); ascending."""
    trips = np.unique(-(-size // np.arange(1, int(size**0.5) + 2)))
    every = np.unique(np.concatenate([trips, -(-size // trips), [size]]))
    aligned = np.minimum(-(-every // granule) * granule, size)
    return np.unique(aligned)


def splits(sizes: Sequence[int], instances: int) -> list[tuple[int, ...]]:
    """Ways to split loops over instances: products up to `instances` that nothing in the list improves on."""
    steps = sorted(
        {
            1,
            instances,
            *(1 << i for i in range(instances.bit_length())),
            *(d for d in range(1, instances + 1) if instances % d == 0),
        }
    )
    legal = [
        c for c in itertools.product(*([s for s in steps if s <= max(1, n)] for n in sizes)) if prod(c) <= instances
    ]
    full = max((prod(c) for c in legal), default=1)
    return [c for c in legal if prod(c) > full // 2] or [tuple(1 for _ in sizes)]


def _enumerate(problem: Problem, unit: Unit, helper: Unit | None) -> Tiles:
    """Every split and tile size."""
    loops = problem.loops
    parallel = [x for x in loops if not x.reduced]
    granules = _granules(problem, unit, loops)
    columns: dict[str, list[npt.NDArray[np.int64]]] = {x.name: [] for x in loops}
    over: dict[str, list[npt.NDArray[np.int64]]] = {x.name: [] for x in loops}
    for chosen in splits([x.size for x in parallel], unit.instances):
        ways = dict(zip((x.name for x in parallel), chosen, strict=True))
        each = [tile_sizes(ceil(x.size / ways.get(x.name, 1)), granules[x.name]) for x in loops]
        for x, g in zip(loops, np.meshgrid(*each, indexing="ij"), strict=True):
            columns[x.name].append(g.ravel())
            over[x.name].append(np.full(g.size, ways.get(x.name, 1)))
    size = {n: np.concatenate(c).astype(np.float64) for n, c in columns.items()}
    return _tiles(problem, unit, helper, size, {n: np.concatenate(c).astype(np.float64) for n, c in over.items()})


def _patterns(problem: Problem, tiles: Tiles) -> Iterator[tuple[tuple[str, ...], Tiles]]:
    """Tilings by which loops run more than once: the order of the others does not matter. Few loops first."""
    names = [x.name for x in problem.loops]
    code = sum(
        ((tiles.trips[n] > 1).astype(np.int64) << i for i, n in enumerate(names)),
        np.zeros(len(tiles.compute), np.int64),
    )
    for pattern in sorted(np.unique(code), key=lambda c: (int(c).bit_count(), c)):
        yield tuple(n for i, n in enumerate(names) if pattern >> i & 1), _select(tiles, code == pattern)


def _bounds(problem: Problem, unit: Unit, tiles: Tiles, shares: Sequence[float]) -> list[Floats]:
    """Cycles, for each share, that no order and no residency can beat: the first load, all tiles and the last
    store in turn; or compulsory traffic at the DRAM's bandwidth and one tile that nothing hides."""
    nest = Nest(problem, unit, tiles, ())
    top, waits = unit.levels[1], float(unit.template.fill_cycles()) + sum(x.latency_cycles for x in unit.levels)
    rate = max(top.source_bytes_per_cycle, top.sink_bytes_per_cycle) * (1 if unit.levels[0].half_duplex else 2)
    rest = (_steps(problem, tiles) - 1) * tiles.compute
    turns = [c + rest for c in nest.cycles(nest.traffic(), shares)]
    return [
        np.maximum(t, problem.total_bytes / (rate * s) + tiles.compute + waits)
        for t, s in zip(turns, shares, strict=True)
    ]


def _granules(problem: Problem, unit: Unit, loops: Sequence[NestLoop]) -> dict[str, int]:
    """Per loop the tile granularity that leaves no lane idle: that of the roles its indices play."""
    grain = unit.template.granule()
    found = dict.fromkeys((x.name for x in loops), 1)
    for c in problem.contractions:
        for role, indices in (("m", c.m), ("n", c.n), ("k", c.k)):
            inside = [x for x in loops if set(x.indices) & set(indices)]
            rest = prod(problem.group.sizes[i] for i in indices if not any(i in x.indices for x in inside))
            for x in inside[:1]:
                found[x.name] = max(found[x.name], grain.get(role, 1) // max(1, rest))
    return found


def _tiles(
    problem: Problem, unit: Unit, helper: Unit | None, size: dict[str, Floats], ways: dict[str, Floats]
) -> Tiles:
    shard = {x.name: np.ceil(x.size / ways[x.name]) for x in problem.loops}
    trips = {n: np.ceil(shard[n] / size[n]) for n in size}
    count = len(next(iter(size.values()))) if size else 1
    pairs, full = _masked(problem, unit, size, ways, count)
    own, beside = tile_work(problem, unit, helper, Tiles(size, ways, trips, np.zeros(count), np.zeros(count)))
    elements = {o.name: _long(problem.elements(o.name, size), count) for o in problem.operands}
    return Tiles(size, ways, trips, _long(np.maximum(own, beside), count), _long(beside, count), pairs, full, elements)


def _long(a: Array, count: int) -> Floats:
    return np.ascontiguousarray(np.broadcast_to(np.asarray(a, dtype=np.float64), (count,)))


def _masked(
    problem: Problem, unit: Unit, size: Mapping[str, Floats], ways: Mapping[str, Floats], count: int
) -> tuple[Floats, Floats] | tuple[None, None]:
    """Non-empty tiles of the masked pair of loops, and how full they are; equal pairs are counted once."""
    band = problem.band
    if band is None or band.col not in size:
        return None, None
    none = np.ones(count)
    row, split = (a.get(band.row or "", none) for a in (size, ways))
    together = [size[x] * ways[x] for x in (band.col, *band.others)]
    keys, back = np.unique(np.stack([row, split, *together], 1).astype(np.int64), axis=0, return_inverse=True)
    pairs, full = np.ones(len(keys)), np.ones(len(keys))
    for i, (r, w, c, *rest) in enumerate(keys.tolist()):
        pairs[i] = band.pairs(r * w, c, tuple(rest))
        seen = band.width(r * w) if unit.levels[-1].multicast else band.width(r) / w
        full[i] = seen / (pairs[i] * c)
    return pairs[back.ravel()], full[back.ravel()]


def tile_work(problem: Problem, unit: Unit, helper: Unit | None, tiles: Tiles) -> tuple[Floats, Floats]:
    """Cycles of one tile on the unit, and on the vector unit beside it."""
    size = tiles.size
    matrix = tuple(
        Contraction(
            problem.role(c.batch, size), problem.role(c.m, size), problem.role(c.n, size), problem.role(c.k, size)
        )
        for c in problem.contractions
    )
    mine: dict[str, Floats] = {}
    other: dict[str, Floats] = {}
    for term in problem.facts.work.terms:
        amount = np.asarray(problem.role(term.indices, size), dtype=np.float64)
        for x in problem.loops:
            if x.reduced and not set(x.indices) & set(term.indices):
                amount = amount / tiles.trips[x.name]  # once per sum, not per tile of it
        to = mine if unit.template.runs(term.kind) and (term.kind != "mac" or unit.template.runs("add")) else other
        to[term.kind] = to.get(term.kind, np.zeros(1)) + amount
    own = unit.template.cycles(Tile(matrix, mine, problem.a_bits, problem.b_bits, problem.acc_bits), unit.ports)
    beside: Floats = np.zeros(1)
    if other and helper:
        beside = np.asarray(
            helper.template.cycles(Tile((), other, problem.a_bits, problem.b_bits, problem.acc_bits), helper.ports)
        )
    return np.asarray(own, dtype=np.float64), np.asarray(beside, dtype=np.float64)


def _select(tiles: Tiles, which: npt.NDArray[np.generic]) -> Tiles:
    def pick(a: Floats) -> Floats:
        return np.asarray(a[which])

    return Tiles(
        {n: pick(a) for n, a in tiles.size.items()},
        {n: pick(a) for n, a in tiles.ways.items()},
        {n: pick(a) for n, a in tiles.trips.items()},
        pick(tiles.compute),
        pick(tiles.helper),
        None if tiles.pairs is None else pick(tiles.pairs),
        None if tiles.fill is None else pick(tiles.fill),
        {n: pick(a) for n, a in tiles.elements.items()},
    )


def _smallest_room(problem: Problem, tiles: Tiles) -> Floats:
    """Bytes that a tiling needs at the least: one buffer of every operand."""
    room = np.zeros_like(tiles.compute)
    for o in problem.operands:
        room = room + tiles.elements[o.name] * o.bits / 8
    return room


def _steps(problem: Problem, tiles: Tiles) -> Floats:
    """Tiles that one instance runs."""
    band = problem.band
    masked = {band.col, band.row} if band and tiles.pairs is not None else set()
    steps = np.ones_like(tiles.compute) if tiles.pairs is None else tiles.pairs.copy()
    for name, trips in tiles.trips.items():
        if name not in masked:
            steps = steps * trips
    return np.asarray(steps)


# ---- prices ------------------------------------------------------------------------------------


def _price(
    problem: Problem, unit: Unit, tiles: Tiles, live: Sequence[str], shares: Sequence[float], best: _Best
) -> None:
    """Price a block in every order and residency and update the best."""
    levels = [INNER] + ([OUTER] if len(unit.levels) > 2 else [])
    capacity = unit.levels[-1].capacity_bytes
    above = unit.levels[-2].capacity_bytes if len(unit.levels) > 2 else float("inf")
    for order in itertools.permutations(live):
        nest = Nest(problem, unit, tiles, order)
        for keeps, traffic in nest.options(levels, capacity, above):
            fits = (traffic.room <= capacity) & (traffic.room_above <= above)
            for share, cycles in zip(shares, nest.cycles(traffic, shares), strict=True):
                _keep_best(best, nest, traffic, keeps, share, np.where(fits, cycles, np.inf))


def _keep_best(
    best: _Best, nest: Nest, traffic: Traffic, keeps: tuple[Keep, ...], share: float, cycles: Floats
) -> None:
    low = cycles.min()
    if not low <= best.bound(share):
        return
    ties = np.flatnonzero(cycles <= low)
    moved = Nest(nest.problem, nest.unit, _select(nest.tiles, ties), nest.order).bytes(keeps)
    dram = moved[DRAM_READ] + moved[DRAM_WRITE]
    first = int(np.lexsort((nest.tiles.compute[ties], dram))[0])
    best.offer(_tiling(nest, traffic, keeps, share, int(ties[first]), float(low), moved[:, first]))


def _tiling(
    nest: Nest, traffic: Traffic, keeps: tuple[Keep, ...], share: float, at: int, cycles: float, moved: Floats
) -> Tiling:
    tiles, unit = nest.tiles, nest.unit
    steps = float(nest.counts[:, at].sum())
    names = [x.part for x in unit.levels]
    read, write = float(moved[DRAM_READ]), float(moved[DRAM_WRITE])
    through = {names[-2]: float(moved[ABOVE_READ] + moved[ABOVE_WRITE])} if len(names) > 2 else {}
    level_bytes = {names[0]: read + write, **through, names[-1]: float(moved[INNER_IN] + moved[INNER_OUT])}
    top = unit.levels[1]
    return Tiling(
        share,
        cycles,
        steps * float(tiles.compute[at]),
        steps * float(tiles.helper[at]),
        (read + write) / min(top.source_bytes_per_cycle, top.sink_bytes_per_cycle),
        read + write,
        level_bytes,
        {n: int(a[at]) for n, a in tiles.size.items()},
        {n: int(a[at]) for n, a in tiles.ways.items() if a[at] > 1},
        nest.order,
        keeps,
        float(traffic.room[at]),
        float(traffic.room_above[at]),
    )
