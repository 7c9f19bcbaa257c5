"""Stretches of a segment: sets of nodes that run one after another in every schedule of it.

A node that every other one leads to or comes from is a fence: what leads to it is done when it starts, and what comes
from it starts when it is done. Between two fences lies what may run side by side. A group that reaches over a fence
runs as one, so the stretches that it touches are one stretch. The time of a segment is the sum over its stretches.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from dfcompiler.hardware.plurals import least

Names = tuple[str, ...]
MOST_COVERS = 256  # ways to group the nodes of a stretch; of more, each node counts by its cheapest group


@dataclass(frozen=True)
class Stretch:
    """Nodes, and all ways to cover each of them once by groups; none where there are too many ways."""

    nodes: Names
    groups: tuple[Names, ...]
    covers: tuple[tuple[Names, ...], ...]

    @staticmethod
    def of(nodes: Names, groups: Collection[Names]) -> Stretch:
        """The stretch of these nodes."""
        mine = tuple(g for g in groups if set(g) <= set(nodes))
        covers = tuple(itertools.islice(_covers(nodes, mine), MOST_COVERS + 1))
        return Stretch(nodes, mine, covers if len(covers) <= MOST_COVERS else ())

    def least_sum(self, use: Mapping[Names, Any]) -> Any:
        """The least that groups which cover the stretch add up to, at the least: where there are too many ways, every
        node counts as its part of the group in which that is least. What a group without a value takes is inf."""
        if self.covers:
            return least(np.inf, *(sum(use[g] for g in c) for c in self.covers if all(g in use for g in c)))
        parts = ([use[g] / len(g) for g in use if v in g] for v in self.nodes)
        return sum(least(np.inf, *each) for each in parts)


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


def _covers(nodes: Sequence[str], groups: Sequence[Names]) -> Iterator[tuple[Names, ...]]:
    if not nodes:
        yield ()
        return
    for g in groups:
        if nodes[0] in g and set(g) <= set(nodes):
            for rest in _covers([v for v in nodes if v not in g], groups):
                yield (g, *rest)
