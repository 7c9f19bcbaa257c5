"""A space as the question of a study: every point compiled and served in full, in whatever process it is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from dfcompiler import content
from dfcompiler.explore.designs import values_of
from dfcompiler.explore.mapped import Mapped
from dfcompiler.explore.plans import PIPELINE
from dfcompiler.explore.question import Answer, Dimension, Goal, Point
from dfcompiler.explore.references import Array, Known, holds, value
from dfcompiler.explore.space import Pool, Space
from dfcompiler.text import tree as t
from dfcompiler.text.show_expressions import show_rel


@dataclass(frozen=True)
class Asked:
    """What a study asks of a space under prices of designs that are mapped one by one."""

    space: Space
    pipeline: str = PIPELINE
    process: Mapping[str, float] = field(default_factory=dict)  # constants that are so many times what they are

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The axes of the space."""
        return tuple(Dimension(a.name, a.values) for a in self.space.axes)

    @cached_property
    def goals(self) -> tuple[Goal, ...]:
        """The goals of the space."""
        return tuple(Goal(g.name, g.sense) for g in self.space.goals)

    def identity(self) -> str:
        """A hash of the space, of its chips, of all content and of how steps are mapped."""
        said = [self.space.digest().encode(), self.pipeline.encode(), *content.state()]
        return hashlib.sha256(b"\0".join(said)).hexdigest()

    def evaluate(self, point: Point) -> Answer:
        """The goals at a point, or the limit that it does not keep. Raises what compiling raises."""
        pools = {n: self._mapped(p, point) for n, p in self.space.pools.items()}
        shared = {a.name: a.values[i] for a, i in zip(self.space.axes, point, strict=True)}

        def known(path: tuple[str, ...]) -> Array:
            if path[0] in self.space.lets:
                return value(self.space.lets[path[0]].value, known)
            if path[0] in pools:
                return pools[path[0]].figure(path[1:])
            if len(pools) == 1:
                return next(iter(pools.values())).figure(path)
            return np.asarray(shared[path[0]])

        limits: list[tuple[t.Rel, Mapped | None]] = [(r, m) for m in pools.values() for r in m.pool.limits]
        for rel, own in (*limits, *((r, None) for r in self.space.limits)):
            read = own.figure if own else known
            if not holds(rel, read):
                return Answer(None, f"`{show_rel(rel)}` does not hold", _sides(rel, read))
        return Answer({g.name: float(value(g.expr, known)) for g in self.space.goals})

    def _mapped(self, pool: Pool, point: Point) -> Mapped:
        return Mapped(pool, values_of(self.space, pool, point), self.pipeline, self.process)


def _sides(rel: t.Rel, read: Known) -> tuple[float, float] | None:
    """Both sides of a relation, where they are numbers."""
    a, b = value(rel.a, read), value(rel.b, read)
    numbers = all(x.dtype.kind in "biuf" and np.isfinite(x) for x in (a, b))
    return (float(a), float(b)) if numbers else None
