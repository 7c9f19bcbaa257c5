"""Fronts of systems again where constants are others, of pools whose designs were mapped one by one.

A system's goals are sums, the least or the largest of terms of its pools, so what a constant does to systems is what it
does to the terms of designs: each pool's study is asked again, and the systems are combined as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from dfcompiler.explore.combined import Combination, joined
from dfcompiler.explore.declared import members
from dfcompiler.explore.fronts import Floats
from dfcompiler.explore.repriced import Again, points_of
from dfcompiler.explore.robustness import Ints
from dfcompiler.explore.space import Space

Terms: TypeAlias = Mapping[tuple[int, ...], Floats]  # of designs, by their indices along the axes of their pool


@dataclass
class Recombined:
    """Systems under any constants (see `robustness.Truth`): those that were `kept`, and those on the front of what the
    studies of the parts (`again`) answer then."""

    space: Space
    found: Combination
    kept: Ints
    again: Mapping[str, Again]
    _columns: Mapping[str, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        at = {a.name: i for i, a in enumerate(self.space.axes)}
        own = ((n, [a.name if a.name in at else f"{n}.{a.name}" for a in p.axes]) for n, p in self.space.pools.items())
        self._columns = {name: [at[a] for a in names] for name, names in own}

    def __call__(self, factors: Mapping[str, float]) -> tuple[Ints, Floats]:
        """The systems that were kept, and those of the front."""
        told = {label: one(factors) for label, one in self.again.items()}
        parts, fronts, terms = self.found.parts, {}, {}
        for label, (points, values) in told.items():
            some = [tuple(p) for p in points.tolist()]
            fronts[label] = parts[label].front(some, values)
            rows = parts[label].designs(some)
            terms[label] = {tuple(r): v for r, v in zip(rows.tolist(), values, strict=True)}
        systems = joined(self.space, self.found.systems.goals, self.found.choices, fronts)
        points = np.unique(np.concatenate([self.kept, points_of(self.space, members(self.space, systems))]), axis=0)
        return points, np.stack([self._goals(p, terms) for p in points])

    def _goals(self, point: Ints, terms: Mapping[str, Terms]) -> Floats:
        """The oriented goals of a system; inf where a design of it cannot be."""
        shared = [len(a.values) for a in self.space.shared]
        labels = self.found.choices[int(np.ravel_multi_index(point[: len(shared)], shared)) if shared else 0]
        mine = {name: self._terms(label, point[self._columns[name]], terms[label]) for name, label in labels.items()}
        found = []
        for goal in self.found.systems.goals:
            whole, *more = (mine[name][goal.name] for name in self.space.pools if name in goal.terms)
            for term in more:
                whole = goal.joined(whole, term)
            found.append(whole)
        good = all(np.isfinite(x) for some in mine.values() for x in some.values())
        return np.array(found) if good else np.full(len(found), np.inf)

    def _terms(self, label: str, design: Ints, terms: Terms) -> Mapping[str, Floats]:
        """The terms of a design by the names of the goals, as often as the axis that scales says."""
        part = self.found.parts[label]
        names = [a.name for a in part.pool.axes]
        by = np.ones(len(part.scales))
        row = design.copy()
        if part.scale:
            at = names.index(part.scale)
            by = np.where(part.scales, float(part.pool.axes[at].values[design[at]]), 1.0)
            row[at] = part.cut[part.scale]
        none = np.full(len(part.scales), np.inf)
        values = terms.get(tuple(row.tolist()), none) * by
        return {g.name: x for g, x in zip(part.space.goals, values, strict=True)}
