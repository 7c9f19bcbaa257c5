"""Groups one after another, each on its fastest column: the best sequence, exactly, without a solver.

A shortest path from nothing done to all done. Of the groups that may run next only those matter that hold the first
node left, in the order of the graph, or something that such a group still waits for: whatever else the best sequence
begins with can as well run later. On a chain no schedule is shorter. Elsewhere what the sequence leaves idle is used
by moving everything forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeAlias

import networkx as nx

from dfcompiler.columns import Column
from dfcompiler.listing import bounded, place
from dfcompiler.solution import Solution, by_group, unpinned

Nodes: TypeAlias = tuple[str, ...]
Path: TypeAlias = tuple[int, tuple[Nodes, ...]]


def in_turn(flow: nx.DiGraph[str], columns: Sequence[Column]) -> Solution:
    """The best sequence of the nodes of `flow`, moved forward; optimal where the flow is a chain."""
    fastest = {g: min(cs, key=lambda c: (c.cycles, c.dram, c.beside)) for g, cs in by_group(unpinned(columns)).items()}
    sequence = _shortest(flow, {g: c.cycles for g, c in fastest.items()})
    choice = {g: [fastest[g]] for g in sequence}
    found = bounded(place(choice, flow, {g: i for i, g in enumerate(sequence)}), flow, columns)
    order = list(nx.topological_sort(flow))
    if all(flow.has_edge(u, v) for u, v in pairwise(order)):
        return replace(found, bound=found.cycles, optimal=True)
    return found


def _shortest(flow: nx.DiGraph[str], cycles: dict[Nodes, int]) -> tuple[Nodes, ...]:
    """The sequence of groups, each once its operands are there, that takes the fewest cycles in all."""
    order = list(nx.topological_sort(flow))
    around = {v: [g for g in cycles if v in g] for v in order}
    best: dict[frozenset[str], Path] = {frozenset(): (0, ())}
    waiting: list[set[frozenset[str]]] = [{frozenset()}, *(set() for _ in order)]  # by how many nodes are done
    for done in (d for at in waiting for d in sorted(at, key=sorted)):
        took, sequence = best[done]
        for g in _next(flow, order, around, done):
            more = done | set(g)
            path = took + cycles[g], (*sequence, g)
            if more not in best or path < best[more]:
                best[more] = path
                waiting[len(more)].add(more)
    return best[frozenset(flow)][1]


def _next(
    flow: nx.DiGraph[str], order: Sequence[str], around: dict[str, list[Nodes]], done: frozenset[str]
) -> Iterator[Nodes]:
    """The groups that need to be tried next."""
    todo = [next((v for v in order if v not in done), None)]
    seen: set[str | None] = {None}
    while todo:
        v = todo.pop()
        if v in seen or v is None:
            continue
        seen.add(v)
        for g in around[v]:
            if done & set(g):
                continue
            above = set().union(*(nx.ancestors(flow, u) for u in g)) - done - set(g)
            if not above:
                yield g
            else:
                todo.append(next(u for u in order if u in above))
