"""Solving the integer program of a segment: the proof, and the same answer every time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import networkx as nx
from ortools.sat.python import cp_model

from dfcompiler.columns import Column
from dfcompiler.listing import settled
from dfcompiler.program import Program
from dfcompiler.solution import Solution, longest_path, within

# Two strategies for two cores: propagation closes these proofs, the relaxation helps where it does not.
STRATEGIES = ("no_lp", "default_lp")
SAME_SECONDS = 5.0


def solve(flow: nx.DiGraph[str], columns: Sequence[Column], hint: Solution, *, seconds: float, seed: int) -> Solution:
    """The shortest schedule of the nodes of `flow`, starting from a schedule that is known to be legal.

    `flow` has the nodes of the segment and their data dependences. Columns that cannot be in a schedule as
    short as the hint are left out. Once a length is proven shortest, the schedule of that length which a single
    search without randomness between threads meets first is taken, so that equal input gives equal output, and
    what has time to spare in it is moved forward.
    The time limit is kept; the result is at least as good as the hint.
    """
    deadline = time.perf_counter() + seconds
    floor = longest_path(flow, columns)
    if hint.cycles == floor:
        return replace(hint, bound=floor, optimal=True)
    found = _exact(flow, within(flow, columns, hint.cycles), hint, seconds, seed)
    left = min(deadline - time.perf_counter(), SAME_SECONDS)
    if not found.optimal or left <= 0:
        return found
    same = _first(flow, within(flow, columns, found.cycles), hint, found.cycles, left, seed)
    return replace(settled(flow, columns, same), bound=found.bound, optimal=True) if same else found


def _parameters(solver: cp_model.CpSolver, seconds: float, seed: int) -> None:
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.random_seed = seed
    solver.parameters.use_overload_checker_in_cumulative = True
    solver.parameters.use_timetable_edge_finding_in_cumulative = True


def _exact(flow: nx.DiGraph[str], columns: Sequence[Column], hint: Solution, seconds: float, seed: int) -> Solution:
    """The best schedule in cycles, with its bound."""
    model = Program(flow, columns, hint.cycles)
    model.start_from(hint)
    solver = cp_model.CpSolver()
    _parameters(solver, seconds, seed)
    solver.parameters.num_workers = len(STRATEGIES)
    solver.parameters.subsolvers.extend(STRATEGIES)
    status = solver.solve(model.model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return replace(hint, bound=min(model.floor, hint.cycles), optimal=hint.cycles <= model.floor)
    tasks = model.tasks(solver)
    cycles = max(t.end for t in tasks)
    bound = min(cycles, max(model.floor, ceil(solver.best_objective_bound - 1e-6)))
    return Solution(tasks, cycles, bound, status == cp_model.OPTIMAL)


def _first(
    flow: nx.DiGraph[str], columns: Sequence[Column], hint: Solution, cycles: int, seconds: float, seed: int
) -> Solution | None:
    """The first schedule of at most `cycles` that one search without randomness between threads meets."""
    model = Program(flow, columns, cycles)
    model.start_from(hint)
    solver = cp_model.CpSolver()
    _parameters(solver, seconds, seed)
    solver.parameters.num_workers = 1
    solver.parameters.subsolvers.append("no_lp")
    solver.parameters.stop_after_first_solution = True
    if solver.solve(model.model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    tasks = model.tasks(solver)
    return Solution(tasks, max(t.end for t in tasks), 0, False)
