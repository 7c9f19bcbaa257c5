"""What no schedule can do, told without a solver: cuts that propagation does not see.

Between a fork and the node where its branches meet, everything on the branches must run: no resource can be asked for
more than it has in that time. And groups of which no two can ever run together, whatever columns they take, follow one
another, be it that they need one unit or that their shares of the way to memory never fit beside each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import networkx as nx

from dfcompiler.columns import Column
from dfcompiler.listing import fit
from dfcompiler.solution import by_group

Nodes: TypeAlias = tuple[str, ...]
_ENTRY, _EXIT = "<entry>", "<exit>"  # no node has such a name


@dataclass(frozen=True)
class Section:
    """Nodes that all run after the end of one node and before the start of another; None is an end of the segment."""

    after: str | None
    before: str | None
    inside: frozenset[str]


def sections(flow: nx.DiGraph[str]) -> list[Section]:
    """The whole segment, and what lies between every fork and the node where all its branches meet again, or every
    meeting and the node from which all its branches come."""
    order = {v: i for i, v in enumerate(flow)}
    around: nx.DiGraph[Any] = nx.DiGraph(flow.edges)
    around.add_edges_from((_ENTRY, v) for v in flow if not flow.in_degree(v))
    around.add_edges_from((v, _EXIT) for v in flow if not flow.out_degree(v))
    met = nx.immediate_dominators(around.reverse(), _EXIT)
    left = nx.immediate_dominators(around, _ENTRY)
    ends = {(v, met[v]) for v in flow if met[v] in flow} | {(left[v], v) for v in flow if left[v] in flow}
    found = [Section(None, None, frozenset(flow))]
    for p, s in sorted(ends, key=lambda e: (order[e[0]], order[e[1]])):
        inside = {v for v in nx.descendants(flow, p) if nx.has_path(flow, v, s)} - {s}
        if len(inside) > 1:
            found.append(Section(p, s, frozenset(inside)))
    return found


def cliques(columns: Sequence[Column]) -> list[tuple[Nodes, ...]]:
    """Sets of groups no two of which can run at the same moment, so that every such pair is in one of them."""
    asked = {g: _least(cs) for g, cs in by_group(columns).items()}
    inside = {g: frozenset(g) for g in asked}
    apart: nx.Graph[Nodes] = nx.Graph()
    apart.add_nodes_from(asked)
    apart.add_edges_from(
        (a, b)
        for a, b in itertools.combinations(asked, 2)
        if not inside[a].isdisjoint(b) or not any(fit(x, y) for x in asked[a] for y in asked[b])
    )
    found: list[tuple[Nodes, ...]] = []
    taken: set[frozenset[Nodes]] = set()
    by_degree = {g: i for i, g in enumerate(sorted(apart, key=lambda g: (-apart.degree(g), g)))}
    for e in apart.edges:
        if frozenset(e) not in taken:
            clique, both = list(e), set(apart[e[0]]) & set(apart[e[1]])
            while both:
                clique.append(min(both, key=by_degree.__getitem__))
                both &= set(apart[clique[-1]])
            taken.update(map(frozenset, itertools.combinations(clique, 2)))
            found.append(tuple(sorted(clique)))
    return [c for c in found if len(c) > 2]


def _least(columns: Iterable[Column]) -> list[Column]:
    """Of the columns on each unit those that reserve least, which run beside others if any do."""
    found: list[Column] = []
    for c in sorted(columns, key=lambda c: (c.dram, c.beside)):
        alike = [x for x in found if (x.unit, x.helper) == (c.unit, c.helper)]
        if not any(x.dram <= c.dram and x.beside <= c.beside for x in alike):
            found.append(c)
    return found
