"""Prices in which a load takes a weighted sum of steps that were priced: kinds of steps are axes of another pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dfcompiler.explore.figures import Prices, added
from dfcompiler.explore.prices.static import StaticPrices
from dfcompiler.explore.references import Array
from dfcompiler.explore.space import Pool


@dataclass
class Weighted(Prices):
    """Prices of `pool`, whose loads have the names of those of the pool of `steps`.

    `weights` are arrays over the designs of `pool`, with a dimension at the end for each axis that only the pool of
    `steps` has, in its order; inf where a design cannot run the load.
    """

    pool: Pool
    steps: StaticPrices
    weights: Mapping[str, Array]
    _held: dict[str, Sequence[Array]] = field(default_factory=dict)

    def price(self, path: tuple[str, ...]) -> Array:
        """A figure of the designs, or the weighted sum of the latencies of a load; inf where a step that it has cannot
        run."""
        if path[0] not in self.weights:
            a = self._placed(self.steps.price(path))
            return a.reshape(a.shape[: len(self.pool.axes)])
        return added(self.terms(path[0]))

    def summands(self, path: tuple[str, ...]) -> Sequence[Array]:
        """Arrays that add up to a figure."""
        return self.terms(path[0]) if path[0] in self.weights else [self.price(path)]

    def terms(self, load: str) -> Sequence[Array]:
        """Arrays that broadcast and add up to the time of a load."""
        if load not in self._held:
            weights = self.weights[load]
            self._held[load] = [self._summed(self._placed(a), weights) for a in self.steps.terms(load)]
        return self._held[load]

    def steps_at(self, load: str, rows: npt.NDArray[np.int64]) -> Array:
        """Seconds of every kind of step of a load in designs by their indices, `[design, kind, ...]`."""
        found: Array = np.zeros(1)
        for a in map(self._placed, self.steps.terms(load)):
            at = (np.where(n > 1, r, 0) for r, n in zip(rows.T, a.shape, strict=False))
            found = found + a[tuple(at)]
        return found

    def _kinds(self) -> list[int]:
        """The axes of steps."""
        own = [a.name for a in self.pool.axes]
        return [i for i, a in enumerate(self.steps.pool.axes) if a.name not in own]

    def _placed(self, a: Array) -> Array:
        """A figure of steps with its dimensions in the order of the pool's, kinds of steps last."""
        names = [x.name for x in self.steps.pool.axes]
        a = np.asarray(a)
        a = a.reshape((1,) * (len(names) - a.ndim) + a.shape)
        own = [names.index(x.name) if x.name in names else None for x in self.pool.axes]
        found = a.transpose([*(i for i in own if i is not None), *self._kinds()])
        return np.expand_dims(found, [i for i, at in enumerate(own) if at is None])

    def _summed(self, a: Array, weights: Array) -> Array:
        count = len(self._kinds())
        once = tuple(i - count for i in range(count) if a.shape[i - count] == 1)  # a step costs the same along these
        few = weights.sum(axis=once, keepdims=True)
        total: Array = np.zeros(1)
        able: Array = np.ones(1, dtype=bool)
        for kind in np.ndindex(*few.shape[-count:]):
            at: tuple[Any, ...] = (..., *kind)
            w, part = few[at], a[at]
            if not w.any():
                continue
            can = np.isfinite(part) & np.isfinite(w)
            total = total + np.where(can, w, 0.0) * np.where(can, part, 0.0)
            able = able & (can | (w == 0))
        return np.where(able, total, np.inf)
