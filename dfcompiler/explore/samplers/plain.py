"""Samplers that learn nothing: every point in order, and points at random."""

from __future__ import annotations

import numpy as np

from dfcompiler.explore.question import Point
from dfcompiler.explore.samplers.sampler import Sampler, points_of


class All(Sampler, name="all"):
    """Every point, the last axis fastest: what was told are the first ones."""

    def ask(self, count: int) -> list[Point]:
        """See `Sampler`."""
        start = len(self.told)
        if self.scene.pool is not None:
            return points_of(self.scene.pool[start : start + count])
        shape = [len(d.values) for d in self.scene.dimensions]
        index = np.arange(start, min(start + count, self.scene.size()))
        return points_of(np.stack(np.unravel_index(index, shape), axis=1))


class Random(Sampler, name="random"):
    """Every point as likely as any other."""

    def ask(self, count: int) -> list[Point]:
        """See `Sampler`."""
        return points_of(self.fresh(self.rng(), count))
