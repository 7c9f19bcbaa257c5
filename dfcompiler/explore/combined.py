"""Systems of pools under prices that are mapped: a study for each pool, then the front of their combinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from dfcompiler.explore.exploration import Proof
from dfcompiler.explore.fronts import Floats, front
from dfcompiler.explore.pools import PoolFront, scaled, unscaled
from dfcompiler.explore.question import Point, costs
from dfcompiler.explore.separation import scaling_axis
from dfcompiler.explore.space import Axis, Goal, Pool, Space
from dfcompiler.explore.studied import Search, Studied, part, studied
from dfcompiler.explore.systems import Ints, Signed, Systems, limited_pool, merged, separated, system_front

RANK: Mapping[Proof, int] = {"exhaustive": 0, "bounded": 1, "sampled": 2}


@dataclass(frozen=True)
class Part:
    """What is asked of one pool where the axes that pools share have fixed values: a space of its own, whose goals are
    the pool's terms. An axis that `scales` (which of the terms, by `scale`) is taken as 1 there."""

    pool: Pool
    space: Space
    cut: Mapping[str, int]
    scale: str | None
    scales: tuple[bool, ...]

    def designs(self, points: Sequence[Point]) -> Ints:
        """Points of the space as indices along all axes of the pool `[point, axis]`."""
        rows = [[self.cut.get(a.name, i) for a, i in zip(self.pool.axes, p, strict=True)] for p in points]
        return np.array(rows, dtype=np.int64).reshape(-1, len(self.pool.axes))

    def front(self, points: Sequence[Point], values: Floats) -> PoolFront:
        """The front of the pool's designs, from some points with their oriented terms, inf where one cannot be."""
        able = np.flatnonzero(np.isfinite(values).all(1))
        best = able[front(values[able])]
        found = PoolFront(
            self.pool, self.designs([points[i] for i in best]), values[best], self.space.points, len(able)
        )
        return scaled(found, self.scale, self.scales) if self.scale else found


@dataclass(frozen=True)
class Combination:
    """The front of systems, and what it is made of: parts with their studies by a label, and the labels of all pools
    for each choice of values of the axes that pools share."""

    systems: Systems
    parts: Mapping[str, Part]
    studies: Mapping[str, Studied]
    choices: tuple[Mapping[str, str], ...]

    @property
    def proof(self) -> Proof:
        """What the least certain study knows."""
        return max((s.proof for s in self.studies.values()), key=lambda p: RANK[p])


def combined_front(space: Space, search: Search) -> Combination:
    """Studies of the pools, for every value of the axes that they share, and the front of their systems.

    Raises what `separated` and the studies raise.
    """
    goals = separated(space)
    parts: dict[str, Part] = {}  # a pool that does not read a shared axis has one study
    choices = []
    for chosen in product(*(range(len(a.values)) for a in space.shared)):
        fixed = {a.name: i for a, i in zip(space.shared, chosen, strict=True)}
        labels = {}
        for name, pool in space.pools.items():
            own = {a: i for a, i in fixed.items() if any(x.name == a for x in pool.axes)}
            labels[name] = "-".join([name, *(f"{a}{i}" for a, i in own.items())])
            if labels[name] not in parts:
                parts[labels[name]] = _part(space, goals, limited_pool(space, pool), own)
        choices.append(labels)
    studies = {label: studied(one.space, part(search, label)) for label, one in parts.items()}
    fronts = {label: parts[label].front(s.front, _terms(parts[label], s)) for label, s in studies.items()}
    return Combination(joined(space, goals, choices, fronts), parts, studies, tuple(choices))


def joined(
    space: Space,
    goals: tuple[Signed, ...],
    choices: Sequence[Mapping[str, str]],
    fronts: Mapping[str, PoolFront],
) -> Systems:
    """The front of systems from fronts of the pools, by their labels for each choice of shared axes."""
    each = [{name: fronts[label] for name, label in labels.items()} for labels in choices]
    return merged(space, goals, [(some, *system_front(space, goals, some)) for some in each])


def _part(space: Space, goals: Sequence[Signed], pool: Pool, fixed: Mapping[str, int]) -> Part:
    """What is asked of a pool, in its terms."""
    mine = [g for g in goals if pool.name in g.terms]
    scale = scaling_axis(pool, [g.terms[pool.name] for g in mine])
    exprs = [unscaled(g.terms[pool.name], pool, scale) for g in mine]
    cut = {**fixed, **({scale: 0} if scale else {})}
    axes = tuple(_cut(a, cut.get(a.name)) for a in pool.axes)
    asked = tuple(
        Goal(g.name, "min" if g.sign > 0 else "max", e or g.terms[pool.name]) for g, e in zip(mine, exprs, strict=True)
    )
    one = replace(space, shared=(), pools={pool.name: replace(pool, axes=axes)}, lets={}, limits=(), goals=asked)
    return Part(pool, one, cut, scale, tuple(e is not None for e in exprs))


def _terms(one: Part, found: Studied) -> Floats:
    return costs(one.space.goals, [found.answers[p].values or {} for p in found.front])


def _cut(axis: Axis, index: int | None) -> Axis:
    return axis if index is None else replace(axis, values=axis.values[index : index + 1])
