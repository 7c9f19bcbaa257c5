"""Kinds of servers of a space with two pools of one chip: what one costs, and what it serves in either pool.

A kind is a design on the axes that both pools have; on an axis that one pool has alone, such as the sequences that
decode together, it takes what serves most. Bounds of systems whose servers move between the pools follow from kinds
(`reallocation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.figures import Prices
from dfcompiler.explore.pools import Term, blocks
from dfcompiler.explore.reallocation import Rate, bound_front, kinds_front, time_shared
from dfcompiler.explore.separation import inlined, scaling_axis, without_factor
from dfcompiler.explore.space import Axis, Pool, Space
from dfcompiler.explore.systems import Signed, limited_pool, separated
from dfcompiler.text import tree as t

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Servers:
    """The kinds that no other kind matches, `[n]` each: what one server costs, and its rate in either pool; of
    `designs` kinds, and the numbers of servers that a pool may have."""

    cost: Floats
    first: Floats
    second: Floats
    designs: int
    counts: tuple[float, ...]


def servers(space: Space, prices: Mapping[str, Prices]) -> Servers:
    """The kinds of servers of a space. Raises Diag `unlike-pools` where servers cannot move: pools of different chips,
    or goals that are not a cost and a rate that scale with servers."""
    goals = separated(space)
    cost, rate = _cost_and_rate(space, goals)
    first, second = (limited_pool(space, p) for p in space.pools.values())
    if first.chip != second.chip or space.shared:
        raise Diag("unlike-pools", "servers move between pools of one chip only, that share no axis", first.chip.span)
    scale = _scale(space, [cost, rate])
    common = [a for a in first.axes if a in second.axes and a.name != scale.name]
    found = [_served(p, prices[p.name], cost, rate, scale, common) for p in (first, second)]
    (price, p), (_, d) = found
    able = np.flatnonzero(np.isfinite(price) & ((p > 0) | (d > 0)))
    best = able[kinds_front(price[able], p[able], d[able])]
    counts = tuple(float(v) for v in scale.values if not isinstance(v, str))
    return Servers(price[best], p[best], d[best], len(price), counts)


def bound(of: Servers, rate: Rate = time_shared) -> tuple[Floats, Floats, int]:
    """The largest rates of all systems of two kinds, with each number of servers, by cost; and how many pairs of kinds
    and numbers that took."""
    return bound_front(of.cost, of.first, of.second, of.counts, rate)


def _cost_and_rate(space: Space, goals: Sequence[Signed]) -> tuple[Signed, Signed]:
    cost = [g for g in goals if g.kind == "+" and g.sign > 0]
    rate = [g for g in goals if g.kind == "minimum" and g.sign < 0]
    if len(space.pools) != 2 or len(cost) != 1 or len(rate) != 1:
        hint = "two pools, one goal that is a sum to minimise and one that is a `minimum` to maximise"
        raise Diag("unlike-pools", f"`{space.name}` has no two pools with a cost and a rate", hint=hint)
    return cost[0], rate[0]


def _scale(space: Space, goals: Sequence[Signed]) -> Axis:
    found = [scaling_axis(p, [g.terms[n] for g in goals]) for n, p in space.pools.items()]
    if found[0] is None or found[0] != found[1]:
        hint = "an axis such as `servers` that multiplies cost and rate in both pools"
        raise Diag("unlike-pools", f"no axis of `{space.name}` counts servers", hint=hint)
    return next(a for p in space.pools.values() for a in p.axes if a.name == found[0])


def _served(
    pool: Pool, prices: Prices, cost: Signed, rate: Signed, scale: Axis, common: Sequence[Axis]
) -> tuple[Floats, Floats]:
    """What one server of every kind costs, and the most that it serves in this pool; 0 where it cannot."""
    terms = [Term(_alone(g.terms[pool.name], pool, scale.name), 1.0) for g in (cost, rate)]
    fixed = {scale.name: 0}
    shape = tuple(len(a.values) for a in common)
    usd, served = np.full(shape, np.inf), np.zeros(shape)
    for corner, (price, speed), alive in blocks(pool, prices, terms, fixed):
        extent = tuple(s.stop - s.start for s in corner)
        own = tuple(i for i, a in enumerate(pool.axes) if a not in common)
        at = tuple(s for s, a in zip(corner, pool.axes, strict=True) if a in common)
        here = np.where(alive, speed, 0.0).reshape(extent).max(own)
        paid = np.where(np.isfinite(price), price, np.inf).reshape(extent).min(own)
        served[at] = np.maximum(served[at], here)
        usd[at] = np.minimum(usd[at], paid)
    return usd.ravel(), served.ravel()


def _alone(e: t.Expr, pool: Pool, scale: str) -> t.Expr:
    rest = without_factor(inlined(e, pool.lets), scale)
    assert rest is not None
    return rest
