"""A space of one pool with proven bounds of its goals: where a study searches best first, and what that proves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.asked import Asked
from dfcompiler.explore.exploration import Proof
from dfcompiler.explore.intervals import Bounded, Ends, ends, may_hold
from dfcompiler.explore.samplers.sampler import Scene
from dfcompiler.explore.samplers.screened import Screened
from dfcompiler.explore.screen import Screen
from dfcompiler.explore.space import Space

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bounds:
    """Bounds of the goals of a space over its points."""

    space: Space
    screen: Screen

    def __call__(self, rows: Integers) -> Floats:
        """Of points by their indices `[point, axis]` the best that each goal may come to, `[point, goal]`, smaller
        being better; inf where a limit cannot hold."""
        known = self._known(self.screen.at_rows(rows))
        both = [ends(g.expr, known) for g in self.space.goals]
        best = [low if g.sense == "min" else -high for g, (low, high) in zip(self.space.goals, both, strict=True)]
        found: Floats = np.stack([np.broadcast_to(x, len(rows)) for x in best], 1).astype(np.float64)
        for limit in (*self.screen.pool.limits, *self.space.limits):
            found[~np.broadcast_to(may_hold(limit, known), len(rows))] = np.inf
        return found

    def _known(self, own: Bounded) -> Bounded:
        """Names of the space over those of its pool."""
        pool, lets = self.screen.pool, self.space.lets

        def known(path: tuple[str, ...]) -> Ends:
            if path[0] in lets:
                return ends(lets[path[0]].value, known)
            return own(path[1:] if path[0] == pool.name and len(path) > 1 else path)

        return known


def bounded(question: Asked) -> Scene:
    """Where a study of a space searches best first. Raises Diag `no-bound` for a space of several pools, or of units
    that no bound is proven of, and for goals and limits that requests decide."""
    pools = list(question.space.pools.values())
    if len(pools) != 1:
        hint = "a space that separates is priced in full with `prices = static`"
        raise Diag("no-bound", f"`{question.space.name}` has {len(pools)} pools: bounds are those of one", hint=hint)
    screen = Screen(pools[0], question.pipeline)
    bounds: Callable[[Integers], Floats] = Bounds(question.space, screen)
    bounds(np.zeros((1, len(question.dimensions)), dtype=np.int64))  # what has no bound is told now
    return Scene(question.dimensions, question.goals, screen.distinct(), bounds)


def proof_of(sampler: Screened, space: Space) -> tuple[Proof, int, list[str]]:
    """What a search has proven: of all points how many needed no mapping, and in words."""
    pool = sampler.scene.pool
    count = space.points if pool is None else len(pool)
    left = len(sampler.open()[0])
    screened = space.points - len(sampler.told) - left
    alike = space.points - count
    claims = [f"{alike:,} points are the same chips under the same loads as others"] * bool(alike)
    claims.append(f"{count - len(sampler.told) - left:,} cannot be on the front by proven bounds or limits")
    if not left:
        return "exhaustive", screened, claims
    gap = sampler.gap()
    claims.append(f"{left:,} may be: none of them is better than the front by more than {gap:.2%} in all goals at once")
    return "bounded", screened, claims
