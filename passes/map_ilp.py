"""Choose groups, units, tilings and times by integer programming."""

from __future__ import annotations

import time

from dfcompiler.columns import flow_of
from dfcompiler.graph import Graph
from dfcompiler.listing import first_schedule, require_columns
from dfcompiler.pipeline import Context, Pass
from dfcompiler.schedule import columns_of, with_mapping
from dfcompiler.solution import Solution


class MapIlp(Pass, name="map-ilp"):
    """Minimise the time of each segment by CP-SAT, starting from the best of several list schedules, until it is
    proven to be within `gap` of the least. The time limit is for all segments together; what is not proven by then
    is returned with its gap."""

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
        limit = self.time_limit_s or ctx.time_limit_s
        deadline = time.perf_counter() + limit
        solutions: list[Solution] = []
        for segment in columns.segments:
            flow, mine = flow_of(graph, segment), columns.of(segment)
            require_columns(graph, columns, segment)
            hint = first_schedule(flow, mine)
            left = max(0.01, deadline - time.perf_counter())
            solutions.append(solve(flow, mine, hint, seconds=left, seed=ctx.seed, gap=self.gap))
        return with_mapping(graph, self.name, solutions)
