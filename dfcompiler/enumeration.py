"""Small segments: all schedules that could end before a bound.

Every schedule can be moved forward, and gets no longer, until each task starts as early as its operands and the tasks
that started before it allow. So it is enough to place columns one after another in the order of their starts.
"""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx

from dfcompiler import paths
from dfcompiler.columns import Column
from dfcompiler.listing import fits
from dfcompiler.solution import Task, by_group, shortest

STEPS = 20_000  # columns that are tried at most: about a tenth of a second


def none_before(bound: int, flow: nx.DiGraph[str], columns: Sequence[Column]) -> bool:
    """Whether it is proven that no schedule ends before `bound`, by visiting all that could; False where one does, or
    where more than `STEPS` columns had to be tried."""
    search = _Search(bound, flow, columns)
    search.extend((), 0, -1)
    return search.complete


class _Search:
    """A walk over all schedules; `complete` as long as nothing was left out and nothing found."""

    def __init__(self, bound: int, flow: nx.DiGraph[str], columns: Sequence[Column]) -> None:
        self.flow, self.columns = flow, columns
        cost = paths.costs(flow, shortest(columns))
        beyond: dict[str, float] = {}
        for v in reversed(list(nx.topological_sort(flow))):
            beyond[v] = max((cost[w] + beyond[w] for w in flow.successors(v)), default=0.0)
        groups = {g: set(g) for g in by_group(columns)}
        self.before = {g: {u for v in g for u in flow.predecessors(v)} - inside for g, inside in groups.items()}
        outer = {g: {w for v in g for w in flow.successors(v)} - inside for g, inside in groups.items()}
        self.latest = {g: bound - max((cost[w] + beyond[w] for w in ws), default=0.0) for g, ws in outer.items()}
        self.complete, self.steps = True, 0

    def extend(self, placed: tuple[Task, ...], now: int, last: int) -> None:
        """Place every column that may start next, at `now` or later; of two that start together the first one first."""
        ends = {v: t.end for t in placed for v in t.column.nodes}
        for i, c in enumerate(self.columns):
            self.steps += 1
            self.complete &= self.steps <= STEPS and len(ends) < len(self.flow)
            if not self.complete:
                return
            before = self.before[c.nodes]
            if ends.keys() & set(c.nodes) or not before <= ends.keys():
                continue
            start = _start(c, max(now, max((ends[u] for u in before), default=0)), placed)
            if start + c.cycles < self.latest[c.nodes] and (start > now or i > last):
                self.extend((*placed, Task(c, start)), start, i)


def _start(c: Column, earliest: int, placed: Sequence[Task]) -> int:
    """When a column may start beside tasks of which none starts later."""
    moments = sorted({earliest, *(t.end for t in placed if t.end > earliest)})
    return next(at for at in moments if fits([*(t.column for t in placed if t.end > at), c]))
