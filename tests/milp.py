"""The integer program of a segment once more, for a solver of another kind: linear rows and branching, no propagation.

Columns, covers and the order of data are as in `program`. Of two groups that are used, one may end before the other
starts, and one starts no later than the other; what started no later and has not ended must fit beside the group that
starts, so resources are counted at every start and nowhere else. Two binaries for every pair, with rows that are weak
as fractions: this checks the other solver on small segments and could not take its place.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from math import ceil
from typing import TypeAlias

import networkx as nx
from ortools.math_opt.python import mathopt

from dfcompiler.columns import Column
from dfcompiler.listing import place
from dfcompiler.solution import Solution, by_group, longest_path
from dfcompiler.tiling import RESOLUTION

Nodes: TypeAlias = tuple[str, ...]
SURE = 0.01  # of a cycle: what a bound in fractions may be wrong by


def solve(flow: nx.DiGraph[str], columns: Sequence[Column], hint: Solution, *, seconds: float, seed: int) -> Solution:
    """The shortest schedule of the nodes of `flow` by HiGHS; the hint where it finds none that is shorter.

    To the solver times are fractions of the hint's cycles; groups are placed again in the order that it found.
    """
    program = _Program(flow, columns, hint.cycles)
    limits = mathopt.SolveParameters(
        time_limit=timedelta(seconds=seconds), random_seed=seed, relative_gap_tolerance=0.0
    )
    result = mathopt.solve(program.model, mathopt.SolverType.HIGHS, params=limits)
    bound = ceil(result.best_objective_bound() * hint.cycles - SURE)
    found = program.placed(result, flow) if result.has_primal_feasible_solution() else hint
    best = min(hint, found, key=lambda s: s.cycles)
    bound = min(best.cycles, max(bound, longest_path(flow, columns)))
    return replace(best, bound=bound, optimal=bound == best.cycles)


class _Program:
    """Variables and rows of a segment whose schedule takes at most `horizon` cycles, which is 1 to the solver."""

    def __init__(self, flow: nx.DiGraph[str], columns: Sequence[Column], horizon: int) -> None:
        self.model, self.columns = mathopt.Model(), columns
        self.groups = by_group(columns)
        m = self.model
        self.chosen = {id(c): m.add_binary_variable() for c in columns}
        self.start = {g: m.add_variable(lb=0.0, ub=1.0) for g in self.groups}
        self.used = {g: mathopt.fast_sum(self.chosen[id(c)] for c in cs) for g, cs in self.groups.items()}
        self.size = {
            g: mathopt.fast_sum(c.cycles / horizon * self.chosen[id(c)] for c in cs) for g, cs in self.groups.items()
        }
        self._order(flow)
        self._resources()

    def _order(self, flow: nx.DiGraph[str]) -> None:
        """Every node in one group, which starts when all operands from outside are there."""
        m = self.model
        at = {v: m.add_variable(lb=0.0, ub=1.0) for v in flow}
        makespan = m.add_variable(lb=0.0, ub=1.0)
        for v in flow:
            around = [g for g in self.groups if v in g]
            m.add_linear_constraint(mathopt.fast_sum(self.used[g] for g in around) == 1.0)
            m.add_linear_constraint(at[v] + mathopt.fast_sum(self.size[g] for g in around) <= makespan)
            for g in around:
                m.add_linear_constraint(self.start[g] - at[v] <= 1.0 - self.used[g])
                m.add_linear_constraint(at[v] - self.start[g] <= 1.0 - self.used[g])
        for u, v in flow.edges:
            alone = [self.size[g] for g in self.groups if u in g and v not in g]
            m.add_linear_constraint(at[u] + mathopt.fast_sum(alone) <= at[v])
        m.minimize(makespan)

    def _resources(self) -> None:
        m = self.model
        pairs = [p for p in itertools.permutations(self.groups, 2) if not set(p[0]) & set(p[1])]
        done = {p: m.add_binary_variable() for p in pairs}  # the first has ended when the second starts
        late = {p: m.add_binary_variable() for p in pairs}  # the first starts no earlier than the second
        for g, h in pairs:
            m.add_linear_constraint(self.start[g] + self.size[g] <= self.start[h] + 1.0 - done[g, h])
            m.add_linear_constraint(self.start[h] <= self.start[g] + 1.0 - late[g, h])
            m.add_linear_constraint(late[g, h] + late[h, g] == 1.0)
        for g, h, k in itertools.permutations(self.groups, 3):
            if {(g, h), (h, k), (k, g)} <= late.keys():  # groups that start together have an order too
                m.add_linear_constraint(late[g, h] + late[h, k] + late[k, g] <= 2.0)
        for name in {"", *(n for c in self.columns for n in (c.unit, c.helper) if n)}:
            for h in self.groups:
                held = []
                for g in (g for g, k in pairs if k == h):
                    beside = m.add_variable(lb=0.0, ub=RESOLUTION)
                    gone = RESOLUTION * (done[g, h] + late[g, h])
                    m.add_linear_constraint(beside >= self._use(g, name) - gone)
                    held.append(beside)
                m.add_linear_constraint(mathopt.fast_sum(held) + self._use(h, name) <= RESOLUTION)

    def _use(self, g: Nodes, name: str) -> mathopt.LinearBase:
        """Sixteenths of a resource that a group holds while it runs, the way to memory by the empty name."""
        amounts = [
            (c.dram if not name else RESOLUTION if c.unit == name else c.beside * (c.helper == name), c)
            for c in self.groups[g]
        ]
        return mathopt.fast_sum(n * self.chosen[id(c)] for n, c in amounts if n)

    def placed(self, result: mathopt.SolveResult, flow: nx.DiGraph[str]) -> Solution:
        """The schedule that was found, in whole cycles."""
        values = result.variable_values()
        choice = {c.nodes: [c] for c in self.columns if values[self.chosen[id(c)]] > 0.5}
        order = sorted(choice, key=lambda g: values[self.start[g]])
        return place(choice, flow, {g: i for i, g in enumerate(order)})
