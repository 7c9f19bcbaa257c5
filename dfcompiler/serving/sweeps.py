"""Sweeps: the price of a kernel over all sizes at once, where its numbers grow as sizes and their products do.

Rows, bytes, pairs under a mask: what a kernel is asked for is a polynomial of second degree in what a step works on. It
is read off a few problems, confirmed by some more, and the kernel's formula, which broadcasts, does the rest. Where it
is not confirmed there is no sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

from dfcompiler.launches import Plan

Floats = npt.NDArray[np.float64]
Point = tuple[int, ...]
DIGITS = 6  # numbers are sums of halves and of bytes over powers of two: what lies beyond is of solving
CLOSE = 1e-9  # part of a number by which a confirmed one may be off
BEGIN = 0.13, 0.37, 0.61, 0.83, 1.0  # parts of an axis at which problems are made
CHECKS = ((0.0, 0.29), (0.71, 0.0), (0.47, 0.93), (1.0, 0.53))


@dataclass(frozen=True, eq=False)
class Part:
    """Sizes of the first axis from `low` to `high`, where kernels are of one kind."""

    low: int
    high: int
    plan: Plan
    weights: Floats  # [monomials, numbers]
    scale: tuple[float, ...]

    def seconds(self, points: Sequence[Floats]) -> Floats:
        """Seconds at points, arrays of one length."""
        return self.plan.seconds(list(self._numbers(points)))

    def _numbers(self, points: Sequence[Floats]) -> Floats:
        moved = np.stack([x / s for x, s in zip(points, self.scale, strict=True)])
        return np.asarray(np.round(self.weights.T @ monomials(moved), DIGITS))

    def confirms(self, point: Point, plan: Plan | None) -> bool:
        """Whether a plan has the numbers that are told for its point."""
        if plan is None or plan.kinds != self.plan.kinds:
            return False
        told = self._numbers([np.array([float(x)]) for x in point])[:, 0]
        return bool(np.allclose(told, plan.numbers, rtol=CLOSE, atol=10.0**-DIGITS))


@dataclass(frozen=True, eq=False)
class Sweep:
    """Parts one after the other; beyond the last one it goes on."""

    parts: tuple[Part, ...]
    clock_hz: float

    def at(self, points: Sequence[Floats]) -> Floats:
        """Cycles at points whose coordinates broadcast."""
        wide = np.broadcast_arrays(*points)
        flat = [np.ascontiguousarray(x, dtype=np.float64).reshape(-1) for x in wide]
        found = np.empty(flat[0].shape)
        for part, high in zip(self.parts, (*(p.high for p in self.parts[:-1]), np.inf), strict=True):
            here = np.flatnonzero((flat[0] >= part.low) & (flat[0] <= high) if part.low > 1 else flat[0] <= high)
            if len(here):
                found[here] = part.seconds([x[here] for x in flat])
        return found.reshape(wide[0].shape) * self.clock_hz


def monomials(x: Floats) -> Floats:
    """All products of up to two coordinates: `[axes, points]` to `[monomials, points]`."""
    found = [np.ones(x.shape[1]), *x, *(a * b for a, b in combinations_with_replacement(x, 2))]
    return np.stack(found)


def sweep(plan_at: Callable[[Point], Plan | None], least: Point, most: Point, clock_hz: float) -> Sweep | None:
    """The sweep of what `plan_at` gives from `least` to `most`; None where its numbers grow otherwise.

    One token or sequence is a part of its own: its product with weights is that of a vector, its attention that of a
    decode.
    """
    first = [(1, 1), (2, most[0])] if least[0] <= 1 < most[0] else [(least[0], most[0])]
    parts = [_part(plan_at, (low, *least[1:]), (high, *most[1:])) for low, high in first]
    return Sweep(tuple(p for p in parts if p is not None), clock_hz) if all(parts) else None


def _part(plan_at: Callable[[Point], Plan | None], least: Point, most: Point) -> Part | None:
    nodes = list(dict.fromkeys(_points(least, most)))
    plans = [plan_at(p) for p in nodes]
    known = [p for p in plans if p is not None]
    if len(known) < len(plans) or any(p.kinds != known[0].kinds for p in known):
        return None
    scale = tuple(float(max(1, x)) for x in most)
    where = np.array(nodes, dtype=np.float64).T / np.array(scale)[:, None]
    values = np.array([p.numbers for p in known])
    weights, *_ = np.linalg.lstsq(monomials(where).T, values, rcond=None)
    made = Part(least[0], most[0], known[0], weights, scale)
    checks = [tuple(_amid(a, b, x) for a, b, x in zip(least, most, c, strict=False)) for c in CHECKS]
    agreed = all(made.confirms(p, plan) for p, plan in zip(nodes, known, strict=True))
    return made if agreed and all(made.confirms(p, plan_at(p)) for p in checks) else None


def _points(least: Point, most: Point) -> list[Point]:
    """More points than monomials, in general position: axes go through their parts at different paces."""
    count = len(BEGIN)
    return [
        tuple(
            _amid(a, b, BEGIN[(i * (k + 1) + k * (i // count)) % count])
            for k, (a, b) in enumerate(zip(least, most, strict=True))
        )
        for i in range(count if len(least) == 1 else 2 * count)
    ]


def _amid(low: int, high: int, part: float) -> int:
    return low + round((high - low) * part)
