"""Candidate tilings of a loop nest on a unit: splits over instances, tile sizes, what a tile costs, and bounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import ceil, factorial, prod

import numpy as np
import numpy.typing as npt

from dfcompiler.clauses import clause_indices
from dfcompiler.facts import Array
from dfcompiler.grouping import Crowd
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.template import Contraction, Tile, slowest
from dfcompiler.nest import Tiles, spread
from dfcompiler.problem import Band, NestLoop, Problem
from dfcompiler.traffic import LEVELS, ports

Floats = npt.NDArray[np.float64]

GRID = 1 << 16  # tilings of a grid: arrays of this length stay in a core's cache
HALVES = (8, 4, 2, 1)  # parts of a tile's rows by which its cycles are told apart, where rows are few or many


@lru_cache(maxsize=4096)
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
    return list(_splits(tuple(sizes), instances, spread))


@lru_cache(maxsize=4096)
def _splits(sizes: tuple[int, ...], instances: int, spread: bool) -> tuple[tuple[int, ...], ...]:
    powers = (1 << i for i in range(instances.bit_length()))
    divisors = (d for d in range(1, instances + 1) if instances % d == 0)
    steps = sorted({1, instances, *powers, *divisors})
    legal = [
        c for c in itertools.product(*([s for s in steps if s <= max(1, n)] for n in sizes)) if prod(c) <= instances
    ]
    full = max((prod(c) for c in legal), default=1) if spread else 1
    return tuple(c for c in legal if prod(c) > full // 2) or (tuple(1 for _ in sizes),)


def axes(problem: Problem, unit: Unit) -> Iterator[tuple[list[npt.NDArray[np.int64]], list[int]]]:
    """Every split over instances, with the tile sizes of each loop that are worth trying in it."""
    loops, parallel = problem.loops, [x for x in problem.loops if not x.reduced]
    grain = granules(problem, unit, loops)
    for chosen in splits([x.size for x in parallel], unit.instances, spread=unit.levels[-1].multicast):
        over = dict(zip((x.name for x in parallel), chosen, strict=True))
        ways = [over.get(x.name, 1) for x in loops]
        yield [_sizes(problem, x, w, grain[x.name]) for x, w in zip(loops, ways, strict=True)], ways


def coarse(problem: Problem, unit: Unit, most: int) -> Floats:
    """Tile sizes and splits `[2, loop, tiling]` of every split with at most so many sizes of each loop, evenly chosen
    and the largest with them."""
    found = []
    for each, ways in axes(problem, unit):
        few = [a[np.unique(np.linspace(0, len(a) - 1, most).round().astype(int))] for a in each]
        size = np.array(np.meshgrid(*few, indexing="ij"), dtype=np.float64).reshape(len(ways), prod(map(len, few)))
        found.append(np.stack([size, np.broadcast_to(np.array(ways)[:, None], size.shape)]))
    return np.concatenate(found, -1)


def grids(problem: Problem, unit: Unit, helper: Unit | None) -> Iterator[Tiles]:
    """Every split and tile size, as grids: sizes lie along one axis per loop, so that what depends on few loops is
    small."""
    names = [x.name for x in problem.loops]
    for each, over in axes(problem, unit):
        ways = {n: np.full((1,) * len(names), float(w)) for n, w in zip(names, over, strict=True)}
        for slab in _slabs(each):
            size = dict(zip(names, np.ix_(*slab), strict=True))
            yield _tiles(problem, unit, helper, {n: a.astype(np.float64) for n, a in size.items()}, ways)


def _slabs(each: Sequence[npt.NDArray[np.int64]]) -> Iterator[Sequence[npt.NDArray[np.int64]]]:
    """A grid in pieces of at most GRID points where that can be: single values of the first axes, parts of the next."""
    if not each:
        yield each
        return
    rest = [prod(len(a) for a in each[i + 1 :]) for i in range(len(each))]
    axis = next(i for i, n in enumerate(rest) if n <= GRID)
    rows = GRID // rest[axis]
    for first in itertools.product(*(a.reshape(-1, 1) for a in each[:axis])):
        for start in range(0, len(each[axis]), rows):
            yield [*first, each[axis][start : start + rows], *each[axis + 1 :]]


def _sizes(problem: Problem, loop: NestLoop, ways: int, granule: int) -> npt.NDArray[np.int64]:
    """Tile sizes of a loop on one of `ways` instances; places with rows of their own come one at a time."""
    if problem.crowd and loop.name == problem.crowd.row:
        return np.ones(1, dtype=np.int64)
    return tile_sizes(ceil(loop.size / ways), granule)


def by_pattern(problem: Problem, tiles: Tiles) -> Iterator[tuple[tuple[str, ...], npt.NDArray[np.int64]]]:
    """Tilings, by positions, by which loops run more than once: the order of the others does not matter. Few loops
    first."""
    names = [x.name for x in problem.loops]
    code = sum(
        ((tiles.trips[n] > 1).astype(np.int64) << i for i, n in enumerate(names)),
        np.zeros(len(tiles.compute), np.int64),
    )
    for pattern in sorted(np.unique(code).tolist(), key=lambda c: (c.bit_count(), c)):
        yield tuple(n for i, n in enumerate(names) if pattern >> i & 1), np.flatnonzero(code == pattern)


def lower_bounds(problem: Problem, unit: Unit, tiles: Tiles, shares: Sequence[float]) -> list[Floats]:
    """Cycles, for each share, that no order and no residency can beat: the first load, all tiles and the last
    store in turn; or compulsory traffic at the DRAM's bandwidth and one tile that nothing hides."""
    top, waits = unit.levels[1], float(unit.template.fill_cycles()) + sum(x.latency_cycles for x in unit.levels)
    rate = max(top.source_bytes_per_cycle, top.sink_bytes_per_cycle) * (1 if unit.levels[0].half_duplex else 2)
    load, store = (_bytes_of_tile(problem, unit, tiles, kind) for kind in ("read", "write"))
    moved = _longest(load, [(p.level, p.into) for p in ports(unit)])
    moved = moved + _longest(store, [(p.level, p.out) for p in ports(unit)])
    busy, alone = steps_of(problem, tiles) * tiles.compute + waits, tiles.compute + waits
    return [np.maximum(busy + moved / s, alone + problem.total_bytes / (rate * s)) for s in shares]


