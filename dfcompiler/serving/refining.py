"""Tables of a function on whole numbers, refined where a straight line errs, and what lies between their knots.

Over one number a function is mostly lines that meet: a kernel that waits for its weights takes as long for few tokens
as for many, until its products take longer. Between two knots such a function lies between the straight line and the
lines that come in from both sides, and may be off by most where these meet. So a knot goes there, and nothing is
evaluated where one of them is the straight line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Point = tuple[int, ...]
MANY = 1 << 30  # evaluations: no limit
NEAR = 0.125  # of an interval: so far from its end it tells the line there, whatever a tile more or less does


@dataclass(frozen=True, eq=False)
class Grid:
    """`values[knot of axis 0, ...]` of a function at whole-number knots, multilinear between them; past the last knot
    of an axis it goes on as straight as it came."""

    axes: tuple[npt.NDArray[np.int64], ...]
    values: Floats

    def at(self, points: Sequence[Floats]) -> Floats:
        """The function at points whose coordinates broadcast."""
        low, part = zip(*(_place(a, np.asarray(x)) for a, x in zip(self.axes, points, strict=True)), strict=True)
        total: Floats = np.zeros(())
        for up in product((0, 1), repeat=len(self.axes)):
            weight: Floats = np.ones(())
            for u, p in zip(up, part, strict=True):
                weight = weight * (p if u else 1 - p)
            index = tuple(np.minimum(x + u, len(a) - 1) for x, u, a in zip(low, up, self.axes, strict=True))
            total = total + weight * self.values[index]
        return total


def _place(axis: npt.NDArray[np.int64], x: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    if len(axis) == 1:
        return np.zeros(x.shape, dtype=np.int64), np.zeros(x.shape)
    at = np.clip(np.searchsorted(axis, x, side="right") - 1, 0, len(axis) - 2)
    return at, np.maximum((x - axis[at]) / np.diff(axis)[at], 0.0)


@dataclass
class Refiner:
    """Adds knots until a function is within `tolerance` of the straight lines between them."""

    function: Callable[[Point], float]
    scale: Callable[[Point, float], float]  # what an error is measured against, at a point with its value
    tolerance: float
    known: dict[Point, float] = field(default_factory=dict)
    errors: dict[tuple[Point, int, int, int], float] = field(default_factory=dict)

    def value(self, point: Point) -> float:
        """The function, evaluated once per point."""
        if point not in self.known:
            self.known[point] = self.function(point)
        return self.known[point]

    def grid(self, axes: Sequence[Sequence[int]], most: int) -> Grid:
        """A table that begins with these knots: the interval that errs most is halved first, until the function has
        been evaluated so many times."""
        knots = [sorted(set(a)) for a in axes]
        for _ in range(most):
            if len(self.known) >= most:
                break
            found = max(self._errors(knots, most), default=(0.0, 0, 0))
            if found[0] <= self.tolerance:
                break
            knots[found[1]] = sorted({*knots[found[1]], found[2]})
        return self._table(knots)

    def line(self, knots: Sequence[int], most: int) -> Grid:
        """A table over one number that begins with these knots: one more goes where the function may be off by most,
        until it has been evaluated so many times."""
        x = sorted(set(knots))
        while len(self.known) < most and (found := max(self._bends(x), default=None)):
            if found[0] <= self.tolerance:
                break
            x = sorted({*x, found[1]})
        return self._table([x])

    def few(self, knots: Sequence[int]) -> list[int]:
        """Of these knots over one number those that tell lines apart: where one amid is on the straight line, those
        between are passed over."""
        amid = len(knots) // 2
        if len(knots) < 3 or self._error((knots[amid],), 0, knots[0], knots[-1], MANY) <= self.tolerance:
            return sorted({knots[0], knots[amid], knots[-1]})
        return sorted({*self.few(knots[: amid + 1]), *self.few(knots[amid:])})

    def _bends(self, x: Sequence[int]) -> Iterator[tuple[float, int]]:
        """By how much the function may be off the straight line between two knots, and where, as the lines on both
        sides say: where they meet, or in the middle; near an end where there is no line on that side. What bends to one
        side only is off by no more."""
        y = [self.value((n,)) for n in x]
        slope = [(y[i + 1] - y[i]) / (high - low) for i, (low, high) in enumerate(pairwise(x))]
        for i, (low, high) in enumerate(pairwise(x)):
            if high == low + 1:
                continue
            off = [(b - a) * (high - low) for a, b in pairwise(slope[max(0, i - 1) : i + 2])]
            most, part = max(map(abs, off), default=abs(y[1] - y[0])), 0.5
            if len(off) < 2:
                part = NEAR if i == 0 else 1 - NEAR
            elif off[0] * off[1] >= 0:
                part = off[1] / (off[0] + off[1]) if any(off) else 0.0
                most = abs(off[0]) * part
            at = min(max(low + round(part * (high - low)), low + 1), high - 1)
            yield most / self.scale((at,), min(y[i], y[i + 1])), at

    def _errors(self, knots: list[list[int]], most: int) -> list[tuple[float, int, int]]:
        """Error at the middle of each interval of each axis, worst over the knots of the others."""
        found = []
        for axis, mine in enumerate(knots):
            for low, high in pairwise(mine):
                middle = (low + high) // 2
                if middle == low:
                    continue
                others = [k if i != axis else [middle] for i, k in enumerate(knots)]
                found.append((max(self._error(p, axis, low, high, most) for p in product(*others)), axis, middle))
        return found

    def _error(self, point: Point, axis: int, low: int, high: int, most: int) -> float:
        key = point, axis, low, high
        if key not in self.errors:
            if len(self.known) >= most and point not in self.known:
                return 0.0
            value = self.value(point)
            a, b = (self.value((*point[:axis], x, *point[axis + 1 :])) for x in (low, high))
            line = a + (b - a) * ((point[axis] - low) / (high - low))
            self.errors[key] = abs(line - value) / self.scale(point, value)
        return self.errors[key]

    def _table(self, knots: list[list[int]]) -> Grid:
        values = np.array([self.value(p) for p in product(*knots)])
        return Grid(tuple(np.array(k) for k in knots), values.reshape(*map(len, knots)))
