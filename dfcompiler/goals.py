"""What a schedule is to be least in: time, energy, a weighted sum of both, within limits of time, energy and power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, inf

from dfcompiler.columns import Column
from dfcompiler.solution import Solution

LATENCY, ENERGY, EDP, AREA_DELAY = "latency", "energy", "edp", "area-delay"
FIRST_LATENCY = "latency-then-energy"
OBJECTIVES = (LATENCY, ENERGY, EDP, AREA_DELAY, FIRST_LATENCY)
LARGE = 2**50  # what an objective in whole numbers comes to, about: the solver counts in 64 bits


@dataclass(frozen=True)
class Goal:
    """Least of `per_cycle` times the cycles of a schedule and `per_pj` times the energy of its columns.

    A schedule takes `most_cycles` and `most_pj` at most, and on average `pj_per_cycle`: to that end it may wait at its
    end. `static_pj` goes in every cycle whether or not work is done, and counts as energy.
    """

    per_cycle: float = 1.0
    per_pj: float = 0.0
    most_cycles: float = inf
    most_pj: float = inf
    pj_per_cycle: float = inf
    static_pj: float = 0.0

    @property
    def quickest(self) -> bool:
        """Whether nothing counts but time."""
        return not self.per_pj and self.most_pj == inf and self.pj_per_cycle == inf

    @property
    def of_cycle(self) -> float:
        """What a cycle costs, with the energy that goes in it."""
        return self.per_cycle + self.per_pj * self.static_pj

    def cost(self, found: Solution) -> float:
        """What a schedule costs."""
        return self.of_cycle * found.cycles + self.per_pj * found.pj

    def pj(self, found: Solution) -> float:
        """Energy of a schedule with what goes in every cycle."""
        return found.pj + self.static_pj * found.cycles

    def allows(self, found: Solution) -> bool:
        """Whether a schedule is within the limits."""
        within = found.cycles <= self.most_cycles and self.pj(found) <= self.most_pj
        return within and self.least_cycles(found.pj) <= found.cycles

    def waiting(self, found: Solution) -> Solution:
        """A schedule that waits at its end until it is not above the power on average."""
        return replace(found, cycles=max(found.cycles, self.least_cycles(found.pj)))

    def least_cycles(self, pj: float) -> int:
        """Cycles that columns of so much energy take at least, not to be above the power on average."""
        return ceil(pj / self.pj_per_cycle) if self.pj_per_cycle < inf else 0

    def scale(self, cycles: int, columns: Sequence[Column]) -> float:
        """What to multiply costs by to count them in whole numbers, those of schedules of up to so many cycles."""
        if not self.per_pj:
            return 1 / self.of_cycle
        return whole(self.of_cycle, LARGE / (self.of_cycle * cycles + self.per_pj * sum(c.pj for c in columns) + 1))


def whole(per_cycle: float, scale: float) -> float:
    """A scale, not larger, by which what goes in every cycle is a whole number, where that is not zero: its rounding
    would count once for every cycle."""
    times = floor(abs(per_cycle) * scale)
    return times / abs(per_cycle) if times else scale
