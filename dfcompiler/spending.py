"""How energy counts beside time, and how long a schedule may take that could be best where it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf


@dataclass(frozen=True)
class Spending:
    """How energy counts: `static_pj` goes in every cycle, and a step may take `pj_per_cycle` on average. Columns are
    left out where one that is no slower takes as much energy but for a part `thin`. Where time is `first`, energy
    decides between equal times."""

    static_pj: float
    pj_per_cycle: float = inf
    thin: float = 0.0
    first: bool = False

    def longest(self, cycles: float, pj: float, least_pj: float) -> float:
        """Cycles of which no best schedule takes more, where there is one of so many cycles and so much energy, and
        none takes less than `least_pj`."""
        cycles = max(cycles, ceil(pj / self.pj_per_cycle) if self.pj_per_cycle < inf else 0)
        if self.first:
            return cycles
        return cycles + (pj - least_pj) / self.static_pj if self.static_pj else inf


def least_of_covers(least: Mapping[tuple[str, ...], float]) -> float:
    """What every set of groups that has each node once comes to at least, `least` being what each group does: each node
    counts no more than its part of any group that it could be in, by what its nodes take alone."""
    alone = {g[0]: x for g, x in least.items() if len(g) == 1}
    worth = dict(alone)
    for g, x in least.items():
        whole = sum(alone[v] for v in g)
        for v in g if whole > x else ():
            worth[v] = min(worth[v], x * alone[v] / whole if whole < inf else 0.0)
    return sum(worth.values())
