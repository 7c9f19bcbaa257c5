"""Best first by proven bounds: what cannot be on the front is never asked for; when nothing is left, that is a proof.

A point whose bounds are no better in every goal than what was found cannot join the front. Of the others those come
first that no other one's bounds dominate, far apart from each other; bounds that many points share are one place.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.fronts import covered, front
from dfcompiler.explore.question import Point
from dfcompiler.explore.samplers.sampler import Floats, Integers, Sampler, points_of

BLOCK = 1 << 14  # points whose bounds are looked at together


class Screened(Sampler, name="screened"):
    """Asks for the points that may be on the front, and for none when the front is proven."""

    def ask(self, count: int) -> list[Point]:
        """See `Sampler`. Raises Diag `no-bound` for a scene without bounds."""
        points, bounds = self.open()
        chosen: list[int] = []
        here = np.arange(len(points))
        while len(chosen) < count and len(here):
            layer = here[front(bounds[here], ties=True)]
            chosen += _apart(bounds[layer], layer, count - len(chosen))
            here = np.setdiff1d(here, layer, assume_unique=True)
        return points_of(points[np.array(chosen, dtype=np.int64)])

    def open(self) -> tuple[Integers, Floats]:
        """Points that were not told and may be on the front, with their bounds."""
        _, reached = self.feasible()
        kept: list[tuple[Integers, Floats]] = []
        for points, bounds in self._blocks():
            good = np.asarray(np.isfinite(bounds).all(1))
            good[good] &= ~covered(bounds[good], reached)
            where = np.flatnonzero(good)
            where = where[[p not in self.told for p in points_of(points[where])]]
            kept.append((points[where], bounds[where]))
        return np.concatenate([p for p, _ in kept]), np.concatenate([b for _, b in kept])

    def gap(self) -> float:
        """By which part at most what was found is worse than what may be left: every point that may be on the front is
        matched by one that was found if its bounds are made so much worse."""
        _, bounds = self.open()
        _, reached = self.feasible()
        if not len(bounds):
            return 0.0
        if not len(reached):
            return float("inf")
        worst = 0.0
        for b in bounds[front(bounds)]:
            more = (reached - b) / np.maximum(np.abs(b), 1e-300)
            worst = max(worst, float(more.max(1).min()))
        return worst

    def _blocks(self) -> Iterator[tuple[Integers, Floats]]:
        """All points that may be chosen, with their bounds, kept where there are few."""
        if self.scene.bounds is None:
            hint = "a space of one pool of chips that are not priced as whole kernels, under prices that are mapped"
            raise Diag("no-bound", "there are no proven bounds to search by", hint=hint)
        held: list[tuple[Integers, Floats]] | None = getattr(self, "_held", None)
        if held is not None:
            yield from held
            return
        kept: list[tuple[Integers, Floats]] = []
        for points in self._points():
            found = points, self.scene.bounds(points)
            if self._all is not None:
                kept.append(found)
            yield found
        if self._all is not None:
            self._held = kept

    def _points(self) -> Iterator[Integers]:
        if self._all is not None:
            yield from (self._all[i : i + BLOCK] for i in range(0, len(self._all), BLOCK))
            return
        shape = [len(d.values) for d in self.scene.dimensions]
        for start in range(0, self.scene.size(), BLOCK):
            index = np.arange(start, min(start + BLOCK, self.scene.size()))
            yield np.stack(np.unravel_index(index, shape), axis=1)


def _apart(bounds: Floats, names: Integers, count: int) -> list[int]:
    """Up to so many of some points, the ends of each goal first, then each as far as can be from those before, by the
    ratios of their bounds."""
    if len(names) <= count:
        return [int(n) for n in names]
    scale = np.log(np.maximum(np.abs(bounds), 1e-300))
    scale = (scale - scale.min(0)) / np.where(np.ptp(scale, axis=0) > 0, np.ptp(scale, axis=0), 1.0)
    chosen = list(dict.fromkeys(int(i) for i in bounds.argmin(0)))[:count]
    near = np.min([np.abs(scale - scale[i]).max(1) for i in chosen], axis=0)
    while len(chosen) < count:
        near[chosen] = -1.0
        far = int(near.argmax())
        chosen.append(far)
        near = np.minimum(near, np.abs(scale - scale[far]).max(1))
    return [int(names[i]) for i in chosen]
