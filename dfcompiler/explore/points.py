"""Goals of systems by their indices along the axes of a space, under prices that are arrays over designs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfcompiler.explore.figures import Prices, block, figures, kept
from dfcompiler.explore.references import Array, Known, holds, value
from dfcompiler.explore.space import Space

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Prices of designs of a pool by their indices `[design, axis]`."""

    whole: Prices
    rows: Ints

    def price(self, path: tuple[str, ...]) -> Array:
        """A figure of every design, `[design]`."""
        return self.taken(np.asarray(self.whole.price(path)))

    def taken(self, a: Array) -> Array:
        """Of an array over all designs those of the rows."""
        a = a.reshape((1,) * (self.rows.shape[1] - a.ndim) + a.shape)
        return a[tuple(np.where(n > 1, r, 0) for r, n in zip(self.rows.T, a.shape, strict=True))]


def goals_at(
    space: Space, points: Ints, priced: Callable[[str, Ints], Prices]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Goals of systems `[system, goal]`, and which systems keep all limits and run all loads; `priced` gives the prices
    of some designs of a pool by its name and their indices."""
    column = {a.name: i for i, a in enumerate(space.axes)}
    known: dict[str, Known] = {}
    good = np.ones(len(points), dtype=bool)
    for name, pool in space.pools.items():
        own = [column[a.name] if a.name in column else column[f"{name}.{a.name}"] for a in pool.axes]
        rows = points[:, own]
        known[name] = figures(pool, block(pool, rows), priced(name, rows))
        runs = [np.isfinite(known[name]((load, "latency_s"))) for load in pool.loads]
        good &= np.logical_and.reduce(
            [np.broadcast_to(a.ravel(), good.shape) for a in (kept(pool, known[name]), *runs)]
        )
    read = _over_pools(space, known, {a.name: np.asarray(a.values)[points[:, column[a.name]]] for a in space.shared})
    for limit in space.limits:
        good &= holds(limit, read)
    values = np.stack([np.broadcast_to(value(g.expr, read), good.shape) for g in space.goals], 1).astype(np.float64)
    return values, good & np.isfinite(values).all(1)


def _over_pools(space: Space, pools: Mapping[str, Known], shared: Mapping[str, Array]) -> Known:
    """Names of a space: shared axes, its own figures, and `pool.figure`, where a lone pool need not be named."""

    def known(path: tuple[str, ...]) -> Array:
        if path[0] in shared:
            return shared[path[0]]
        if path[0] in space.lets:
            return value(space.lets[path[0]].value, known)
        if path[0] in pools:
            return pools[path[0]](path[1:])
        (only,) = pools.values()
        return only(path)

    return known
