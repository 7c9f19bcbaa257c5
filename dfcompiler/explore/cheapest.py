"""The cheapest design that serves each of some rates, where whether one does is a simulation: best first, and proven.

Rates are levels, 0 the lowest. A design may serve a level only up to its bound; a level is served by what serves it or
any above. At each level designs are asked in the order of their cost, those whose bound is below it never. Once one
serves it, it is the cheapest, as every cheaper one was asked or is ruled out by its bound. Nothing is assumed of the
answers: a faster chip, or one server more, may well serve less. Until then the cheapest that was not asked is a lower
bound of the cost. The next one asked is in turn where most is open and where least is, so an end before all are closed
leaves a small gap and many levels that are closed; levels that nobody is known to serve come last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Serves = Callable[[int, int], bool]  # a design, by its place in the order of cost, and a level

LOOKED = 1 << 12  # designs in a row that are looked at for the next one to ask
NOTED = 0.02  # of the limit of time: how often the gap is noted


@dataclass(frozen=True)
class Standing:
    """After some seconds and answers: levels that are open, and how many times the least cost of its level the cheapest
    known design may cost, at most and at the median, of levels that some design is known to serve."""

    seconds: float
    asked: int
    open: int
    largest: float
    median: float


@dataclass
class Cheapest:
    """A search among designs by `cost`, ascending, each up to level `most` (-1 for none), that `serves` asks.

    `chosen` is the cheapest known design of each level itself, -1 for none; `start[level]` the cheapest not asked."""

    cost: Floats
    most: Ints
    levels: int
    serves: Serves
    clock: Callable[[], float] = time.process_time
    asked: int = 0
    history: list[Standing] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert np.all(np.diff(self.cost) >= 0), "designs come in the order of their cost"
        self.chosen = np.full(self.levels, -1, dtype=np.int64)
        self.start = np.array([self._next(k, 0) for k in range(self.levels)], dtype=np.int64)

    def known(self, design: int, level: int) -> None:
        """A design that is known to serve a level, so that dearer ones need not be asked."""
        if self.chosen[level] < 0 or design < self.chosen[level]:
            self.chosen[level] = design

    @property
    def upper(self) -> Floats:
        """What each level costs with the designs that are known to serve it; inf where there is none."""
        return _least_above(self._costs(self.chosen))

    @property
    def lower(self) -> Floats:
        """What no design that serves a level can cost less than."""
        return np.minimum(_least_above(self._costs(self.start)), self.upper)

    @property
    def best(self) -> Ints:
        """The cheapest known design that serves each level or one above it, -1 for none."""
        found, costs = self.chosen.copy(), self._costs(self.chosen)
        for k in range(self.levels - 2, -1, -1):
            if costs[k + 1] < costs[k]:
                found[k], costs[k] = found[k + 1], costs[k + 1]
        return found

    @property
    def closed(self) -> bool:
        """Whether the cheapest design of every level is known."""
        return bool(np.all(self.lower == self.upper))

    def run(self, limit_s: float) -> bool:
        """Ask until every level is closed, or so many seconds have passed; whether it is closed."""
        begin = self.clock()
        noted = begin
        self._note(0.0)
        while not (done := self.closed) and (now := self.clock()) < begin + limit_s:
            if now >= noted + NOTED * limit_s:
                self._note((noted := now) - begin)
            self._ask()
        self._note(self.clock() - begin)
        return done

    def _ask(self) -> None:
        """One answer, at the level whose cost is the least certain or the most, of those that are open; of these the
        highest."""
        low, high = self.lower, self.upper
        some = np.flatnonzero((low < high) & np.isfinite(high))[::-1]
        if not len(some):
            some = np.flatnonzero(low < high)[::-1]
        apart = high[some] / low[some]
        level = int(some[np.argmax(apart) if self.asked % 2 else np.argmin(apart)])
        while self._costs(self.start)[level] > low[level]:  # a level above is what holds the bound down
            level += 1
        design = int(self.start[level])
        self.asked += 1
        if self.serves(design, level):
            self.known(design, level)
        self.start[level] = self._next(level, design + 1)

    def _next(self, level: int, start: int) -> int:
        """The first design from there on whose bound admits the level; their number where there is none."""
        for i in range(start, len(self.cost), LOOKED):
            admitted = self.most[i : i + LOOKED] >= level
            if admitted.any():
                return i + int(np.argmax(admitted))
        return len(self.cost)

    def _costs(self, designs: Ints) -> Floats:
        there = (designs >= 0) & (designs < len(self.cost))
        found = np.full(len(designs), np.inf)
        found[there] = self.cost[designs[there]]
        return found

    def _note(self, seconds: float) -> None:
        low, high = self.lower, self.upper
        some = np.isfinite(high)
        apart = high[some] / low[some]
        largest, median = (float(np.max(apart)), float(np.median(apart))) if some.any() else (1.0, 1.0)
        self.history.append(Standing(seconds, self.asked, int(np.count_nonzero(low < high)), largest, median))


def reached(cost: Floats, most: Ints, levels: int, serves: Serves) -> list[tuple[int, int]]:
    """Designs that serve levels, and which: along a front of bounds, in the order of cost, the first is tried that may
    serve a level, then ones further and further off. From these dearer designs are ruled out elsewhere."""
    found: list[tuple[int, int]] = []
    least = np.inf  # of what serves a level above
    for level in range(levels - 1, -1, -1):
        admitted = np.flatnonzero((most >= level) & (cost < least))
        place, step = 0, 1
        while place < len(admitted):
            if serves(int(admitted[place]), level):
                found.append((int(admitted[place]), level))
                least = cost[admitted[place]]
                break
            place, step = place + step, 2 * step
    return found


def open_designs(cost: Floats, most: Ints, known_cost: Sequence[float], known_level: Sequence[int]) -> Ints:
    """Which designs may be cheaper at some level than what is known to serve that level or one above."""
    order = np.argsort(known_cost, kind="stable")
    highest = np.maximum.accumulate(np.concatenate([[-1], np.asarray(known_level, dtype=np.int64)[order]]))
    until = np.searchsorted(np.asarray(known_cost, dtype=np.float64)[order], cost, side="right")
    return np.flatnonzero(most > highest[until])


def _least_above(costs: Floats) -> Floats:
    """Of each level the least of it and all above."""
    found: Floats = np.minimum.accumulate(costs[::-1])[::-1]
    return found
