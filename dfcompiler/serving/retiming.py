"""Schedules at other sizes: the same units in the same order, each task as long as it is there.

A task waits for what it depends on, and for those before it in the sample's schedule that it cannot run beside. Every
such order is a legal schedule but for three tasks that share the way to memory two at a time. Layers that start before
the last one has ended are unrolled until their distance is steady.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx
import numpy as np
import numpy.typing as npt

from dfcompiler.columns import Column, flow_of
from dfcompiler.graph import Graph
from dfcompiler.listing import fits
from dfcompiler.schedule import Layer, between_layers

Floats = npt.NDArray[np.float64]
UNROLLED = 3  # layers after which what one adds is taken for what every further one adds


@dataclass(frozen=True, eq=False)
class Timing:
    """Columns in the order of their starts, each with the places of those that it waits for. `last` has the places of
    each unrolled layer's tasks."""

    columns: tuple[Column, ...]
    waits: tuple[tuple[int, ...], ...]
    last: tuple[tuple[int, ...], ...]
    repeat: int

    def cycles(self, duration: Callable[[Column], Floats]) -> Floats:
        """Cycles of all layers, where columns take as long as `duration` says; sizes broadcast."""
        ends: list[Floats] = []
        for column, waits in zip(self.columns, self.waits, strict=True):
            start: Floats = np.zeros(())
            for w in waits:
                start = np.maximum(start, ends[w])
            ends.append(start + duration(column))
        done = [_latest([ends[i] for i in layer]) for layer in self.last]
        period = done[-1] - done[-2] if len(done) > 1 else done[0]
        return np.asarray(done[0] + (self.repeat - 1) * period)


def _latest(ends: list[Floats]) -> Floats:
    found = ends[0]
    for e in ends[1:]:
        found = np.maximum(found, e)
    return found


def timing(graph: Graph, layer: Layer, repeat: int) -> Timing:
    """The order of a layer's schedule, and of the next layers where they overlap; run so many times."""
    copies = 1 if repeat == 1 or layer.period >= layer.solution.cycles else UNROLLED
    tasks = [(t, c, t.start + c * layer.period) for c in range(copies) for t in layer.solution.tasks]
    tasks.sort(key=lambda x: (x[2], x[0].column.nodes))
    place = {(v, c): i for i, (t, c, _) in enumerate(tasks) for v in t.column.nodes}
    order: nx.DiGraph[int] = nx.DiGraph()
    order.add_nodes_from(range(len(tasks)))
    for i, (late, _, start) in enumerate(tasks):
        for j, (early, _, began) in enumerate(tasks[:i]):
            if began + early.column.cycles <= start and not fits([early.column, late.column]):
                order.add_edge(j, i)
    flow = flow_of(graph, layer.segment).edges
    needs = [((u, c), (v, c)) for u, v in flow for c in range(copies)]
    carried = between_layers(graph, layer.segment)
    needs += [((u, c), (v, c + 1)) for u, v in carried for c in range(copies - 1)]
    order.add_edges_from((place[a], place[b]) for a, b in needs if place[a] != place[b])
    few = nx.transitive_reduction(order)
    waits = tuple(tuple(sorted(few.predecessors(i))) for i in range(len(tasks)))
    last = tuple(tuple(i for i, (_, c, _) in enumerate(tasks) if c == n) for n in range(copies))
    return Timing(tuple(t.column for t, _, _ in tasks), waits, last, repeat)
