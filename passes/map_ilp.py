"""Choose groups, units, tilings and times by integer programming."""

from __future__ import annotations

from collections.abc import Sequence

from dfcompiler.budget import Budget
from dfcompiler.columns import flow_of
from dfcompiler.goals import AREA_DELAY, LATENCY, Goal
from dfcompiler.graph import Graph
from dfcompiler.listing import first_schedule, require_columns
from dfcompiler.objectives import best, limits, spending, thinned
from dfcompiler.pipeline import Context, Pass
from dfcompiler.schedule import Aim, columns_of, with_mapping
from dfcompiler.solution import Solution

FOR_HINTS = 0.2  # of the time, for the schedules to begin with


class MapIlp(Pass, name="map-ilp"):
    """Make the step's objective least by CP-SAT, starting from the best of several list schedules, until each segment
    is proven to be within `gap` of the best. The time limit is for all segments together; what is not proven by then
    is returned with its gap."""

    maps = True
    time_limit_s: float | None = None
    gap: float = 0.0

    def __post_init__(self) -> None:
        if self.time_limit_s is not None and self.time_limit_s <= 0:
            raise ValueError("time-limit-s must be positive")
        if not 0 <= self.gap < 1:
            raise ValueError("gap must be from 0 to below 1: 0.01 is 1 %")

    def run(self, graph: Graph, ctx: Context) -> Graph:
        from dfcompiler.ilp import solve  # the solver takes longer to import than all else: only who solves waits

        columns = columns_of(graph)
        budget = Budget.of(self.time_limit_s or ctx.time_limit_s)
        for segment in columns.segments:
            require_columns(graph, columns, segment)
        parts = [(flow_of(graph, s), columns.of(s)) for s in columns.segments]
        sizes = [len(flow) * len(mine) for flow, mine in parts]
        hinted = budget.part(budget.seconds * FOR_HINTS)
        first = [first_schedule(flow, mine, hinted) for flow, mine in parts]
        one_round = ctx.objective in (LATENCY, AREA_DELAY)

        def solved(goals: Sequence[Goal], hints: Sequence[Solution] | None) -> Sequence[Solution]:
            found, left = [], budget.part(budget.seconds if one_round else budget.seconds / 2)
            for i, ((flow, mine), hint, goal) in enumerate(zip(parts, hints or first, goals, strict=True)):
                seconds = max(0.0, left.seconds) * sizes[i] / sum(sizes[i:])
                found.append(
                    solve(flow, mine, hint, seconds=seconds, seed=ctx.seed, gap=self.gap, goal=goal, budget=left)
                )
            return found

        base = limits(ctx.need("chip"), ctx.power_w)
        found = best(ctx.objective, base, [s.repeat for s in columns.segments], solved)
        found = thinned(found, spending(ctx.objective, base), columns.loss)
        aim = Aim(ctx.objective, found.least, found.optimal, base, found.planes)
        return with_mapping(graph, self.name, found.solutions, aim)
