"""Systems of pools under prices that are mapped: a study for each pool, then the front of their combinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from dfcompiler.explore.exploration import Proof
from dfcompiler.explore.pools import PoolFront, scaled, unscaled
from dfcompiler.explore.question import costs
from dfcompiler.explore.separation import scaling_axis
from dfcompiler.explore.space import Axis, Goal, Pool, Space
from dfcompiler.explore.studied import Search, Studied, part, studied
from dfcompiler.explore.systems import Signed, Systems, limited_pool, merged, separated, system_front

RANK: Mapping[Proof, int] = {"exhaustive": 0, "bounded": 1, "sampled": 2}


@dataclass(frozen=True)
class Combination:
    """The front of systems, and the studies that it is made of, by pool and shared axes."""

    systems: Systems
    studies: Mapping[str, Studied]

    @property
    def proof(self) -> Proof:
        """What the least certain study knows."""
        return max((s.proof for s in self.studies.values()), key=lambda p: RANK[p])


def combined_front(space: Space, search: Search) -> Combination:
    """Studies of the pools, for every value of the axes that they share, and the front of their systems.

    Raises what `separated` and the studies raise.
    """
    goals = separated(space)
    held: dict[str, tuple[PoolFront, Studied]] = {}  # a pool that does not read a shared axis has one study
    parts = []
    for chosen in product(*(range(len(a.values)) for a in space.shared)):
        fixed = {a.name: i for a, i in zip(space.shared, chosen, strict=True)}
        fronts = {}
        for name, pool in space.pools.items():
            own = {a: i for a, i in fixed.items() if any(x.name == a for x in pool.axes)}
            label = "-".join([name, *(f"{a}{i}" for a, i in own.items())])
            if label not in held:
                held[label] = _pool(space, goals, limited_pool(space, pool), own, part(search, label))
            fronts[name] = held[label][0]
        parts.append((fronts, *system_front(space, goals, fronts)))
    return Combination(merged(space, goals, parts), {label: found for label, (_, found) in held.items()})


def _pool(
    space: Space, goals: Sequence[Signed], pool: Pool, fixed: Mapping[str, int], search: Search
) -> tuple[PoolFront, Studied]:
    """The front of one pool in its terms; an axis that scales is taken as 1 first."""
    mine = [g for g in goals if pool.name in g.terms]
    scale = scaling_axis(pool, [g.terms[pool.name] for g in mine])
    exprs = [unscaled(g.terms[pool.name], pool, scale) for g in mine]
    cut = {**fixed, **({scale: 0} if scale else {})}
    axes = tuple(_cut(a, cut.get(a.name)) for a in pool.axes)
    asked = tuple(
        Goal(g.name, "min" if g.sign > 0 else "max", e or g.terms[pool.name]) for g, e in zip(mine, exprs, strict=True)
    )
    one = replace(space, shared=(), pools={pool.name: replace(pool, axes=axes)}, lets={}, limits=(), goals=asked)
    found = studied(one, search)
    rows = np.array([[cut.get(a.name, i) for a, i in zip(pool.axes, p, strict=True)] for p in found.front], np.int64)
    values = costs(asked, [found.answers[p].values or {} for p in found.front])
    legal = sum(a.values is not None for a in found.answers.values())
    front = PoolFront(pool, rows.reshape(-1, len(pool.axes)), values, one.points, legal)
    return (scaled(front, scale, [e is not None for e in exprs]) if scale else front), found


def _cut(axis: Axis, index: int | None) -> Axis:
    return axis if index is None else replace(axis, values=axis.values[index : index + 1])
