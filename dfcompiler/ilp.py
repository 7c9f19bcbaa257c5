"""Solving the integer program of a segment: the proof, and the same answer every time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import ceil, inf
from typing import TYPE_CHECKING

import networkx as nx

from dfcompiler.addresses import placed
from dfcompiler.budget import Budget
from dfcompiler.certificate import dual, least_cost
from dfcompiler.choice import choice
from dfcompiler.columns import Column, undominated
from dfcompiler.diagnostics import Infeasible
from dfcompiler.goals import Goal
from dfcompiler.listing import first_schedule, place, settled
from dfcompiler.pins import Pin
from dfcompiler.solution import Solution, by_group, longest_path, within

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

# One search without randomness between threads. Propagation proves what is shortest, and a relaxation slows it down;
# what takes least energy is found by the relaxation.
FOR_TIME, FOR_ENERGY = "no_lp", "max_lp"
DETERMINISTIC_PER_S = {FOR_TIME: 0.08, FOR_ENERGY: 0.35}  # what each counts as its own time in a second: measured
# 0.09 to 0.13, and 0.40 to 0.46
PART_OF_TIME = 0.25  # of the time for a segment, for proofs of its parts
PART_TO_CHOOSE = 0.5  # of what is left of it, for which columns to choose
PART_TO_TRY = 0.1  # of what is left of it then, for each schedule of some of the columns
PART_TO_SETTLE = 0.1  # of what is left of it before the search, for moving work forward in what was found
ROWS_S, MODEL_S = 4e-6, 2e-6  # seconds per node and column to relax a segment and to write its program: measured


def solve(
    flow: nx.DiGraph[str],
    columns: Sequence[Column],
    hint: Solution,
    *,
    seconds: float,
    seed: int,
    gap: float = 0.0,
    goal: Goal = Goal(),
    budget: Budget | None = None,
) -> Solution:
    """The best schedule of the nodes of `flow` by a goal, starting from a schedule that is known to be legal but for
    the goal's limits.

    `flow` has the nodes of the segment and their data dependences. Columns that cannot be in a schedule as short as
    the hint are left out where nothing counts but time. The search ends once the schedule is proven to be within `gap`
    of the best (a part of its cost), or with its time, which is spent of `budget`: that is counted by the work done, by
    the solver in its own deterministic measure, so that equal input gives equal output unless a machine is so slow
    that the clock ends it first. Where nothing
    counts but time, the result is at least as good as the hint, and what has time to spare in it is moved forward.

    Raises Infeasible `over-limit` where no schedule was found within the limits of the goal.
    """
    left = budget.part(seconds) if budget else Budget.of(seconds)
    hint = goal.waiting(hint)
    alone = _alone(flow, columns, left.part(seconds * PART_OF_TIME), seed, gap)
    least = max(longest_path(flow, columns), *(s.bound for s in alone), 0)
    parts = tuple(s.cycles for s in alone)
    if not goal.quickest:
        horizon = _horizon(columns, hint, goal)
        usable = within(flow, columns, horizon)
        low = 0.0
        if goal.of_cycle and _affords(left, ROWS_S, flow, columns):
            low = least_cost(flow, columns, goal, goal.cost(hint))
        timed = not goal.per_pj and goal.most_pj == inf
        least = min(hint.cycles, max(least, round(low / goal.of_cycle))) if timed else least
        found = _search(flow, usable, hint, horizon, least, left, seed, gap, goal)
        found = replace(found, least=max(found.least, min(low, goal.cost(found))), alone=parts)
        return replace(found, bound=found.cycles) if timed and found.optimal else found
    if hint.cycles * (1 - gap) > least and _affords(left, ROWS_S, flow, columns):
        least = max(least, dual(flow, columns, hint.cycles).bound)
    if hint.cycles * (1 - gap) <= least:
        least = min(least, hint.cycles)
        return replace(hint, bound=least, optimal=hint.cycles <= least, least=goal.of_cycle * least, alone=parts)
    last = left.seconds * PART_TO_SETTLE
    searching = left.part(left.seconds - last)
    found = _by_choice(flow, columns, hint, least, searching, seed, gap)
    if found.cycles * (1 - gap) > found.bound:
        usable = within(flow, columns, found.cycles)
        found = _search(flow, usable, found, found.cycles, found.bound, searching, seed, gap, goal)
    return replace(settled(flow, columns, found, left.part(last)), alone=parts)


def _by_choice(
    flow: nx.DiGraph[str], columns: Sequence[Column], hint: Solution, least: int, left: Budget, seed: int, gap: float
) -> Solution:
    """The best schedule found of the columns that the relaxation chooses, then with other columns for one part after
    another, parts having no dependence between them, shorter ones first: they fit in more ways beside longer ones. It
    is no worse than the hint, and has what is proven of all columns."""
    usable = within(flow, columns, hint.cycles)
    choosing = left.part(left.seconds * PART_TO_CHOOSE)
    able = _affords(choosing, ROWS_S, flow, usable)
    chosen = choice(flow, usable, hint.cycles, choosing) if able else None
    least = min(hint.cycles, max(least, chosen.bound if chosen else 0))
    best = hint
    plain = place({c.nodes: [c] for c in chosen.columns}, flow) if chosen else hint
    if plain.cycles <= least and isinstance(placed(plain.tasks), dict):
        best = plain  # as short as can be without a search
    parts = sorted(nx.weakly_connected_components(flow), key=lambda p: _lasting(hint, p)) if chosen else []
    for part in [set[str](), *parts, *parts]:
        if chosen is None or best.cycles * (1 - gap) <= least:
            break
        mine = {t.column for t in best.tasks} if part else {*chosen.columns}
        some = [c for c in usable if c in mine or part.issuperset(c.nodes)]
        trying = left.part(left.seconds * PART_TO_TRY)
        best = _search(flow, some, best, best.cycles, least, trying, seed, gap, Goal())
    return replace(best, bound=least, optimal=best.cycles <= least, least=Goal().of_cycle * least)


def _lasting(found: Solution, part: set[str]) -> int:
    return sum(t.column.cycles for t in found.tasks if not part.isdisjoint(t.column.nodes))


def _affords(left: Budget, each_s: float, flow: nx.DiGraph[str], columns: Sequence[Column]) -> bool:
    """Whether there is time for work that takes so long for each node and column; then it is spent."""
    takes = each_s * len(flow) * len(columns)
    if takes > left.seconds or left.over:
        return False
    left.spend(takes)
    return True


def _alone(flow: nx.DiGraph[str], columns: Sequence[Column], left: Budget, seed: int, gap: float) -> list[Solution]:
    """Schedules of parts without any dependence between them, such as prefill and decode, each by itself; none where
    all is one part. No schedule of the whole is shorter than one of a part alone, in which groups over several parts
    run as they do for all."""
    parts = [flow.subgraph(p) for p in nx.weakly_connected_components(flow)]
    found: list[Solution] = []
    for part in parts if len(parts) > 1 else []:
        of = {g: tuple(v for v in g if v in part) for g in by_group(columns)}
        mine = [replace(c, nodes=of[c.nodes], pins=_of_part(c, part)) for c in columns if of[c.nodes]]
        kept = [c for group in by_group(mine).values() for unit in _by_unit(group) for c in undominated(unit)]
        mine_s = left.seconds / (len(parts) - len(found))
        hint = first_schedule(part, kept, left.part(mine_s))
        found.append(solve(part, kept, hint, seconds=mine_s, seed=seed, gap=gap, budget=left))
    return found


def _of_part(c: Column, part: nx.DiGraph[str]) -> tuple[Pin, ...]:
    return tuple(pin for pin in c.pins if pin.maker in part)


def _horizon(columns: Sequence[Column], hint: Solution, goal: Goal) -> int:
    """Cycles of which no best schedule takes more: the limit, or those of the hint where it is legal and nothing counts
    but time, else of all groups one after another on their slowest columns, or what the power asks for."""
    if goal.most_cycles < inf:
        return int(goal.most_cycles)
    if not goal.per_pj and goal.allows(hint):
        return hint.cycles
    slowest = sum(max(c.cycles for c in cs) for cs in by_group(columns).values())
    return max(hint.cycles, slowest, goal.least_cycles(hint.pj))


def _by_unit(columns: Sequence[Column]) -> list[list[Column]]:
    return [[c for c in columns if c.unit == u] for u in dict.fromkeys(c.unit for c in columns)]


def _search(
    flow: nx.DiGraph[str],
    columns: Sequence[Column],
    hint: Solution,
    horizon: int,
    least: int,
    left: Budget,
    seed: int,
    gap: float,
    goal: Goal,
) -> Solution:
    """The best schedule found, with its bound."""
    from dfcompiler.program import Program  # its solver takes longer to import than all else: only who searches waits

    if not _affords(left, MODEL_S, flow, columns):
        return _unsolved(hint, least, goal)
    model = Program(flow, columns, horizon, least, goal)
    model.start_from(hint)
    way = FOR_TIME if goal.quickest else FOR_ENERGY
    solver = solved(model.model, left, seed, gap, way)
    told: set[tuple[Pin, ...]] = set()
    while solver and not isinstance(clash := placed(model.tasks(solver)), dict):
        if clash in told:  # places that the allocator, which tries so many orders, does not find
            return _unsolved(hint, least, goal)
        told.add(clash)
        model.apart(clash)
        solver = solved(model.model, left, seed, gap, way)
    if solver is None:
        return _unsolved(hint, least, goal)
    tasks, cycles = model.tasks(solver), solver.value(model.makespan)
    found = Solution(tasks, cycles, least, optimal=False)
    each = goal.of_cycle * model.scale
    rounded = abs(round(each) - each) * horizon + len(flow) / 2  # by how much an objective in whole numbers may be off
    cost = max(goal.of_cycle * least, (solver.best_objective_bound - rounded) / model.scale)
    if goal.quickest:
        least = min(cycles, max(least, ceil(solver.best_objective_bound - 1e-6)))
        return replace(found, bound=least, optimal=cycles <= least, least=goal.of_cycle * least)
    optimal = solver.objective_value <= solver.best_objective_bound  # `gap` ends a search before that
    return replace(found, optimal=optimal, least=min(cost, goal.cost(found)))


def solved(
    model: cp_model.CpModel, left: Budget, seed: int, gap: float = 0.0, way: str = FOR_TIME
) -> cp_model.CpSolver | None:
    """The solver with what it found of a program within the budget; None where that is nothing."""
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = left.clock_s
    solver.parameters.max_deterministic_time = max(0.0, left.seconds) * DETERMINISTIC_PER_S[way]
    solver.parameters.random_seed = seed
    solver.parameters.relative_gap_limit = gap
    solver.parameters.num_workers = 1
    solver.parameters.subsolvers.append(way)
    solver.parameters.use_overload_checker_in_cumulative = True
    solver.parameters.use_timetable_edge_finding_in_cumulative = True
    status = _run(solver, model)
    left.spend(solver.response_proto.deterministic_time / DETERMINISTIC_PER_S[way])
    return solver if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else None


def _run(solver: cp_model.CpSolver, model: cp_model.CpModel) -> cp_model.CpSolverStatus:
    """`solver.solve(model)`, which Ctrl-C ends: the solver would take the signal for its limit of time, and Python sees
    it only while it waits."""
    solver.parameters.catch_sigint_signal = False
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(solver.solve, model)
        try:
            return running.result()
        except BaseException:
            solver.stop_search()
            raise


def _unsolved(hint: Solution, least: int, goal: Goal) -> Solution:
    """What is known where the search found nothing better in its time."""
    if not goal.allows(hint):
        raise Infeasible("over-limit", "no schedule was found within the limits")
    least = min(least, hint.cycles)
    return replace(hint, bound=least, optimal=goal.quickest and hint.cycles <= least, least=goal.of_cycle * least)
