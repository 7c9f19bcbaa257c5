"""Tables of a function on whole numbers, refined where a straight line errs, and what lies between their knots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Point = tuple[int, ...]


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
