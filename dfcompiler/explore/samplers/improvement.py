"""Expected improvement of the hypervolume, for one or two objectives with independent normal beliefs, exactly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dfcompiler.explore.fronts import front

Floats = NDArray[np.float64]

_ERF = np.frompyfunc(math.erf, 1, 1)


def shortfall(limit: float, mean: Floats, deviation: Floats) -> Floats:
    """E[max(0, limit - Y)] for Y normal with these means and deviations [n]."""
    z = (limit - mean) / deviation
    below = 0.5 * (1.0 + np.asarray(_ERF(z / math.sqrt(2.0)), dtype=np.float64))
    found: Floats = (limit - mean) * below + deviation * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return found


def expected_improvement(known: Floats, reference: Floats, mean: Floats, deviation: Floats) -> Floats:
    """How much volume a point is expected to add [n], given what is known [m, k], k of 1 or 2.

    `mean` and `deviation` are [n, k]. What is known cuts the plane into strips; a point adds to each the product of
    a width and a height, which are independent. Raises ValueError for more objectives.
    """
    k = len(reference)
    if k > 2:
        raise ValueError(f"only one or two objectives have a closed form here, not {k}")
    best = known[front(known)]
    best = best[np.all(best < reference, axis=1)]
    if k == 1:
        return shortfall(float(np.min(best, initial=reference[0])), mean[:, 0], deviation[:, 0])
    best = best[np.argsort(best[:, 0])]
    gain, before = np.zeros(len(mean)), np.zeros(len(mean))
    for right, ceiling in zip([*best[:, 0], reference[0]], [reference[1], *best[:, 1]], strict=True):
        reach = shortfall(right, mean[:, 0], deviation[:, 0])
        gain += (reach - before) * shortfall(ceiling, mean[:, 1], deviation[:, 1])
        before = reach
    return gain
