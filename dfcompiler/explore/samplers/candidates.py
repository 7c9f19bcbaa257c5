"""Which points a model looks at where it cannot look at all of them."""

from __future__ import annotations

import numpy as np

from dfcompiler.explore.fronts import front
from dfcompiler.explore.samplers.sampler import Integers, Sampler, points_of

LOOKED_AT = 2048  # points that a model prices before one round


def candidates(sampler: Sampler, rng: np.random.Generator, most: int = LOOKED_AT) -> Integers:
    """Points left to ask for: all where they are few; else half of them at random, half near the front so far.

    Near is one axis of a point on the front changed, or its axes mixed with those of another.
    """
    left = sampler.left()
    if left is not None and len(left) <= most:
        return left
    points, values = sampler.feasible()
    chosen = dict.fromkeys(points_of(sampler.fresh(rng, most // 2)))
    if len(points):
        near = _near(sampler, rng, points[front(values)], most)
        allowed = None if left is None else set(points_of(left))
        new = (p for p in points_of(near) if p not in sampler.told and (allowed is None or p in allowed))
        for point in new:
            if len(chosen) == most:
                break
            chosen[point] = None
    if len(chosen) < most:
        chosen.update(dict.fromkeys(points_of(sampler.fresh(rng, most - len(chosen)))))
    return np.array(list(chosen), dtype=np.int64)


def _near(sampler: Sampler, rng: np.random.Generator, best: Integers, count: int) -> Integers:
    shape = np.array([len(d.values) for d in sampler.scene.dimensions])
    start = best[rng.integers(0, len(best), count)]
    other = best[rng.integers(0, len(best), count)]
    mixed = np.where(rng.random(start.shape) < 0.5, start, other)
    rows, axis = np.arange(count), rng.integers(0, len(shape), count)
    moved = start.copy()
    moved[rows, axis] = rng.integers(0, shape[axis])
    return np.where(rng.random((count, 1)) < 0.5, moved, mixed)
