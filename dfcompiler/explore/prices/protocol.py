"""Random systems of a space with the values of its goals, under static prices: what samplers are compared on.

LLMShare compares them on 1,055 of its systems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Infeasible
from dfcompiler.explore.figures import added
from dfcompiler.explore.points import Rows, goals_at
from dfcompiler.explore.prices.static import StaticPrices
from dfcompiler.explore.references import Array
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
        values, good = values_at(space, points, each)
        for point, row in zip(points[good].tolist(), values[good], strict=True):
            found.setdefault(tuple(point), row)
        if len(found) >= systems:
            chosen = list(found.items())[:systems]
            return Systems(np.array([p for p, _ in chosen]), np.array([v for _, v in chosen]))
    message = f"of {TRIES * DRAWN:,} systems of `{space.name}` {len(found):,} keep all limits and run all loads"
    raise Infeasible("no-design", message, hint=f"{systems:,} are wanted: looser limits, or other axes")


def values_at(
    space: Space, points: npt.NDArray[np.int64], prices: Mapping[str, StaticPrices]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Goals of systems by their indices along the axes of a space: `[system, goal]`, and which systems keep all limits
    and run all loads."""
    return goals_at(space, points, lambda pool, rows: _Rows(prices[pool], rows))


@dataclass(frozen=True)
class _Rows(Rows):
    """Prices of designs by their indices, without holding latencies of all designs."""

    whole: StaticPrices

    def price(self, path: tuple[str, ...]) -> Array:
        """A figure of every design, `[design]`."""
        terms = self.whole.terms(path[0]) if path[1:] == ("latency_s",) else [self.whole.price(path)]
        return added([self.taken(a) for a in terms])
