"""Candidate tilings of a loop nest on a unit: splits over instances, tile sizes, what a tile costs, and bounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil, prod

import numpy as np
import numpy.typing as npt

from dfcompiler.facts import Array
from dfcompiler.grouping import Crowd
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.template import Contraction, Tile
from dfcompiler.nest import Nest, Tiles
from dfcompiler.problem import Band, NestLoop, Problem

Floats = npt.NDArray[np.float64]

HALVES = (8, 4, 2, 1)  # parts of a tile's rows by which its cycles are told apart, where rows are few or many


def tile_sizes(size: int, granule: int) -> npt.NDArray[np.int64]:
    """Tile sizes with distinct trip counts, rounded up to multiples of `granule` (or the whole); ascending."""
    trips = np.unique(-(-size // np.arange(1, int(size**0.5) + 2)))
    every = np.unique(np.concatenate([trips, -(-size // trips), [size]]))
    aligned = np.minimum(-(-every // granule) * granule, size)
    return np.unique(aligned)


def splits(sizes: Sequence[int], instances: int, *, spread: bool = True) -> list[tuple[int, ...]]:
    """Ways to split loops over instances: powers of two, divisors and all, products up to `instances`.

    With `spread` only those that use more than half of what can be used: where one read reaches all instances,
    fewer of them only take longer.
    """
    powers = (1 << i for i in range(instances.bit_length()))
    divisors = (d for d in range(1, instances + 1) if instances % d == 0)
    steps = sorted({1, instances, *powers, *divisors})
    legal = [
        c for c in itertools.product(*([s for s in steps if s <= max(1, n)] for n in sizes)) if prod(c) <= instances
    ]
    full = max((prod(c) for c in legal), default=1) if spread else 1
    return [c for c in legal if prod(c) > full // 2] or [tuple(1 for _ in sizes)]


def enumerate_tiles(problem: Problem, unit: Unit, helper: Unit | None) -> Tiles:
    """Every split and tile size."""
    loops = problem.loops
    parallel = [x for x in loops if not x.reduced]
    grain = granules(problem, unit, loops)
    columns: dict[str, list[npt.NDArray[np.int64]]] = {x.name: [] for x in loops}
    over: dict[str, list[npt.NDArray[np.int64]]] = {x.name: [] for x in loops}
    for chosen in splits([x.size for x in parallel], unit.instances, spread=unit.levels[-1].multicast):
        ways = dict(zip((x.name for x in parallel), chosen, strict=True))
        each = [_sizes(problem, x, ways.get(x.name, 1), grain[x.name]) for x in loops]
        for x, g in zip(loops, np.meshgrid(*each, indexing="ij"), strict=True):
            columns[x.name].append(g.ravel())
            over[x.name].append(np.full(g.size, ways.get(x.name, 1)))
    size = {n: np.concatenate(c).astype(np.float64) for n, c in columns.items()}
    return tiles_of(problem, unit, helper, size, {n: np.concatenate(c).astype(np.float64) for n, c in over.items()})


def _sizes(problem: Problem, loop: NestLoop, ways: int, granule: int) -> npt.NDArray[np.int64]:
    """Tile sizes of a loop on one of `ways` instances; places with rows of their own come one at a time."""
    if problem.crowd and loop.name == problem.crowd.row:
        return np.ones(1, dtype=np.int64)
    return tile_sizes(ceil(loop.size / ways), granule)


def by_pattern(problem: Problem, tiles: Tiles) -> Iterator[tuple[tuple[str, ...], Tiles]]:
    """Tilings by which loops run more than once: the order of the others does not matter. Few loops first."""
    names = [x.name for x in problem.loops]
    code = sum(
        ((tiles.trips[n] > 1).astype(np.int64) << i for i, n in enumerate(names)),
        np.zeros(len(tiles.compute), np.int64),
    )
    for pattern in sorted(np.unique(code), key=lambda c: (int(c).bit_count(), c)):
        yield tuple(n for i, n in enumerate(names) if pattern >> i & 1), select(tiles, code == pattern)


def lower_bounds(problem: Problem, unit: Unit, tiles: Tiles, shares: Sequence[float]) -> list[Floats]:
    """Cycles, for each share, that no order and no residency can beat: the first load, all tiles and the last
    store in turn; or compulsory traffic at the DRAM's bandwidth and one tile that nothing hides."""
    nest = Nest(problem, unit, tiles, ())
    top, waits = unit.levels[1], float(unit.template.fill_cycles()) + sum(x.latency_cycles for x in unit.levels)
    rate = max(top.source_bytes_per_cycle, top.sink_bytes_per_cycle) * (1 if unit.levels[0].half_duplex else 2)
    rest = (steps_of(problem, tiles) - 1) * tiles.compute
    turns = [c + rest for c in nest.cycles(nest.traffic(), shares)]
    return [
        np.maximum(t, problem.total_bytes / (rate * s) + tiles.compute + waits)
        for t, s in zip(turns, shares, strict=True)
    ]


