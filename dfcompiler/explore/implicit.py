"""A front of systems too long to list, held as two fronts of pools: counted, and asked by look-ups.

Two pools; four goals: a sum, a bottleneck (the worst of both), and one of each pool's own, such as cost, rate, time to
the first token, time between tokens. With L the system's bottleneck, (p, d) is on the front iff p is on the front in
(sum, own) of the pools whose bottleneck is no worse than L, and d likewise: whoever beats the system must be no worse
in each, and is then the same. So both fronts and this rule are the whole front; a sweep over L counts it, and "the
cheapest system with these" is the cheapest of each pool.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfcompiler.explore.systems import Signed

Floats = npt.NDArray[np.float64]
SUM, LEVEL, OWN = 0, 1, 2  # columns of a pool's terms


@dataclass(frozen=True)
class Implicit:
    """The terms of two pools' fronts `[n, 3]` in the order sum, bottleneck, own, less being better."""

    first: Floats
    second: Floats

    def count(self) -> int:
        """How many systems are on the front."""
        return sum(many for many, _ in self._sweep())

    def systems(self) -> Iterator[tuple[int, int]]:
        """Every system of the front as a pair of rows, by bottleneck, best first."""
        for _, pairs in self._sweep(pairs=True):
            yield from pairs

    def cheapest(self, level: float, first: float, second: float) -> tuple[int, int] | None:
        """The rows of the system with the least sum whose bottleneck and own goals are no worse than these; None where
        no system is."""
        found = [_least(rows, level, own) for rows, own in ((self.first, first), (self.second, second))]
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    def _sweep(self, pairs: bool = False) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """For every level, best first, the systems that have it: how many, and with `pairs` which."""
        sides = self.first, self.second
        stairs = _Stairs(), _Stairs()
        queues = [np.argsort(rows[:, LEVEL], kind="stable") for rows in sides]
        at = [0, 0]
        for level in np.union1d(self.first[:, LEVEL], self.second[:, LEVEL]):
            fresh: list[set[int]] = []
            for side in (0, 1):
                rows, queue, start = sides[side], queues[side], at[side]
                while at[side] < len(queue) and rows[queue[at[side]], LEVEL] <= level:
                    row = int(queue[at[side]])
                    stairs[side].offer(float(rows[row, SUM]), float(rows[row, OWN]), row)
                    at[side] += 1
                fresh.append({int(r) for r in queue[start : at[side]]} & stairs[side].rows)
            p, d = (len(s.rows) for s in stairs)
            new_p, new_d = map(len, fresh)
            held: list[tuple[int, int]] = []
            if pairs:
                held = [(a, b) for a in sorted(fresh[0]) for b in sorted(stairs[1].rows)]
                held += [(a, b) for a in sorted(stairs[0].rows - fresh[0]) for b in sorted(fresh[1])]
            yield new_p * d + p * new_d - new_p * new_d, held


class _Stairs:
    """The front of two columns as points arrive: the second falls as the first rises."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float, int]] = []
        self.rows: set[int] = set()

    def offer(self, a: float, b: float, row: int) -> None:
        """Takes a point in unless one that is there matches it; what it matches goes."""
        i = bisect_left(self.steps, (a, b, -1))
        if (i and self.steps[i - 1][1] <= b) or (i < len(self.steps) and self.steps[i][:2] == (a, b)):
            return
        j = i
        while j < len(self.steps) and self.steps[j][1] >= b:
            self.rows.discard(self.steps[j][2])
            j += 1
        del self.steps[i:j]
        insort(self.steps, (a, b, row))
        self.rows.add(row)


def _least(rows: Floats, level: float, own: float) -> int | None:
    able = np.flatnonzero((rows[:, LEVEL] <= level) & (rows[:, OWN] <= own))
    return int(able[np.argmin(rows[able, SUM])]) if len(able) else None


def roles(goals: Sequence[Signed], pools: Sequence[str]) -> dict[str, list[int]] | None:
    """For each of two pools the positions, among the goals that read it, of its sum, its bottleneck and its own goal;
    None where the goals are not of this kind."""
    worst = [g for g in goals if g.kind in ("minimum", "maximum") and (g.kind == "minimum") == (g.sign < 0)]
    whole = [g for g in goals if g.kind == "+"]
    if len(pools) != 2 or len(goals) != 4 or len(worst) != 1 or len(whole) != 1:
        return None
    found = {}
    for pool in pools:
        mine = [g for g in goals if pool in g.terms]
        own = [g for g in mine if g.kind == "one"]
        if len(mine) != 3 or len(own) != 1:
            return None
        found[pool] = [mine.index(g) for g in (whole[0], worst[0], own[0])]
    return found
