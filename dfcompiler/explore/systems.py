"""From fronts of pools to fronts of systems: every system is a design of each pool, and its goals are combined terms.

A goal is a sum, the least or the largest of its terms, or one pool's own: monotone in each. So every system is matched
by one of designs on the fronts of their pools, and the front of systems is that of their product. Pools are joined two
by two; after each step what another row matches in all that is known of its goals is dropped.

Rounding of `+`, `minimum` and `maximum` is monotone, so this holds for the doubles that are computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.figures import Prices
from dfcompiler.explore.fronts import front
from dfcompiler.explore.pools import PoolFront, Term, pool_front
from dfcompiler.explore.separation import Unseparated, combined, pools_read, within
from dfcompiler.explore.space import Pool, Space
from dfcompiler.text import tree as t

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_PAIRS = 1 << 26  # systems of two fronts that are compared one by one
PAIRS = 1 << 20  # at once


@dataclass(frozen=True)
class Signed:
    """A goal that separates; `sign` is 1 where less is better, else -1. Terms carry their pool's names."""

    name: str
    sign: float
    kind: str
    terms: Mapping[str, t.Expr]

    def joined(self, a: Floats, b: Floats) -> Floats:
        """The oriented value of two oriented parts."""
        if self.kind == "+":
            return a + b
        least = (self.kind == "minimum") == (self.sign > 0)
        return np.minimum(a, b) if least else np.maximum(a, b)


@dataclass(frozen=True)
class Systems:
    """The front: for each system the design of each pool (rows of its front), and the goals as they are, not oriented.

    `designs` are those looked at of each pool, `legal` those within limits; `points` systems that they make.
    """

    goals: tuple[Signed, ...]
    pools: Mapping[str, PoolFront]
    choice: Ints  # [system, pool]
    values: Floats  # [system, goal]
    points: int


def separated(space: Space) -> tuple[Signed, ...]:
    """The goals by their terms. Raises Diag `unseparable-goal` where one does not separate, or a limit is not of one
    pool, and `unused-pool`."""
    found = []
    for goal in space.goals:
        one = combined(goal.expr, space)
        if isinstance(one, Unseparated):
            message = f"`{goal.name}` does not separate into pools: {one.why}"
            raise Diag("unseparable-goal", message, one.at.span or goal.expr.span)
        found.append(Signed(goal.name, 1.0 if goal.sense == "min" else -1.0, one.kind, one.terms))
    for limit in space.limits:
        if len(read := pools_read(limit, space)) != 1:
            hint = "make it a goal, and choose on the front"
            message = "this limit spans several pools" if read else "this limit reads no pool"
            raise Diag("unseparable-goal", message, limit.span, hint=hint)
    for name in space.pools:
        if not any(name in g.terms for g in found):
            hint = "leave the pool out, or read it in a goal"
            raise Diag("unused-pool", f"no goal reads the pool `{name}`", space.goals[0].expr.span, hint=hint)
    return tuple(found)


def pool_fronts(
    space: Space, goals: Sequence[Signed], prices: Mapping[str, Prices], fixed: Mapping[str, int]
) -> dict[str, PoolFront]:
    """The front of every pool in the terms of the goals that read it."""
    found = {}
    for name, pool in space.pools.items():
        limited = limited_pool(space, pool)
        terms = [Term(g.terms[name], g.sign) for g in goals if name in g.terms]
        own = {a: i for a, i in fixed.items() if any(x.name == a for x in pool.axes)}
        found[name] = pool_front(limited, prices[name], terms, own)
    return found


def limited_pool(space: Space, pool: Pool) -> Pool:
    """A pool with the limits of the space that read it alone."""
    mine = [
        replace(rel, a=within(rel.a, pool.name, space), b=within(rel.b, pool.name, space))
        for rel in space.limits
        if pools_read(rel, space) == {pool.name}
    ]
    return replace(pool, limits=(*pool.limits, *mine))