def granules(problem: Problem, unit: Unit, loops: Sequence[NestLoop]) -> dict[str, int]:
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


def tiles_of(
    problem: Problem, unit: Unit, helper: Unit | None, size: dict[str, Floats], ways: dict[str, Floats]
) -> Tiles:
    """Tilings of these sizes and splits, with what a tile costs in cycles and touches in elements."""
    shard = {x.name: np.ceil(x.size / ways[x.name]) for x in problem.loops}
    trips = {n: np.ceil(shard[n] / size[n]) for n in size}
    count = len(next(iter(size.values()))) if size else 1
    pairs, full = _masked(problem, unit, size, ways, count)
    live = _live(problem, size, ways) if pairs is not None else {}
    tiles = Tiles(size, ways, trips, np.zeros(count), np.zeros(count), pairs, full, live=live)
    elements = {o.name: _long(problem.elements(o.name, size), count) for o in problem.operands}
    if problem.crowd and pairs is not None:
        return replace(_partly(problem, problem.crowd, unit, helper, tiles), elements=elements)
    own, beside = tile_work(problem, unit, helper, tiles)
    return replace(tiles, compute=_long(np.maximum(own, beside), count), helper=_long(beside, count), elements=elements)


def _partly(problem: Problem, crowd: Crowd, unit: Unit, helper: Unit | None, tiles: Tiles) -> Tiles:
    """Cycles by how full tiles are: up to an eighth of their rows, a quarter, half, all; each as its fullest."""
    rows, ways = tiles.size[crowd.col], tiles.ways[crowd.col]
    places = tiles.size[crowd.row] * tiles.ways[crowd.row] if crowd.row else np.ones_like(rows)
    ends = [np.ceil(rows / part) for part in HALVES]
    starts = [np.zeros_like(rows), *ends[:-1]]
    more = [_fuller(crowd, places, rows * ways, start) for start in starts]
    kinds, helped = [], np.zeros_like(rows)
    for this, beyond, end in zip(more, [*more[1:], np.zeros_like(rows)], ends, strict=True):
        own, beside = tile_work(problem, unit, helper, replace(tiles, size={**tiles.size, crowd.col: end}))
        kinds.append((this - beyond, _long(np.maximum(own, beside), len(rows))))
        helped = helped + (this - beyond) * beside
    mean = np.asarray(sum(often * cycles for often, cycles in kinds))
    return replace(tiles, compute=mean, helper=helped, partly=tuple(kinds))


def _fuller(crowd: Crowd, places: Floats, rows: Floats, beyond: Floats) -> Floats:
    """Of the steps that take so many places and rows, the part whose fullest tile has more than `beyond` rows."""
    keys, back = np.unique(np.stack([places, rows, beyond], 1).astype(np.int64), axis=0, return_inverse=True)
    found = [crowd.pairs(p, r, beyond=b) / crowd.pairs(p, r) for p, r, b in keys.tolist()]
    return np.asarray(found)[back.ravel()]


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
    row, split = (a.get(band.row or "", none).astype(np.int64) for a in (size, ways))
    col, *rest = ((size[x] * ways[x]).astype(np.int64) for x in (band.col, *band.others))
    blocks, back = np.unique(np.stack([row * split, *rest], 1), axis=0, return_inverse=True)
    pairs, seen = np.ones(count), np.ones(count)
    for i, (rows, *others) in enumerate(blocks.tolist()):
        here = np.flatnonzero(back.ravel() == i)
        pairs[here] = band.pairs_of(rows, col[here], tuple(others))
        if unit.levels[-1].multicast:
            seen[here] = band.width(rows)
    if not unit.levels[-1].multicast:
        each, back = np.unique(row, return_inverse=True)
        seen = np.array([band.width(r) for r in each.tolist()])[back.ravel()] / split
    return pairs, np.divide(seen, pairs * col, out=np.zeros(count), where=pairs > 0)


