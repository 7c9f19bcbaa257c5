"""From anywhere in a space to points that may be chosen and were not told yet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfcompiler.explore.samplers.sampler import Integers, Sampler

Floats = NDArray[np.float64]


class Nearest:
    """The points left of a pool, by their distance in shares of each axis."""

    def __init__(self, sampler: Sampler) -> None:
        left = sampler.left()
        if left is None:
            raise ValueError("only what is listed has a nearest point")
        self.left = left
        self.steps = np.array([max(1, len(d.values) - 1) for d in sampler.scene.dimensions], dtype=np.float64)

    def __call__(self, wanted: Floats, count: int) -> Integers:
        """Up to `count` different points [count, dimensions], each the nearest left to a row of `wanted` in turn.

        Rows lie in the unit cube; an axis's values lie evenly in it.
        """
        places = self.left / self.steps
        free = np.ones(len(places), dtype=np.bool_)
        chosen: list[int] = []
        for row in wanted:
            if len(chosen) == min(count, len(places)):
                break
            distance = ((places - row) ** 2).sum(axis=1)
            chosen.append(int(np.argmin(np.where(free, distance, np.inf))))
            free[chosen[-1]] = False
        return self.left[chosen]