def system_front(space: Space, goals: Sequence[Signed], fronts: Mapping[str, PoolFront]) -> tuple[Ints, Floats]:
    """The front of systems: indices into the fronts of the pools `[n, pool]`, and oriented goals `[n, goal]`.

    Raises Diag `too-many-systems` where two fronts have more pairs than are compared (see `implicit`).
    """
    names = list(space.pools)
    choice = np.arange(len(fronts[names[0]].rows), dtype=np.int64)[:, None]
    known = _columns(goals, names[0], fronts[names[0]])
    for name in names[1:]:
        other = _columns(goals, name, fronts[name])
        choice, known = _product(goals, choice, known, len(fronts[name].rows), other)
    best = front(np.stack([known[g.name] for g in goals], 1)) if len(choice) else np.empty(0, np.intp)
    return choice[best], np.stack([known[g.name][best] for g in goals], 1)


def _columns(goals: Sequence[Signed], pool: str, of: PoolFront) -> dict[str, Floats]:
    read = [g.name for g in goals if pool in g.terms]
    return {name: of.values[:, i] for i, name in enumerate(read)}


def _product(
    goals: Sequence[Signed], choice: Ints, known: Mapping[str, Floats], count: int, other: Mapping[str, Floats]
) -> tuple[Ints, dict[str, Floats]]:
    """All pairs of rows so far with designs of one more pool, and of these the front in all that is known by then."""
    if len(choice) * count > MOST_PAIRS:
        message = f"two fronts have {len(choice):,} x {count:,} pairs; up to {MOST_PAIRS:,} are compared"
        raise Diag("too-many-systems", message, hint="fewer goals, or coarser axes")
    every = [g for g in goals if g.name in known or g.name in other]
    values, pairs = np.empty((0, len(every))), np.empty((0, 2), np.int64)
    step = max(1, PAIRS // max(1, count))
    for start in range(0, len(choice), step):
        i = np.arange(start, min(start + step, len(choice)))
        rows = np.stack([_paired(g, known, other, i, count) for g in every], 1)
        both = np.concatenate([values, rows])
        best = front(both)
        new = best[best >= len(values)] - len(values)
        pairs = np.concatenate([pairs[best[best < len(values)]], np.stack([i[new // count], new % count], 1)])
        values = both[best]
    found = np.concatenate([choice[pairs[:, 0]], pairs[:, 1:]], 1)
    return found, {g.name: values[:, k] for k, g in enumerate(every)}


def _paired(g: Signed, known: Mapping[str, Floats], other: Mapping[str, Floats], i: Ints, count: int) -> Floats:
    a = np.repeat(known[g.name][i], count) if g.name in known else None
    b = np.tile(other[g.name], len(i)) if g.name in other else None
    if a is not None and b is not None:
        return g.joined(a, b)
    found = b if a is None else a
    assert found is not None
    return found


def explored(space: Space, prices: Mapping[str, Prices]) -> Systems:
    """The exact front of a space that separates: axes that pools share are tried value by value."""
    goals = separated(space)
    shared = [range(len(a.values)) for a in space.shared]
    parts = []
    for chosen in product(*shared):
        fixed = {a.name: i for a, i in zip(space.shared, chosen, strict=True)}
        fronts = pool_fronts(space, goals, prices, fixed)
        parts.append((fronts, *system_front(space, goals, fronts)))
    return merged(space, goals, parts)


def merged(
    space: Space, goals: tuple[Signed, ...], parts: Sequence[tuple[dict[str, PoolFront], Ints, Floats]]
) -> Systems:
    """The front of all parts; fronts of pools are put one after another."""
    offset = dict.fromkeys(space.pools, 0)
    choices = []
    for fronts, choice, _ in parts:
        choices.append(choice + np.array([offset[name] for name in space.pools]))
        offset = {name: offset[name] + len(fronts[name].rows) for name in space.pools}
    whole = {name: _together([fronts[name] for fronts, _, _ in parts]) for name in space.pools}
    values = np.concatenate([v for _, _, v in parts])
    best = front(values) if len(values) else np.empty(0, np.intp)
    signs = np.array([g.sign for g in goals])
    return Systems(goals, whole, np.concatenate(choices)[best], values[best] * signs, space.points)


def _together(some: Sequence[PoolFront]) -> PoolFront:
    return PoolFront(
        some[0].pool,
        np.concatenate([x.rows for x in some]),
        np.concatenate([x.values for x in some]),
        sum(x.designs for x in some),
        sum(x.legal for x in some),
    )
