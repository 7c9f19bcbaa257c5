"""Stretches of a segment: sets of nodes that run one after another in every schedule of it.

A node that every other one leads to or comes from is a fence: what leads to it is done when it starts, and what comes
from it starts when it is done. Between two fences lies what may run side by side. A group that reaches over a fence
runs as one, so the stretches that it touches are one stretch. The time of a segment is the sum over its stretches.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from dfcompiler.hardware.plurals import least

Names = tuple[str, ...]
MOST_RESTS = 1024  # sets of nodes that are left when some are covered; of more, each node counts by its cheapest group


@dataclass(frozen=True)
class Stretch:
    """Nodes, and the groups that may run some of them as one, single nodes among them."""

    nodes: Names
    groups: tuple[Names, ...]

    @staticmethod
    def of(nodes: Names, groups: Collection[Names]) -> Stretch:
        """The stretch of these nodes, with those of some groups that lie in it."""
        return Stretch(nodes, tuple(g for g in groups if set(g) <= set(nodes)))

    def least_sum(self, use: Mapping[Names, Any], most_rests: int = MOST_RESTS) -> Any:
        """The least that groups add up to which cover every node once, at the least: where there are too many ways,
        every node counts as its part of the group in which that is least. What a group without a value takes is inf."""
        around = {v: [g for g in use if v in g] for v in self.nodes}
        known: dict[Names, Any] = {(): 0.0}

        def rest(left: Names) -> Any:
            if left not in known and len(known) <= most_rests:
                inside = [g for g in around[left[0]] if set(g) <= set(left)]
                after = [rest(tuple(v for v in left if v not in g)) for g in inside]
                known[left] = least(np.inf, *(use[g] + x for g, x in zip(inside, after, strict=True)))
            return known.get(left, 0.0)

        whole = rest(self.nodes)
        if len(known) <= most_rests:
            return whole
        return sum(least(np.inf, *(use[g] / len(g) for g in around[v])) for v in self.nodes)


def stretches(flow: nx.DiGraph[str], groups: Collection[Names]) -> list[Stretch]:
    """The stretches of a segment in turn; `groups` are all that may run as one, single nodes among them."""
    order = list(nx.topological_sort(flow))
    met = {v: len(nx.ancestors(flow, v)) + len(nx.descendants(flow, v)) + 1 for v in order}
    parts: list[list[str]] = []
    fresh = True  # whether the next node begins a part
    for v in sorted(order, key=lambda v: (len(nx.ancestors(flow, v)), order.index(v))):
        fence = met[v] == len(order)
        if fresh or fence:
            parts.append([])
        parts[-1].append(v)
        fresh = fence
    return [Stretch.of(tuple(nodes), groups) for nodes in _joined(parts, groups)]


def _joined(parts: Sequence[list[str]], groups: Collection[Names]) -> list[list[str]]:
    """Parts with those that a group reaches over put together."""
    at = {v: i for i, part in enumerate(parts) for v in part}
    spans = [(min(at[v] for v in g), max(at[v] for v in g)) for g in groups]
    found: list[list[str]] = []
    for i, part in enumerate(parts):
        if found and any(first < i <= last for first, last in spans):
            found[-1].extend(part)
        else:
            found.append(list(part))
    return found
