"""Longest chains of dependent nodes: bounds on a segment that need no solver.

A node takes its time alone or shares that of a group. Inside a group that a chain can pass, only one
member may count the group's time; members that no chain connects may count it each. What a node
counts is the least over all groups that could cover it, so the length of every chain is a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import networkx as nx


def costs(flow: nx.DiGraph[str], durations: Mapping[tuple[str, ...], float]) -> dict[str, float]:
    """What each node adds to every chain through it; `durations` are the least times of all groups."""
    alone = {g[0]: d for g, d in durations.items() if len(g) == 1}
    least, beyond = dict.fromkeys(flow, float("inf")) | alone, reached(flow)
    for g, d in durations.items():
        if len(g) > 1:
            apart = not any(v in beyond[u] for u in g for v in g)
            bearer = max(g, key=lambda v: alone.get(v, 0.0))
            for v in g:
                least[v] = min(least[v], d if apart or v == bearer else 0.0)
    return least


def reached(flow: nx.DiGraph[str]) -> dict[str, set[str]]:
    """For each node those that wait for it."""
    beyond: dict[str, set[str]] = {}
    for v in reversed(list(nx.topological_sort(flow))):
        beyond[v] = set().union(*(beyond[w] | {w} for w in flow.successors(v)))
    return beyond


def beside(
    flow: nx.DiGraph[str], cost: Mapping[str, float], groups: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], float]:
    """For each group the longest chain that enters and leaves it, without the group itself."""
    order = list(nx.topological_sort(flow))
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    for v in order:
        before[v] = max((before[u] + cost[u] for u in flow.predecessors(v)), default=0.0)
    for v in reversed(order):
        after[v] = max((after[w] + cost[w] for w in flow.successors(v)), default=0.0)
    return {g: _ends(flow.predecessors, cost, before, g) + _ends(flow.successors, cost, after, g) for g in groups}


def _ends(
    near: Callable[[str], Iterable[str]], cost: Mapping[str, float], beyond: Mapping[str, float], g: tuple[str, ...]
) -> float:
    """The longest chain up to a group from one side."""
    return max((beyond[u] + cost[u] for v in g for u in near(v) if u not in g), default=0.0)


def longest(flow: nx.DiGraph[str], cost: Mapping[str, float]) -> float:
    """The length of the longest chain; 0 for no nodes."""
    rest = beside(flow, cost, ((v,) for v in flow))
    return max((rest[v,] + cost[v] for v in flow), default=0.0)