def _live(problem: Problem, size: Mapping[str, Floats], ways: Mapping[str, Floats]) -> dict[str, Floats]:
    """Steps of each masked loop in which there are points."""
    band = problem.band
    if not isinstance(band, Band):
        return {}
    return {n: band.steps(n, (size[n] * ways[n]).astype(np.int64)) for n in (band.col, band.row) if n and n in size}


def tile_work(problem: Problem, unit: Unit, helper: Unit | None, tiles: Tiles) -> tuple[Floats, Floats]:
    """Cycles of one tile on the unit, and on the vector unit beside it."""
    size = tiles.size
    matrix = tuple(
        Contraction(
            problem.role(c.batch, size),
            problem.role(c.m, size),
            problem.role(c.n, size),
            problem.depth_on(c, size, unit.template),
        )
        for c in problem.contractions
    )
    mine: dict[str, Floats] = {}
    other: dict[str, Floats] = {}
    for term in problem.facts.work.terms:
        amount = np.asarray(problem.role(term.indices, size), dtype=np.float64)
        made = problem.group.shape.body[term.statement].indices
        for x in problem.loops:
            if not set(x.indices) & set(term.indices if x.reduced else (*term.indices, *made)):
                amount = amount / _per_sum(problem, tiles, x)  # once per sum, and once per tile of what is kept
        to = mine if unit.does(term.kind) else other
        to[term.kind] = to.get(term.kind, np.zeros(1)) + amount
    own = unit.template.cycles(Tile(matrix, mine, problem.a_bits, problem.b_bits, problem.acc_bits), unit.ports)
    beside: Floats = np.zeros(1)
    if other and helper:
        beside = np.asarray(
            helper.template.cycles(Tile((), other, problem.a_bits, problem.b_bits, problem.acc_bits), helper.ports)
        )
    return np.asarray(own, dtype=np.float64), np.asarray(beside, dtype=np.float64)


def _per_sum(problem: Problem, tiles: Tiles, loop: NestLoop) -> Floats:
    """Tiles of a reduced loop that run for one sum: its trips, or those that the mask leaves, the mean rounded down."""
    band = problem.band
    if band is None or tiles.pairs is None or loop.name not in (band.col, band.row):
        return tiles.trips[loop.name]
    other = band.row if loop.name == band.col else band.col
    sums = tiles.trips.get(other or "", np.ones_like(tiles.pairs))
    return np.maximum(1.0, np.floor(tiles.pairs / sums))


def select(tiles: Tiles, which: npt.NDArray[np.generic]) -> Tiles:
    """Some of the tilings, by a mask or by positions."""

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
        {n: pick(a) for n, a in tiles.live.items()},
        tuple((pick(often), pick(cycles)) for often, cycles in tiles.partly),
    )


def smallest_room(problem: Problem, tiles: Tiles) -> Floats:
    """Bytes that a tiling needs at the least: one buffer of every operand."""
    room = np.zeros_like(tiles.compute)
    for o in problem.operands:
        room = room + tiles.elements[o.name] * o.bits / 8
    return room


def steps_of(problem: Problem, tiles: Tiles) -> Floats:
    """Tiles that one instance runs."""
    band = problem.band
    masked = {band.col, band.row} if band and tiles.pairs is not None else set()
    steps = np.ones_like(tiles.compute) if tiles.pairs is None else tiles.pairs.copy()
    for name, trips in tiles.trips.items():
        if name not in masked:
            steps = steps * trips
    return np.asarray(steps)
