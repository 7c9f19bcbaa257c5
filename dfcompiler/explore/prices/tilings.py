"""Tile sizes, splits over instances, and cycles of every distinct tile: what depends on no capacity and no bandwidth.

The tilings are those of the compiler's own search (`tiles.axes`), and a tile's cycles are what its template says. One
table serves units that differ in how many instances there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dfcompiler.explore.prices.layout import LOOPS, Floats, Ints, Tilings
from dfcompiler.explore.prices.products import Product
from dfcompiler.hardware.chip import Unit
from dfcompiler.nest import Tiles
from dfcompiler.tiles import granules, splits, tile_sizes, tile_work


@dataclass(frozen=True)
class Table:
    """Distinct tile sizes of each loop over some counts of instances, with their cycles. `part[loop][shard]` says from
    where to where in `at` the sizes are listed that a loop of so many points has."""

    sizes: tuple[Floats, ...]
    cycles: Floats
    splits: Mapping[int, Ints]
    at: Ints
    part: tuple[Mapping[int, tuple[int, int]], ...]


def table_of(x: Product, unit: Unit, helper: Unit | None, counts: Sequence[int]) -> Table:
    """The tiles of a product on a unit of which there are so many instances, for each of these counts."""
    grain = granules(x.problem, unit, x.problem.loops)
    over = {n: _splits(x, unit.levels[-1].multicast, n) for n in counts}
    ways = np.unique(np.concatenate([*over.values()]), axis=0)
    sizes, at, done = [], [], 0
    part: list[dict[int, tuple[int, int]]] = []
    for i in range(LOOPS):
        points = np.unique(-(-(x.sizes[i] if i < len(x.sizes) else 1) // ways[:, i])).tolist()
        each = {n: tile_sizes(n, grain[x.names[i]] if i < len(x.names) else 1) for n in points}
        sizes.append(np.unique(np.concatenate([*each.values()])))
        part.append({})
        for n, some in each.items():
            part[i][n] = done, done + len(some)
            at.append(np.searchsorted(sizes[i], some))
            done += len(some)
    real = tuple(s.astype(np.float64) for s in sizes)
    return Table(real, _cycles(x, unit, helper, real), over, np.concatenate(at), tuple(part))


def tilings_of(x: Product, table: Table, instances: int) -> Tilings:
    """All tilings of a product on so many instances."""
    ways = table.splits[instances]
    whole = np.array([*x.sizes, *[1] * (LOOPS - len(x.sizes))])
    shard = -(-whole // ways)
    ends = np.array([[table.part[i][n] for i, n in enumerate(row)] for row in shard.tolist()])
    deepest = np.ceil(shard[:, -1].min() / table.sizes[-1])  # trips of the last loop, at the least
    return Tilings(
        table.sizes[0],
        table.sizes[1],
        table.sizes[2],
        table.cycles,
        (deepest * table.cycles).min(-1),
        ways.astype(np.float64),
        shard.astype(np.float64),
        ends[..., 0].copy(),
        ends[..., 1].copy(),
        table.at,
    )


def _splits(x: Product, multicast: bool, instances: int) -> Ints:
    """Ways to split the loops that are not reduced, as `tiles.axes` has them, `[split, loop]`."""
    parallel = [y for y in x.problem.loops if not y.reduced]
    every = np.array(splits([y.size for y in parallel], instances, spread=multicast), dtype=np.int64)
    found = np.ones((len(every), LOOPS), dtype=np.int64)
    for column, y in zip(every.T, parallel, strict=True):
        found[:, x.names.index(y.name)] = column
    return found


def _cycles(x: Product, unit: Unit, helper: Unit | None, sizes: tuple[Floats, ...]) -> Floats:
    """Of a tile of each of these sizes, the vector unit's beside it if that takes longer."""
    size = dict(zip(x.names, np.ix_(*sizes), strict=False))
    trips = {n: np.ceil(whole / size[n]) for n, whole in zip(x.names, x.sizes, strict=True)}
    ways = {n: np.ones((1,) * LOOPS) for n in x.names}
    own, beside = tile_work(x.problem, unit, helper, Tiles(size, ways, trips, np.zeros(1), np.zeros(1)))
    return np.array(np.broadcast_to(np.maximum(own, beside), tuple(map(len, sizes))), order="C")
