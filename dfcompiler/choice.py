"""Which columns a best schedule could be made of: the linear relaxation with every column chosen or not.

The relaxation knows what can run at one moment, so little is left to find out once columns are chosen: when they run.
A solver of mixed integer programs bounds it from below, and its choice is what schedules are sought of first.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import networkx as nx

from dfcompiler.budget import Budget
from dfcompiler.columns import Column
from dfcompiler.relaxation import Relaxation, attempted

CASE_S = 1e-5  # seconds for a case, per column and set of columns: measured 0.6e-5 to 1.3e-5
MOST = 600  # columns: beyond, the first case alone takes seconds, measured for 976
FIRST = 10  # cases that the first one counts for
EXACT = 1e-9  # what the solver's numbers are asked to be right to
SURE = 10 * EXACT  # targets, and half a cycle at least, that its bound is taken to be off by


@dataclass(frozen=True)
class Choice:
    """Columns that run every node once, and cycles that no schedule undercuts, in so far as the solver is right."""

    columns: tuple[Column, ...]
    bound: int


def choice(flow: nx.DiGraph[str], columns: Sequence[Column], target: int, left: Budget) -> Choice | None:
    """The columns with the least relaxation, where a schedule of `target` cycles is known; None where there are
    too many columns, the budget, counted by cases, allows no case, or the solver finds none."""
    return None if len(columns) > MOST else chosen(Relaxation(flow, columns, target), left)


def chosen(relaxation: Relaxation, left: Budget) -> Choice | None:
    """The whole columns for which a relaxation is least, as `choice` has it; the relaxation is of no more use."""
    from ortools.math_opt.python import mathopt

    columns, target = relaxation.columns, relaxation.target
    each_s = CASE_S * (len(columns) + relaxation.moments)
    cases = int(left.seconds / each_s) - FIRST
    if cases < 1:
        return None
    for x in relaxation.chosen:
        x.integer, x.upper_bound = True, 1.0
    asked = mathopt.SolveParameters(
        node_limit=cases,
        time_limit=datetime.timedelta(seconds=left.clock_s),
        threads=1,
        cuts=mathopt.Emphasis.OFF,  # they take longer than the cases that they save
        relative_gap_tolerance=0.0,
        absolute_gap_tolerance=0.25 / target,
    )
    asked.gscip.bool_params["misc/catchctrlc"] = False
    asked.gscip.real_params["numerics/feastol"] = EXACT
    asked.gscip.real_params["numerics/dualfeastol"] = EXACT
    with _unheard():
        found = attempted(lambda: mathopt.solve(relaxation.model, mathopt.SolverType.GSCIP, params=asked))
    left.spend(each_s * (FIRST + (found.solve_stats.node_count if found else 0)))
    if not found or not found.has_primal_feasible_solution():
        return None
    values = found.variable_values()
    whole = tuple(c for c, x in zip(columns, relaxation.chosen, strict=True) if values[x] > 0.5)
    bound = found.termination.objective_bounds.dual_bound * target - max(0.5, SURE * target)
    covered = sum(len(c.nodes) for c in whole) == len(relaxation.flow)
    return Choice(whole, max(0, ceil(bound))) if covered else None


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Nothing reaches the process's stderr: SoPlex, inside SCIP, remarks there on tolerances that it tightens."""
    with contextlib.ExitStack() as after, open(os.devnull, "wb") as nothing:
        with contextlib.suppress(OSError):  # there may be no stderr
            heard = os.dup(2)
            after.callback(os.close, heard)
            after.callback(os.dup2, heard, 2)
            os.dup2(nothing.fileno(), 2)
        yield
