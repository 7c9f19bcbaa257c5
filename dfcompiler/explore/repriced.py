"""Fronts again where constants are others: of a space whose designs are arrays, and of designs that were mapped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from dfcompiler.diagnostics import Infeasible
from dfcompiler.explore.asked import Asked
from dfcompiler.explore.declared import members
from dfcompiler.explore.designs import Point
from dfcompiler.explore.exploration import Member, sign
from dfcompiler.explore.figures import Prices, grid
from dfcompiler.explore.fleet import Kind, design_figures, kinds
from dfcompiler.explore.fronts import Floats, covered
from dfcompiler.explore.mapped import under
from dfcompiler.explore.points import Rows, goals_at
from dfcompiler.explore.pools import Term, blocks, pool_front
from dfcompiler.explore.question import Answer
from dfcompiler.explore.references import Array, paths
from dfcompiler.explore.robustness import Ints
from dfcompiler.explore.separation import scaling_axis
from dfcompiler.explore.space import DESIGN, Pool, Space
from dfcompiler.explore.systems import explored, limited_pool, separated
from dfcompiler.explore.uncertainty import Moved, Settings, moved
from dfcompiler.text import tree as t

Evaluate = Callable[[Space, Sequence[Point]], Iterable[list[tuple[Point, Answer]]]]


def points_of(space: Space, members: Sequence[Member]) -> Ints:
    """Points of a front by their indices along the axes `[n, axis]`."""
    at = [{v: i for i, v in enumerate(a.values)} for a in space.axes]
    rows = [[index[m.axes[a.name]] for a, index in zip(space.axes, at, strict=True)] for m in members]
    return np.array(rows, dtype=np.int64).reshape(-1, len(space.axes))


# ---- all designs at once -----------------------------------------------------------------------


@dataclass(frozen=True)
class Under(Prices):
    """Prices where constants of the process are so many times what they are: what devices are changes, what loads take
    does not."""

    whole: Prices
    fleet: tuple[Kind, ...]
    process: Mapping[str, float]

    def price(self, path: tuple[str, ...]) -> Array:
        """See `Prices`."""
        if path[0] not in DESIGN:
            return self.whole.price(path)
        return design_figures(tuple(replace(k, chip=under(k.chip, self.process)) for k in self.fleet), path[0])


@dataclass
class Exact:
    """The front of a space that separates under any constants, every design priced (see `robustness.Truth`)."""

    space: Space
    kept: Ints
    priced: Callable[[Pool], Prices]
    _held: dict[tuple[Settings, str], tuple[Prices, tuple[Kind, ...]]] = field(default_factory=dict)

    def __call__(self, factors: Mapping[str, float]) -> tuple[Ints, Floats]:
        """The designs that were kept, and those of the front."""
        there = moved(self.space, factors)
        prices = {n: self._prices(p, there) for n, p in there.space.pools.items()}
        new = points_of(there.space, members(there.space, explored(there.space, prices)))
        points = np.unique(np.concatenate([self.kept, new]), axis=0)
        values, able = goals_at(there.space, points, lambda pool, rows: Rows(prices[pool], rows))
        return points, np.where(able[:, None], values * signs(self.space), np.inf)

    def _prices(self, pool: Pool, there: Moved) -> Prices:
        key = there.settings, pool.name
        if key not in self._held:
            self._held[key] = self.priced(pool), kinds(pool, grid(pool))
        whole, fleet = self._held[key]
        return Under(whole, fleet, there.process) if there.process else whole


def pool_bands(space: Space, prices: Mapping[str, Prices], error: float) -> dict[str, tuple[int, int]]:
    """For every pool how many designs no other one surely beats where every term of each is wrong by up to a share, and
    of how many; with an axis that only scales (servers) at its first value."""
    goals = separated(space)
    found = dict.fromkeys(space.pools, (0, 0))
    for chosen in product(*(range(len(a.values)) for a in space.shared)):
        for name, whole in space.pools.items():
            pool = limited_pool(space, whole)
            terms = [Term(g.terms[name], g.sign) for g in goals if name in g.terms]
            own = {a.name: i for a, i in zip(space.shared, chosen, strict=True) if a in pool.axes}
            scale = scaling_axis(pool, [x.expr for x in terms])
            own |= {scale: 0} if scale else {}
            best = pool_front(pool, prices[name], terms, own).values
            surest = best + error * np.abs(best)
            some, every = found[name]
            for _, each, alive in blocks(pool, prices[name], terms, own):
                values = np.stack([x[alive] for x in each], 1)
                some += int(np.count_nonzero(~covered(values - error * np.abs(values), surest)))
                every += alive.size
            found[name] = some, every
    return found


# ---- designs that were mapped ------------------------------------------------------------------


@dataclass
class Again:
    """Designs that were mapped, under other constants (see `robustness.Truth`). Where these are settings of parts the
    designs `near` the front are mapped again by `evaluate`; else what devices cost is computed again."""

    space: Space
    answers: Mapping[Point, Answer]
    near: Sequence[Point]
    evaluate: Evaluate
    _held: dict[Settings, Mapping[Point, Answer]] = field(default_factory=dict)

    def __call__(self, factors: Mapping[str, float]) -> tuple[Ints, Floats]:
        """The designs that were evaluated, or those near the front."""
        there = moved(self.space, factors)
        found = self._mapped(there)
        if there.process:
            found = {p: _remade(there, p, a) for p, a in found.items()}
        goals = self.space.goals
        rows = [
            [np.inf] * len(goals) if a.values is None else [a.values[g.name] for g in goals] for a in found.values()
        ]
        values = np.array(rows, dtype=np.float64).reshape(len(found), len(goals))
        return np.array(list(found), dtype=np.int64).reshape(len(found), len(there.space.axes)), np.where(
            np.isinf(values), np.inf, values * signs(self.space)
        )

    def _mapped(self, there: Moved) -> Mapping[Point, Answer]:
        if not there.settings:
            return {p: a for p, a in self.answers.items() if a.values is not None}
        if there.settings not in self._held:
            batches = self.evaluate(there.space, self.near)
            self._held[there.settings] = {point: answer for batch in batches for point, answer in batch}
        return self._held[there.settings]


def _remade(there: Moved, point: Point, answer: Answer) -> Answer:
    """An answer where what devices cost is computed again: goals and limits that read no figure of a device stay."""
    if answer.values is None:
        return answer
    space = there.space
    pools = {n: replace(p, limits=tuple(r for r in p.limits if _reads_device(r, p))) for n, p in space.pools.items()}
    reading = replace(
        space,
        pools=pools,
        limits=tuple(r for r in space.limits if any(_reads_device(r, p, space) for p in space.pools.values())),
        goals=tuple(g for g in space.goals if any(_reads_device(g.expr, p, space) for p in space.pools.values())),
    )
    try:
        found = Asked(reading, process=there.process).evaluate(point)
    except Infeasible as fault:
        return Answer(None, fault.message)
    return found if found.values is None else Answer({**answer.values, **found.values})


def _reads_device(e: t.Expr | t.Rel, pool: Pool, space: Space | None = None) -> bool:
    """Whether an expression, of a pool or over a space, reads what a device of the pool is."""
    for path, _ in paths(e):
        if space is not None and path[0] in space.lets:
            if _reads_device(space.lets[path[0]].value, pool, space):
                return True
            continue
        own = path[1:] if space is not None and path[0] == pool.name else path
        if own[0] in DESIGN or (own[0] in pool.lets and _reads_device(pool.lets[own[0]].value, pool)):
            return True
    return False


def signs(space: Space) -> Floats:
    """1 for goals that are to be small, -1 for the others."""
    return np.array([sign(g) for g in space.goals])