def _longest(moved: Sequence[Array], ways: Sequence[tuple[str, float]]) -> Array:
    """Cycles of bytes at each of the levels, at the slowest of ways, each of so many cycles per byte."""
    each = (max((x for at, x in ways if at == level), default=0.0) for level in LEVELS)
    return slowest(*(bytes_ * x for bytes_, x in zip(moved, each, strict=True)))


def _bytes_of_tile(problem: Problem, unit: Unit, tiles: Tiles, kind: str) -> tuple[Array, Array, Array]:
    """Bytes of one tile of all operands of a kind: of one instance's, of what all take from the memory above, and of
    that from DRAM."""
    near: Array = 0.0
    above: Array = 0.0
    dram: Array = 0.0
    for o in problem.operands:
        if o.kind == kind:
            one = tiles.elements[o.name] * (o.bits / 8)
            every = one * spread(unit, tiles, o)
            near, above, dram = near + one, above + every, dram if o.pinned else dram + every
    return near, above, dram


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
    problem: Problem, unit: Unit, helper: Unit | None, size: Mapping[str, Floats], ways: Mapping[str, Floats]
) -> Tiles:
    """Tilings of these sizes and splits, arrays of one length, with what a tile costs in cycles and touches in
    elements."""
    count = len(next(iter(size.values()))) if size else 1
    return select(_tiles(problem, unit, helper, size, ways), np.arange(count), count)


def _tiles(
    problem: Problem, unit: Unit, helper: Unit | None, size: Mapping[str, Floats], ways: Mapping[str, Floats]
) -> Tiles:
    """The same of arrays that broadcast; what is made of them broadcasts with them."""
    shard = {x.name: np.ceil(x.size / ways[x.name]) for x in problem.loops}
    trips = {n: np.ceil(shard[n] / size[n]) for n in size}
    pairs, full = _masked(problem, unit, size, ways)
    elements = {o.name: np.asarray(problem.elements(o.name, size), dtype=np.float64) for o in problem.operands}
    live = _live(problem, size, ways) if pairs is not None else {}
    tiles = Tiles(size, ways, trips, np.zeros(1), np.zeros(1), pairs, full, elements, live)
    if problem.crowd and pairs is not None:
        return _partly(problem, problem.crowd, unit, helper, tiles)
    own, beside = tile_work(problem, unit, helper, tiles)
    return replace(tiles, compute=np.maximum(own, beside), helper=beside)


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
        kinds.append((this - beyond, np.maximum(own, beside)))
        helped = helped + (this - beyond) * beside
    mean = np.asarray(sum(often * cycles for often, cycles in kinds))
    return replace(tiles, compute=mean, helper=helped, partly=tuple(kinds))


def _fuller(crowd: Crowd, places: Floats, rows: Floats, beyond: Floats) -> Floats:
    """Of the steps that take so many places and rows, the part whose fullest tile has more than `beyond` rows."""
    shape, keys, back = _distinct(places, rows, beyond)
    found = [crowd.pairs(p, r, beyond=b) / crowd.pairs(p, r) for p, r, b in keys]
    return np.asarray(found)[back].reshape(shape)


def _distinct(*arrays: Floats) -> tuple[tuple[int, ...], list[tuple[int, ...]], npt.NDArray[np.int64]]:
    """The shape of arrays that broadcast, their distinct rows of whole numbers, and which of them stands where."""
    every = [a.ravel().astype(np.int64) for a in np.broadcast_arrays(*arrays)]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    if not every[0].size:
        return shape, [], every[0]
    bounds = [int(a.max()) + 1 for a in every]
    keys, back = np.unique(np.ravel_multi_index(every, bounds), return_inverse=True)
    return shape, list(zip(*(k.tolist() for k in np.unravel_index(keys, bounds)), strict=True)), back


