"""The one door to exploration: a space, how to search it, and what was found."""

from __future__ import annotations

from dataclasses import dataclass

from dfcompiler.explore.declared import explore_prices
from dfcompiler.explore.exploration import Exploration
from dfcompiler.explore.prices import StaticPrices
from dfcompiler.explore.space import Space


@dataclass(frozen=True)
class Search:
    """How far to search, and from which seed."""

    budget: int | None = None
    seed: int = 0


def explore(space: Space, search: Search) -> Exploration:
    """The front of a space under its own prices."""
    return explore_prices(space, {n: StaticPrices(p) for n, p in space.pools.items()}, space.prices)
