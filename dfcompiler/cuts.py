"""What no schedule can do, told without a solver: cuts that propagation does not see.

Between a fork and the node where its branches meet, everything on the branches must run: no resource can be asked for
more than it has in that time. And groups of which no two can ever run together, whatever columns they take, follow one
another, be it that they need one unit or that their shares of the way to memory never fit beside each other.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import networkx as nx

from dfcompiler.columns import Column
from dfcompiler.solution import by_group
from dfcompiler.tiling import RESOLUTION

Nodes: TypeAlias = tuple[str, ...]
Reserved: TypeAlias = tuple[str, int, str | None, int]  # unit, of the DRAM, helper, of the helper
Asked: TypeAlias = tuple[Reserved, ...]
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
    groups = [(g, frozenset(g), _least(cs)) for g, cs in by_group(columns).items()]
    beside: dict[object, bool] = {}

    def apart(inside: frozenset[str], mine: Asked, b: Nodes, others: Asked) -> bool:
        if (mine, others) not in beside:
            beside[mine, others] = any(_fit(x, y) for x in mine for y in others)
        return not beside[mine, others] or not inside.isdisjoint(b)

    edges = [
        (i, j)
        for (i, (_, inside, mine)), (j, (b, _, others)) in itertools.combinations(enumerate(groups), 2)
        if apart(inside, mine, b, others)
    ]
    degree = Counter(itertools.chain.from_iterable(edges))
    order = sorted(range(len(groups)), key=lambda i: (-degree[i], groups[i][0]))
    bit = {i: 1 << n for n, i in enumerate(order)}
    near, taken = [0] * len(groups), [0] * len(groups)
    for i, j in edges:
        near[i] |= bit[j]
        near[j] |= bit[i]
    found: list[tuple[Nodes, ...]] = []
    for i, j in edges:
        if not taken[i] & bit[j]:
            clique, both = [i, j], near[i] & near[j]
            while both:
                clique.append(order[(both & -both).bit_length() - 1])
                both &= near[clique[-1]]
            every = sum(bit[x] for x in clique)
            for x in clique:
                taken[x] |= every
            found.append(tuple(sorted(groups[x][0] for x in clique)))
    return [c for c in found if len(c) > 2]


def _least(columns: Iterable[Column]) -> Asked:
    """Of the columns on each unit what those reserve that reserve least: they run beside others if any do."""
    found: list[Column] = []
    for c in sorted(columns, key=lambda c: (c.dram, c.beside)):
        alike = [x for x in found if (x.unit, x.helper) == (c.unit, c.helper)]
        if not any(x.dram <= c.dram and x.beside <= c.beside for x in alike):
            found.append(c)
    return tuple((c.unit, c.dram, c.helper, c.beside) for c in found)


def _fit(a: Reserved, b: Reserved) -> bool:
    """Whether two columns that reserve this may run at the same moment."""
    (unit, dram, helper, beside), (other, more, second, besides) = a, b
    if unit == other or dram + more > RESOLUTION:
        return False
    if (second == unit and besides) or (helper == other and beside):
        return False
    return helper is None or helper != second or beside + besides <= RESOLUTION