def _masked(
    problem: Problem, unit: Unit, size: Mapping[str, Floats], ways: Mapping[str, Floats]
) -> tuple[Floats, Floats] | tuple[None, None]:
    """Non-empty tiles of the masked pair of loops, and how full they are; equal pairs are counted once."""
    band = problem.band
    if band is None or band.col not in size:
        return None, None
    none = np.ones(1)
    row, split = (a.get(band.row or "", none) for a in (size, ways))
    cols = [size[x] * ways[x] for x in (band.col, *band.others)]
    shape, keys, back = _distinct(row, split, *cols)
    blocks: dict[tuple[int, ...], list[int]] = {}
    for i, (rows, w, _, *others) in enumerate(keys):
        blocks.setdefault((rows * w, *others), []).append(i)
    col, pairs = np.array([k[2] for k in keys]), np.ones(len(keys))
    for (rows, *others), here in blocks.items():
        pairs[here] = band.pairs_of(rows, col[here], tuple(others))
    multicast = unit.levels[-1].multicast
    seen = np.array([band.width(rows * w) if multicast else band.width(rows) / w for rows, w, *_ in keys])
    fill = np.divide(seen, pairs * col, out=np.zeros(len(keys)), where=pairs > 0)
    return pairs[back].reshape(shape), fill[back].reshape(shape)


def _live(problem: Problem, size: Mapping[str, Floats], ways: Mapping[str, Floats]) -> dict[str, Floats]:
    """Steps of each masked loop in which there are points."""
    band = problem.band
    if not isinstance(band, Band):
        return {}
    blocks = {n: (size[n] * ways[n]).astype(np.int64) for n in (band.col, band.row) if n and n in size}
    return {n: band.steps(n, b.ravel()).reshape(b.shape) for n, b in blocks.items()}


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
    """Tiles of a reduced loop that run for one sum: its trips, or those that the mask leaves, the mean rounded down;
    one where the mask is between so many loops that what it leaves is not counted."""
    band = problem.band
    if band is None and not problem.facts.sequential and _masked_indices(problem) & {*loop.indices}:
        return np.ones(1)
    if band is None or tiles.pairs is None or loop.name not in (band.col, band.row):
        return tiles.trips[loop.name]
    other = band.row if loop.name == band.col else band.col
    sums = tiles.trips.get(other or "", np.ones_like(tiles.pairs))
    return np.maximum(1.0, np.floor(tiles.pairs / sums))


def _masked_indices(problem: Problem) -> set[str]:
    """Indices of the clauses for which tiles may be left out."""
    shape, facts = problem.group.shape, problem.facts
    clauses = problem.mask.clauses(i for i in facts.indices if i not in facts.whole)
    return {i for c in clauses for i in clause_indices(shape, shape.where[c])}


def select(tiles: Tiles, which: npt.NDArray[np.generic], count: int | None = None) -> Tiles:
    """Some of the tilings, by a mask or by positions; `count` is how many there are where not all arrays have all."""

    def pick(a: Floats) -> Floats:
        if count is not None and a.shape != (count,):
            a = np.full(count, a)
        return np.asarray(a[which], dtype=np.float64)

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


def shape_of(grid: Tiles) -> tuple[int, ...]:
    """Tile sizes of a grid, per loop."""
    return np.broadcast_shapes(*(a.shape for a in grid.size.values()))


def picked(grid: Tiles, which: npt.NDArray[np.bool_]) -> Floats:
    """Tile sizes and splits `[2, loop, tiling]` of those tilings of a grid that a mask has."""
    at = np.nonzero(np.atleast_1d(which))
    sizes = [a.ravel()[i] for a, i in zip(grid.size.values(), at, strict=False)]
    ways = [np.full(len(at[0]), a.item()) for a in grid.ways.values()]
    return np.asarray([sizes, ways]).reshape(2, len(sizes), len(at[0]))


def orders_of(problem: Problem, tiles: Tiles, which: npt.NDArray[np.bool_]) -> int:
    """Tilings of a grid that a mask has, each in all orders of its loops that run more than once."""
    table = which.astype(np.int64)
    for axis, x in enumerate(problem.loops):
        again = tiles.trips[x.name].ravel() > 1
        parts = [table.compress(some, axis).sum(axis, keepdims=True) for some in (~again, again)]
        table = np.concatenate(parts, axis)
    return sum(int(n) * factorial(sum(at)) for at, n in np.ndenumerate(table))


def smallest_room(problem: Problem, tiles: Tiles) -> Floats:
    """Bytes that a tiling needs at the least: one buffer of every operand."""
    room: Array = 0.0
    for o in problem.operands:
        room = room + tiles.elements[o.name] * o.bits / 8
    return np.asarray(room)


def steps_of(problem: Problem, tiles: Tiles) -> Floats:
    """Tiles that one instance runs."""
    band = problem.band
    masked = {band.col, band.row} if band and tiles.pairs is not None else set()
    steps: Array = 1.0 if tiles.pairs is None else tiles.pairs
    for name, trips in tiles.trips.items():
        if name not in masked:
            steps = steps * trips
    return np.asarray(steps)
