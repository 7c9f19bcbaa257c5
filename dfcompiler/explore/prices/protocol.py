"""Random systems of a space with the values of its goals, under static prices: what samplers are compared on.

LLMShare compares them on 1,055 of its systems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Infeasible
from dfcompiler.explore.figures import Prices, block, figures, kept
from dfcompiler.explore.prices.static import StaticPrices
from dfcompiler.explore.references import Array, Known, holds, value
from dfcompiler.explore.space import Pool, Space

SYSTEMS = 1055  # LLMShare, DAC 2025
DRAWN = 4096  # at once
TRIES = 100  # of so many


@dataclass(frozen=True)
class Systems:
    """Systems by their indices along the axes of a space `[system, axis]`, and their goals `[system, goal]`."""

    points: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


def protocol_points(
    space: Space, seed: int, systems: int = SYSTEMS, prices: Callable[[Pool], StaticPrices] = StaticPrices
) -> Systems:
    """So many systems, each as likely as any other that keeps all limits and can run all loads; no two alike.

    Raises Infeasible `no-design` where these are too rare to be drawn, and what pricing raises.
    """
    rng, each = np.random.default_rng(seed), {name: prices(pool) for name, pool in space.pools.items()}
    found: dict[tuple[int, ...], npt.NDArray[np.float64]] = {}
    for _ in range(TRIES):
        points = np.stack([rng.integers(len(a.values), size=DRAWN) for a in space.axes], 1)
        values, good = _values(space, points, each)
        for point, row in zip(points[good].tolist(), values[good], strict=True):
            found.setdefault(tuple(point), row)
        if len(found) >= systems:
            chosen = list(found.items())[:systems]
            return Systems(np.array([p for p, _ in chosen]), np.array([v for _, v in chosen]))
    message = f"of {TRIES * DRAWN:,} systems of `{space.name}` {len(found):,} keep all limits and run all loads"
    raise Infeasible("no-design", message, hint=f"{systems:,} are wanted: looser limits, or other axes")


def _values(
    space: Space, points: npt.NDArray[np.int64], prices: Mapping[str, StaticPrices]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Goals of systems `[system, goal]`, and which systems keep all limits and run all loads."""
    column = {a.name: i for i, a in enumerate(space.axes)}
    known: dict[str, Known] = {}
    good = np.ones(len(points), dtype=bool)
    for name, pool in space.pools.items():
        own = [column[a.name] if a.name in column else column[f"{name}.{a.name}"] for a in pool.axes]
        rows = points[:, own]
        known[name] = figures(pool, block(pool, rows), _Rows(prices[name], rows))
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


@dataclass(frozen=True)
class _Rows(Prices):
    """Prices of designs by their indices `[design, axis]`."""

    whole: StaticPrices
    rows: npt.NDArray[np.int64]

    def price(self, path: tuple[str, ...]) -> Array:
        """A figure of every design, `[design]`."""
        terms = self.whole.terms(path[0]) if path[1:] == ("latency_s",) else [self.whole.price(path)]
        total = np.zeros(len(self.rows))
        for a in terms:
            a = a.reshape((1,) * (self.rows.shape[1] - a.ndim) + a.shape)
            total = total + a[tuple(np.where(n > 1, r, 0) for r, n in zip(self.rows.T, a.shape, strict=True))]
        return total
