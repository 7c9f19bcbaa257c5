"""Runs of a segment that overlap: the schedule whose makespan and periods together are least, and its bounds.

A run of M cycles that starts again every P cycles takes M + (n - 1) P for n runs: filling and draining take M - P. The
period is bounded from below by what its runs ask of every resource, and by circuits through values that are handed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import networkx as nx

from dfcompiler.budget import Budget
from dfcompiler.choice import MOST, chosen
from dfcompiler.circuits import Steady
from dfcompiler.columns import Column
from dfcompiler.goals import Goal
from dfcompiler.ilp import solved
from dfcompiler.program import Again, Program
from dfcompiler.relaxation import Edge
from dfcompiler.solution import Solution, unpinned

PART_TO_CHOOSE = 0.5  # of the time, for which columns to choose
ROWS_S = 4e-6  # seconds per node and column to relax a segment, as in `ilp`


@dataclass(frozen=True)
class Repeated:
    """A schedule that starts again every `period` cycles; no schedule of these columns can sooner than `floor`."""

    solution: Solution
    period: int
    floor: int

    def cycles(self, runs: Sequence[int]) -> int:
        """Cycles of so many runs on each of several stages."""
        return sum(self.solution.cycles + (n - 1) * self.period for n in runs)

    def bound(self, runs: Sequence[int]) -> int:
        """Cycles that no schedule with equal runs can beat."""
        return sum(self.solution.bound + (n - 1) * self.floor for n in runs)


def repeated(
    flow: nx.DiGraph[str],
    columns: Sequence[Column],
    carried: Sequence[Edge],
    known: Repeated,
    runs: Sequence[int],
    *,
    seconds: float,
    seed: int,
) -> Repeated:
    """The best schedule found for so many runs on each of several stages, not worse than the one that is `known`, and
    what is proven of the period of all. No more than two runs overlap, and those that do pin nothing. Time is counted
    as in `ilp.solve`."""
    left = Budget.of(seconds)
    if len(columns) > MOST or len(flow) * len(columns) * ROWS_S > seconds:
        return known
    left.spend(len(flow) * len(columns) * ROWS_S)
    relaxation = Steady(flow, columns, carried, known.period)
    floor = min(known.period, max(known.floor, relaxation.solve(frozenset()).bound))
    best = replace(known, floor=floor)
    if best.cycles(runs) <= best.bound(runs):
        return best
    choice = chosen(relaxation, left.part(left.seconds * PART_TO_CHOOSE))
    if choice is not None:
        best = replace(best, floor=min(known.period, max(floor, choice.bound)))
    for some in map(unpinned, [*([choice.columns] if choice else []), columns]):
        if best.cycles(runs) > best.bound(runs):
            best = _searched(flow, some, carried, best, runs, left.part(left.seconds / 2), seed)
    return best


def _searched(
    flow: nx.DiGraph[str],
    columns: Sequence[Column],
    carried: Sequence[Edge],
    known: Repeated,
    runs: Sequence[int],
    left: Budget,
    seed: int,
) -> Repeated:
    """The best schedule found of some columns, if it is better than what is known."""
    if {v for c in columns for v in c.nodes} < set(flow):
        return known
    again = Again(carried, known.floor, len(runs), sum(runs) - len(runs))
    horizon = 2 * known.period
    model = Program(flow, columns, horizon, known.solution.bound, Goal(), again)
    period = model.period
    assert period is not None
    model.model.add(again.ends * model.makespan + again.times * period <= known.cycles(runs))
    if {t.column for t in known.solution.tasks} <= set(columns):
        model.start_from(known.solution, known.period)
    solver = solved(model.model, left, seed)
    if solver is None:
        return known
    cycles = solver.value(model.makespan)
    found = replace(known.solution, tasks=model.tasks(solver), cycles=cycles, optimal=cycles <= known.solution.bound)
    return min(known, replace(known, solution=found, period=solver.value(period)), key=lambda x: x.cycles(runs))
