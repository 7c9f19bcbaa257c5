"""NSGA-II with pymoo's selection, crossover, mutation and survival; parents come from all that was told."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from dfcompiler.explore.question import Point, costs
from dfcompiler.explore.samplers.nearest import Nearest
from dfcompiler.explore.samplers.sampler import Sampler, points_of

POPULATION = 20
TRIES = 20  # generations that may give nothing new before points at random fill the round


class Nsga2(Sampler, name="nsga2"):
    """Axes are genes in the unit cube; a point that cannot be breaks a constraint."""

    def ask(self, count: int) -> list[Point]:
        """See `Sampler`."""
        rng = self.rng()
        fresh = points_of(self.fresh(rng, count))
        if len(self.told) < 2:
            return fresh
        shape = np.array([len(d.values) for d in self.scene.dimensions])
        problem: Any = Problem(n_var=len(shape), n_obj=len(self.scene.goals), n_ieq_constr=1, xl=0.0, xu=1.0)
        algorithm: Any = NSGA2(pop_size=POPULATION)
        algorithm.setup(problem, seed=0)
        parents = algorithm.survival.do(
            problem, self._population(shape), n_survive=POPULATION, algorithm=algorithm, random_state=rng
        )
        found: dict[Point, None] = {}
        for _ in range(TRIES):
            children = algorithm.mating.do(problem, parents, count, algorithm=algorithm, random_state=rng).get("X")
            if self.scene.pool is not None:
                return points_of(Nearest(self)(children, count))
            rows = np.minimum((children * shape).astype(np.int64), shape - 1)
            found.update(dict.fromkeys(p for p in points_of(rows) if p not in self.told))
            if len(found) >= count:
                break
        found.update(dict.fromkeys(fresh))
        return list(found)[:count]

    def _population(self, shape: Any) -> Any:
        """Everyone who was told of, at the middle of their cell; without objectives where they cannot be."""
        worst = {goal.name: 0.0 for goal in self.scene.goals}
        values = costs(self.scene.goals, [a.values or worst for a in self.told.values()])
        broken = np.array([[1.0 if a.values is None else -1.0] for a in self.told.values()])
        genes = (np.array(list(self.told), dtype=np.float64) + 0.5) / shape
        return Population.new(X=genes, F=values, G=broken)
