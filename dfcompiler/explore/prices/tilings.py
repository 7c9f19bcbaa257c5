"""Tile sizes, splits over instances, and cycles of every distinct tile: what depends on no capacity and no DRAM.

The tilings are those of the compiler's own search (`tiles.axes`), and a tile's cycles are what its template says.
"""

from __future__ import annotations

import numpy as np

from dfcompiler.explore.prices.layout import LOOPS, Floats, Tilings
from dfcompiler.explore.prices.products import Product
from dfcompiler.hardware.chip import Unit
from dfcompiler.nest import Tiles
from dfcompiler.tiles import axes, tile_work


def tilings_of(x: Product, unit: Unit, helper: Unit | None) -> Tilings:
    """All tilings of a product on a unit."""
    order = [[y.name for y in x.problem.loops].index(n) for n in x.names]
    none = LOOPS - len(order)
    each, over = zip(*axes(x.problem, unit), strict=True)
    lists = [[s[i] for i in order] + [np.ones(1, dtype=np.int64)] * none for s in each]
    sizes = [np.unique(np.concatenate([s[i] for s in lists])) for i in range(LOOPS)]
    at = [[np.searchsorted(sizes[i], s[i]) for i in range(LOOPS)] for s in lists]
    lengths = np.array([[len(a) for a in row] for row in at])
    last = np.cumsum(lengths.ravel()).reshape(lengths.shape)
    ways = np.array([[w[i] for i in order] + [1] * none for w in over], dtype=np.float64)
    whole = np.array([*x.sizes, *[1] * none], dtype=np.float64)
    real = [s.astype(np.float64) for s in sizes]
    cycles = _cycles(x, unit, helper, real)
    deepest = np.ceil(whole[-1] / real[-1])  # a bound where the last loop is split as well
    least = (np.ceil(deepest / ways[:, -1].max()) * cycles).min(-1)
    return Tilings(
        *real,
        cycles,
        least,
        ways,
        np.ceil(whole / ways),
        last - lengths,
        last,
        np.concatenate([a for r in at for a in r]),
    )


def _cycles(x: Product, unit: Unit, helper: Unit | None, sizes: list[Floats]) -> Floats:
    """Of a tile of each of these sizes, the vector unit's beside it if that takes longer."""
    size = dict(zip(x.names, np.ix_(*sizes), strict=False))
    trips = {n: np.ceil(whole / size[n]) for n, whole in zip(x.names, x.sizes, strict=True)}
    ways = {n: np.ones((1,) * LOOPS) for n in x.names}
    own, beside = tile_work(x.problem, unit, helper, Tiles(size, ways, trips, np.zeros(1), np.zeros(1)))
    return np.ascontiguousarray(np.broadcast_to(np.maximum(own, beside), tuple(map(len, sizes))))
