"""Solving the integer program of a segment: the proof, and the same answer every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import networkx as nx
from ortools.sat.python import cp_model

from dfcompiler.columns import Column, undominated
from dfcompiler.listing import first_schedule, settled
from dfcompiler.program import Program
from dfcompiler.solution import Solution, by_group, longest_path, within

# One search without randomness between threads: propagation closes these proofs, a relaxation slows it down.
STRATEGY = "no_lp"
DETERMINISTIC_PER_S = (
    0.08  # what the solver counts as its own time in a second on a slow machine (measured: 0.09 to 0.13)
)
PART_OF_TIME = 0.25  # of the time for a segment, for proofs of its parts


def solve(
    flow: nx.DiGraph[str], columns: Sequence[Column], hint: Solution, *, seconds: float, seed: int, gap: float = 0.0
) -> Solution:
    """The shortest schedule of the nodes of `flow`, starting from a schedule that is known to be legal.

    `flow` has the nodes of the segment and their data dependences. Columns that cannot be in a schedule as short as
    the hint are left out. The search ends once the schedule is proven to be within `gap` of the shortest (a part
    of its length), or with its time: that is counted in the solver's own deterministic measure, so that equal input
    gives equal output unless a machine is so slow that the clock ends it first. What has time to spare in the
    schedule is moved forward. The result is at least as good as the hint.
    """
    floor = max(longest_path(flow, columns), _apart(flow, columns, seconds * PART_OF_TIME, seed, gap))
    if hint.cycles * (1 - gap) <= floor:
        return replace(hint, bound=min(floor, hint.cycles), optimal=hint.cycles <= floor)
    found = _search(flow, within(flow, columns, hint.cycles), hint, floor, seconds, seed, gap)
    return settled(flow, columns, found)


def _apart(flow: nx.DiGraph[str], columns: Sequence[Column], seconds: float, seed: int, gap: float) -> int:
    """A bound for nodes that fall into parts without any dependence between them, such as prefill and decode: no
    schedule is shorter than that of one part alone, in which groups over several parts run as they do for all."""
    parts = [flow.subgraph(p) for p in nx.weakly_connected_components(flow)]
    bounds = [0]
    for part in parts if len(parts) > 1 else []:
        of = {g: tuple(v for v in g if v in part) for g in by_group(columns)}
        mine = [replace(c, nodes=of[c.nodes]) for c in columns if of[c.nodes]]
        kept = [c for group in by_group(mine).values() for unit in _by_unit(group) for c in undominated(unit)]
        alone = solve(part, kept, first_schedule(part, kept), seconds=seconds / len(parts), seed=seed, gap=gap)
        bounds.append(alone.bound)
    return max(bounds)


def _by_unit(columns: Sequence[Column]) -> list[list[Column]]:
    return [[c for c in columns if c.unit == u] for u in dict.fromkeys(c.unit for c in columns)]


def _search(
    flow: nx.DiGraph[str],
    columns: Sequence[Column],
    hint: Solution,
    floor: int,
    seconds: float,
    seed: int,
    gap: float,
) -> Solution:
    """The best schedule found, with its bound."""
    model = Program(flow, columns, hint.cycles, floor)
    model.start_from(hint)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.max_deterministic_time = seconds * DETERMINISTIC_PER_S
    solver.parameters.random_seed = seed
    solver.parameters.relative_gap_limit = gap
    solver.parameters.num_workers = 1
    solver.parameters.subsolvers.append(STRATEGY)
    solver.parameters.use_overload_checker_in_cumulative = True
    solver.parameters.use_timetable_edge_finding_in_cumulative = True
    status = solver.solve(model.model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return replace(hint, bound=min(floor, hint.cycles), optimal=hint.cycles <= floor)
    tasks = model.tasks(solver)
    cycles = max(t.end for t in tasks)
    bound = min(cycles, max(floor, ceil(solver.best_objective_bound - 1e-6)))
    return Solution(tasks, cycles, bound, cycles <= bound)
