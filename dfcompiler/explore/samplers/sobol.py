"""Points of a scrambled Sobol sequence: as even over all axes as so many points can be."""

from __future__ import annotations

import numpy as np
from scipy.stats import qmc

from dfcompiler.explore.question import Point
from dfcompiler.explore.samplers.nearest import Nearest
from dfcompiler.explore.samplers.sampler import Sampler, points_of


class Sobol(Sampler, name="sobol"):
    """The sequence goes on from round to round; a point that was asked for before is left out."""

    def ask(self, count: int) -> list[Point]:
        """See `Sampler`. Where little is left, the rest is chosen at random."""
        left = self.left()
        if left is not None and len(left) <= count:
            return points_of(left)
        engine = qmc.Sobol(len(self.scene.dimensions), rng=np.random.default_rng(self.seed))
        if self.told:
            engine.fast_forward(len(self.told))
        drawn = engine.random(2 ** (2 * count).bit_length())
        if self.scene.pool is not None:
            return points_of(Nearest(self)(drawn, count))
        shape = np.array([len(d.values) for d in self.scene.dimensions])
        found = dict.fromkeys(p for p in points_of((drawn * shape).astype(np.int64)) if p not in self.told)
        found.update(dict.fromkeys(points_of(self.fresh(self.rng(), count))))
        return list(found)[:count]
