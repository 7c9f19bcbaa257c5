"""Objectives in the scale in which models look at them: logarithms where a whole column has one sign.

Prices, rates and latencies are products of what a design has of each part, so their logarithms are near to sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """An increasing function of one objective and its inverse: the logarithm of numbers of one sign, normalised.

    `sign` is theirs, or 0 where they are taken as they are.
    """

    sign: int
    centre: float
    spread: float

    def __call__(self, values: Floats) -> Floats:
        """The values in this scale."""
        scaled: Floats = (_logarithm(values, self.sign) - self.centre) / self.spread
        return scaled

    def takes(self, values: Floats) -> bool:
        """Whether all values have a place in this scale."""
        return self.sign == 0 or bool(np.all(np.sign(values) == self.sign))

    def back(self, scaled: Floats) -> Floats:
        """The values whose places in this scale these are."""
        values = scaled * self.spread + self.centre
        return values if self.sign == 0 else self.sign * np.exp(np.clip(self.sign * values, -700, 700))


def scale(values: Floats, sign: int | None = None) -> Scale:
    """The scale in which these values [n], n > 0, have mean 0 and variance 1 (0 where they are all equal).

    `sign` 0 takes them as they are; by default it is that of all values, where they have one.
    """
    if sign is None:
        sign = int(np.sign(values[0])) if np.all(np.sign(values) == np.sign(values[0])) else 0
    logs = _logarithm(values, sign)
    spread = float(logs.std())
    return Scale(sign, float(logs.mean()), spread if spread > 1e-12 else 1.0)


def _logarithm(values: Floats, sign: int) -> Floats:
    return values if sign == 0 else sign * np.log(np.abs(values))
